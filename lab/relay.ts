// Carries TCP connections of an address in this machine to a unix socket. Usage: relay.ts ADDRESS PORT SOCKET.
import { connect, createServer } from "node:net";

const [address = "", port = "", socketPath = ""] = process.argv.slice(2);
createServer((client) => {
  const upstream = connect(socketPath);
  client.pipe(upstream).pipe(client);
  client.on("error", () => upstream.destroy());
  upstream.on("error", () => client.destroy());
}).listen(Number(port), address, () => console.log("ready"));
