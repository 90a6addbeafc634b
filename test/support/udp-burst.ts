// Sends UDP datagrams to several addresses in turn, each from a new port and so each a new connection for conntrack, until
// its stdin closes; then prints how many went to each. Arguments: destination port, destination addresses.
import { createSocket } from "node:dgram";

const [port, ...addresses] = process.argv.slice(2);
const INTERVAL_MS = 1;
let sent = 0;
let done = false;

function sendRound(): void {
  let open = addresses.length;
  for (const address of addresses) {
    const socket = createSocket("udp4");
    socket.send("x", Number(port), address, (error) => {
      if (error !== null) throw error;
      socket.close();
      open -= 1;
      if (open > 0) return;
      sent += 1;
      if (done) process.stdout.write(`${sent}\n`);
      else setTimeout(sendRound, INTERVAL_MS);
    });
  }
}

process.stdin.on("end", () => (done = true)).resume();
sendRound();
