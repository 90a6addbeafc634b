// A peer on the wire, without any data path: sends datagrams that it is told and tells those that it gets, in hexadecimal.
// Arguments: family, address, port; then per line of stdin: "DESTINATION PORT HEX".
import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";

const [family, address, port] = process.argv.slice(2);
const socket = createSocket(family === "6" ? "udp6" : "udp4");
socket.on("message", (message) => process.stdout.write(`${message.toString("hex")}\n`));
socket.bind(Number(port), address, () => process.stdout.write("ready\n"));
for await (const line of createInterface(process.stdin)) {
  const [destination, destinationPort, hex = ""] = line.split(" ");
  socket.send(Buffer.from(hex, "hex"), Number(destinationPort), destination);
}
socket.close();
