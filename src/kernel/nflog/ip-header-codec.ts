// Who sends what to whom: addresses, protocol and ports of an IP packet whose end may be missing. Pure.
import { bigintToIp } from "../../net/ip.ts";
import type { Family, Ip } from "../../net/ip.ts";

export interface PacketHeader {
  readonly family: Family;
  readonly src: Ip;
  readonly dst: Ip;
  /** IANA's number, of the last header that could be read. */
  readonly protocol: number;
  /** Absent for protocols without ports, later fragments, and where the packet was cut off. */
  readonly ports?: { readonly src: number; readonly dst: number };
  /** ICMP and ICMPv6. */
  readonly icmpType?: number;
}

export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;

/** Undefined for what is no IP packet with a whole IP header. */
export function parsePacketHeader(bytes: Buffer): PacketHeader | undefined {
  switch ((bytes[0] ?? 0) >> 4) {
    case 4:
      return parseIpv4(bytes);
    case 6:
      return parseIpv6(bytes);
    default:
      return undefined;
  }
}

/** RFC 791 */
function parseIpv4(bytes: Buffer): PacketHeader | undefined {
  const headerBytes = ((bytes[0] ?? 0) & 0x0f) * 4;
  if (headerBytes < 20 || bytes.length < 20) return undefined;
  const isLaterFragment = (bytes.readUInt16BE(6) & 0x1fff) !== 0;
  const protocol = bytes.readUInt8(9);
  return {
    family: 4,
    src: bigintToIp(4, BigInt(bytes.readUInt32BE(12))),
    dst: bigintToIp(4, BigInt(bytes.readUInt32BE(16))),
    protocol,
    ...(!isLaterFragment && parseTransport(protocol, bytes.subarray(headerBytes))),
  };
}

const IPV6_HEADER_BYTES = 40;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
/** Hop-by-hop options, routing, destination options (RFC 8200): length in units of eight bytes beyond the first. */
const EXTENSIONS: ReadonlySet<number> = new Set([0, 43, 60]);
/** A packet with more is not worth the work. */
const MAX_EXTENSIONS = 8;

/** RFC 8200 */
function parseIpv6(bytes: Buffer): PacketHeader | undefined {
  if (bytes.length < IPV6_HEADER_BYTES) return undefined;
  const addresses = { family: 6, src: readIpv6(bytes, 8), dst: readIpv6(bytes, 24) } as const;
  let protocol = bytes.readUInt8(6);
  let offset = IPV6_HEADER_BYTES;
  for (let count = 0; count < MAX_EXTENSIONS && offset + 8 <= bytes.length; count += 1) {
    const length = bytes.readUInt8(offset + 1);
    if (protocol === FRAGMENT) {
      const isLater = bytes.readUInt16BE(offset + 2) >> 3 !== 0;
      protocol = bytes.readUInt8(offset);
      if (isLater) return { ...addresses, protocol };
      offset += 8;
    } else if (EXTENSIONS.has(protocol)) {
      protocol = bytes.readUInt8(offset);
      offset += (length + 1) * 8;
    } else if (protocol === AUTHENTICATION) {
      // RFC 4302: in units of four bytes, less two.
      protocol = bytes.readUInt8(offset);
      offset += (length + 2) * 4;
    } else break;
  }
  return { ...addresses, protocol, ...parseTransport(protocol, bytes.subarray(offset)) };
}

function readIpv6(bytes: Buffer, offset: number): Ip {
  return bigintToIp(6, (bytes.readBigUInt64BE(offset) << 64n) | bytes.readBigUInt64BE(offset + 8));
}

function parseTransport(protocol: number, bytes: Buffer): Pick<PacketHeader, "ports" | "icmpType"> {
  switch (protocol) {
    case PROTOCOL.tcp:
    case PROTOCOL.udp:
    case PROTOCOL.sctp:
      return bytes.length < 4 ? {} : { ports: { src: bytes.readUInt16BE(0), dst: bytes.readUInt16BE(2) } };
    case PROTOCOL.icmp:
    case PROTOCOL.icmpv6:
      return bytes.length < 1 ? {} : { icmpType: bytes.readUInt8(0) };
    default:
      return {};
  }
}
