// One TCP connection whose bytes are counted and digested at both ends. Run as a program in a pod:
//   tcp-transfer.ts receive ADDRESS PORT             prints "ready", and at the end of the stream a Transfer
//   tcp-transfer.ts send ADDRESS PORT BYTES PAUSE    sends BYTES (0: until its stdin ends), pausing PAUSE ms after each
//                                                    chunk; at the end prints a Transfer
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** What one end saw. */
export interface Transfer {
  readonly bytes: number;
  readonly sha256: string;
  /** Address of the other end. */
  readonly peer: string;
}

const CHUNK_BYTES = 64 * 1024;

function print(transfer: Transfer): void {
  process.stdout.write(`${JSON.stringify(transfer)}\n`);
}

function receive(address: string, port: number): void {
  const server = createServer((socket) => {
    server.close();
    const hash = createHash("sha256");
    const peer = socket.remoteAddress ?? "";
    let bytes = 0;
    socket.on("data", (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    socket.on("end", () => print({ bytes, sha256: hash.digest("hex"), peer }));
  });
  server.listen(port, address, () => process.stdout.write("ready\n"));
}

async function send(address: string, port: number, limit: number, pauseMs: number): Promise<void> {
  const hash = createHash("sha256");
  const socket = connect({ host: address, port });
  await once(socket, "connect");
  let bytes = 0;
  let isAsked = false;
  process.stdin.resume().on("end", () => (isAsked = true));
  while (limit === 0 ? !isAsked : bytes < limit) {
    const chunk = randomBytes(limit === 0 ? CHUNK_BYTES : Math.min(CHUNK_BYTES, limit - bytes));
    hash.update(chunk);
    bytes += chunk.length;
    if (!socket.write(chunk)) await once(socket, "drain");
    if (pauseMs > 0) await delay(pauseMs);
  }
  socket.end();
  await once(socket, "close");
  print({ bytes, sha256: hash.digest("hex"), peer: address });
  // A stdin that stays open would keep us.
  process.exit();
}

const [mode, address = "", port = "0", bytes = "0", pause = "0"] = process.argv.slice(2);
if (mode === "receive") receive(address, Number(port));
if (mode === "send") await send(address, Number(port), Number(bytes), Number(pause));
