// Asks for an SCTP association with raw packets, since this kernel has no SCTP: who may, hears so from the pod's own kernel.
import { randomInt } from "node:crypto";
import { createRequire } from "node:module";
import type { RawSocketModule } from "../../../src/prober/raw-transport.ts";
import type { Probe, ProbeAnswer } from "./probe.ts";

const IPPROTO_ICMP = 1;
const IPPROTO_SCTP = 132;
/** Sends whole packets and receives none: a raw socket of SCTP would take what others send, and they would hear nothing. */
const IPPROTO_RAW = 255;
const ICMP_UNREACHABLE = 3;
/** The packet came to the pod, whose kernel knows no SCTP (RFC 792). */
const CODE_PROTOCOL = 2;
/** What `REJECT` answers. */
const CODE_PORT = 3;
const REPEAT_MS = 1_000;
const SOURCE_PORT_MIN = 1_024;

/** An INIT chunk (RFC 9260 section 3.3.2) with its checksum: connection tracking drops what is not well formed. */
export function sctpInit(sourcePort: number, port: number): Buffer {
  const packet = Buffer.alloc(32);
  packet.writeUInt16BE(sourcePort, 0);
  packet.writeUInt16BE(port, 2);
  // Verification tag 0, checksum; then the chunk: type INIT, flags, length.
  packet.writeUInt8(1, 12);
  packet.writeUInt16BE(20, 14);
  packet.writeUInt32BE(randomInt(1, 2 ** 32 - 1), 16);
  packet.writeUInt32BE(65_536, 20);
  packet.writeUInt16BE(1, 24);
  packet.writeUInt16BE(1, 26);
  packet.writeUInt32BE(randomInt(2 ** 32 - 1), 28);
  packet.writeUInt32LE(crc32c(packet), 8);
  return packet;
}

/** raw(7): the kernel fills in length, identification, source and checksum. */
function withIpHeader(payload: Buffer, address: string): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt8(0x45, 0);
  header.writeUInt8(64, 8);
  header.writeUInt8(IPPROTO_SCTP, 9);
  Buffer.from(address.split(".").map(Number)).copy(header, 16);
  return Buffer.concat([header, payload]);
}

/** CRC32c, reflected (RFC 9260 appendix A). */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}

export function probeSctp({ address, port }: Probe, deadlineMs: number): Promise<ProbeAnswer> {
  const raw = createRequire(import.meta.url)("raw-socket") as RawSocketModule;
  const sourcePort = randomInt(SOURCE_PORT_MIN, 65_536);
  const packet = withIpHeader(sctpInit(sourcePort, port), address);
  const open = (protocol: number) => raw.createSocket({ protocol, addressFamily: 1, bufferSize: 256 });
  const [sender, listener] = [open(IPPROTO_RAW), open(IPPROTO_ICMP)];
  return new Promise((resolve) => {
    const send = (): void =>
      sender.send(
        packet,
        0,
        packet.length,
        address,
        () => {},
        () => {},
      );
    const repeat = setInterval(send, REPEAT_MS);
    const timer = setTimeout(() => settle("silent"), deadlineMs);
    const settle = (answer: ProbeAnswer): void => {
      clearInterval(repeat);
      clearTimeout(timer);
      sender.close();
      listener.close();
      resolve(answer);
    };
    sender.on("error", () => {});
    listener.on("error", () => {});
    listener.on("message", (message) => {
      // Outer header, 8 bytes of ICMP, the header of our packet, and the first 8 bytes of it.
      const icmp = message.subarray(((message[0] ?? 0) & 15) * 4);
      const inner = icmp.subarray(8);
      const ours = inner.subarray(((inner[0] ?? 0) & 15) * 4);
      if (icmp[0] !== ICMP_UNREACHABLE || inner[9] !== IPPROTO_SCTP || ours.length < 4) return;
      if (ours.readUInt16BE(0) !== sourcePort || ours.readUInt16BE(2) !== port) return;
      if (icmp[1] === CODE_PROTOCOL) settle("open");
      if (icmp[1] === CODE_PORT) settle("refused");
    });
    send();
  });
}
