// IP packets built and checked byte by byte, from the RFCs and not with the code under test.
import { isIPv6 } from "node:net";
import { addressBytes } from "../../src/kernel/udp/peer-codec.ts";
import { parseIp } from "../../src/net/ip.ts";

export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;

/** RFC 1071. */
export function checksum(...parts: readonly Uint8Array[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export interface PacketOptions {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly ttl?: number;
  /** IPv4 identification. */
  readonly id?: number;
  /** IPv4 flags and fragment offset; 0x4000 is DF. */
  readonly fragment?: number;
}

const bytesOf = (address: string): Uint8Array => addressBytes(parseIp(address));

/** RFC 791 or RFC 8200, by the addresses. */
export function ipPacket(options: PacketOptions, payload: Uint8Array): Buffer {
  const { source, destination, protocol, ttl = 64, id = 0, fragment = 0x4000 } = options;
  const addresses = Buffer.concat([bytesOf(source), bytesOf(destination)]);
  if (isIPv6(source)) {
    const header = Buffer.alloc(8);
    header[0] = 0x60;
    header.writeUInt16BE(payload.length, 4);
    header[6] = protocol;
    header[7] = ttl;
    return Buffer.concat([header, addresses, payload]);
  }
  const header = Buffer.alloc(12);
  header[0] = 0x45;
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(id, 4);
  header.writeUInt16BE(fragment, 6);
  header[8] = ttl;
  header[9] = protocol;
  header.writeUInt16BE(checksum(header, addresses), 10);
  return Buffer.concat([header, addresses, payload]);
}

function pseudoHeader(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): Buffer {
  const rest = Buffer.alloc(4);
  rest[1] = protocol;
  rest.writeUInt16BE(length, 2);
  return Buffer.concat([source, destination, rest]);
}

/** RFC 768. */
export function udpPacket(
  options: Omit<PacketOptions, "protocol"> & {
    readonly sourcePort: number;
    readonly destinationPort: number;
  },
  data: Uint8Array,
): Buffer {
  const { source, destination, sourcePort, destinationPort } = options;
  const header = Buffer.alloc(8);
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(destinationPort, 2);
  header.writeUInt16BE(8 + data.length, 4);
  const pseudo = pseudoHeader(bytesOf(source), bytesOf(destination), UDP, 8 + data.length);
  header.writeUInt16BE(checksum(pseudo, header, data) || 0xffff, 6);
  return ipPacket({ ...options, protocol: UDP }, Buffer.concat([header, data]));
}

/** RFC 792 or RFC 4443. */
export function echoPacket(
  options: Omit<PacketOptions, "protocol"> & { readonly reply?: boolean; readonly sequence?: number },
  data: Uint8Array,
): Buffer {
  const { source, destination, reply = false, sequence = 1 } = options;
  const isSix = isIPv6(source);
  const message = Buffer.concat([Buffer.alloc(8), data]);
  message[0] = isSix ? (reply ? 129 : 128) : reply ? 0 : 8;
  message.writeUInt16BE(0x1234, 4);
  message.writeUInt16BE(sequence, 6);
  const pseudo = isSix
    ? pseudoHeader(bytesOf(source), bytesOf(destination), ICMPV6, message.length)
    : Buffer.alloc(0);
  message.writeUInt16BE(checksum(pseudo, message), 2);
  return ipPacket({ ...options, protocol: isSix ? ICMPV6 : ICMP }, message);
}

/** What is wrong with a packet's lengths or checksums; undefined for one that any host accepts. */
export function packetProblem(packet: Buffer): string | undefined {
  const version = (packet[0] ?? 0) >> 4;
  if (version === 4) return ipv4Problem(packet);
  if (version !== 6 || packet.length < 40) return `version ${version}, ${packet.length} bytes`;
  if (40 + packet.readUInt16BE(4) !== packet.length) return "the IPv6 length is not the datagram's";
  return transportProblem(
    packet[6] ?? 0,
    packet.subarray(8, 24),
    packet.subarray(24, 40),
    packet.subarray(40),
  );
}

function ipv4Problem(packet: Buffer): string | undefined {
  const headerLength = ((packet[0] ?? 0) & 15) * 4;
  if (packet.length < 20 || headerLength < 20 || packet.length < headerLength) return "too short for IPv4";
  if (packet.readUInt16BE(2) !== packet.length) return "the IPv4 length is not the datagram's";
  if (checksum(packet.subarray(0, headerLength)) !== 0) return "wrong IPv4 header checksum";
  if ((packet.readUInt16BE(6) & 0x3fff) !== 0) return undefined;
  const [source, destination] = [packet.subarray(12, 16), packet.subarray(16, 20)];
  return transportProblem(packet[9] ?? 0, source, destination, packet.subarray(headerLength));
}

function transportProblem(
  protocol: number,
  source: Buffer,
  destination: Buffer,
  payload: Buffer,
): string | undefined {
  if (protocol === ICMP) return checksum(payload) === 0 ? undefined : "wrong ICMP checksum";
  if (protocol !== TCP && protocol !== UDP && protocol !== ICMPV6) return undefined;
  if (protocol === UDP && payload.readUInt16BE(4) !== payload.length) return "wrong UDP length";
  const pseudo = pseudoHeader(source, destination, protocol, payload.length);
  return checksum(pseudo, payload) === 0 ? undefined : `wrong checksum of protocol ${protocol}`;
}
