// A TCP server that tells each client the address it is seen from. Usage: tell-source.ts ADDRESS PORT.
import { createServer } from "node:net";

const [address = "::", port = "0"] = process.argv.slice(2);
createServer((socket) => {
  // A client that has gone is no reason to end.
  socket.on("error", () => socket.destroy());
  socket.end(`${socket.remoteAddress ?? "unknown"}\n`);
}).listen(Number(port), address, () => console.log("ready"));
