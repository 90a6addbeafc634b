// Sends UDP datagrams, each from a new port and so each a new connection for conntrack, until its stdin closes; then
// prints how many were sent. Arguments: family (4 or 6), destination address, destination port.
import { createSocket } from "node:dgram";

const [family, address, port] = process.argv.slice(2);
const INTERVAL_MS = 2;
let sent = 0;
let done = false;

function sendOne(): void {
  const socket = createSocket(family === "6" ? "udp6" : "udp4");
  socket.send("x", Number(port), address, (error) => {
    if (error !== null) throw error;
    sent += 1;
    socket.close();
    if (done) process.stdout.write(`${sent}\n`);
    else setTimeout(sendOne, INTERVAL_MS);
  });
}

process.stdin.on("end", () => (done = true)).resume();
sendOne();
