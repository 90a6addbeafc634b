// ICMP echo messages of both families, built and read (RFC 792, RFC 4443). Everything read is a stranger's and is checked.
import type { Family } from "../net/ip.ts";
import { HEADER_BYTES } from "./probe.ts";

/** Which probe a message belongs to. */
export interface EchoTag {
  /** 16 bits, one per prober. */
  readonly id: number;
  /** 16 bits, one per probe under way. */
  readonly sequence: number;
}

export interface EchoRequest extends EchoTag {
  /** The whole IP packet. */
  readonly bytes: number;
  /** 8 bytes that only this prober knows: an answer must bring them back. */
  readonly token: Uint8Array;
}

export type IcmpMessage =
  | (EchoTag & { readonly kind: "reply"; readonly token: Uint8Array })
  /** About a packet of ours, of which only the first bytes come back: no token. */
  | (EchoTag & { readonly kind: "too big"; readonly mtu: number | undefined });

interface Types {
  readonly request: number;
  readonly reply: number;
  readonly tooBig: number;
  /** IANA protocol number in the packet that a "too big" quotes. */
  readonly protocol: number;
}

const TYPES: Readonly<Record<Family, Types>> = {
  // Too big is "destination unreachable, fragmentation needed" in IPv4.
  4: { request: 8, reply: 0, tooBig: 3, protocol: 1 },
  6: { request: 128, reply: 129, tooBig: 2, protocol: 58 },
};
const CODE_FRAGMENTATION_NEEDED = 4;
const ICMP_HEADER_BYTES = 8;
const TOKEN_BYTES = 8;
const IP6_HEADER_BYTES = 40;

/** Types that the prober wants to hear of: everything else may be filtered in the kernel. */
export function wantedTypes(family: Family): readonly number[] {
  return [TYPES[family].reply, TYPES[family].tooBig];
}

/** The ICMP message without the IP header; the payload after the token is zero. The kernel adds ICMPv6's checksum. */
export function formatEchoRequest(
  family: Family,
  { id, sequence, bytes, token }: EchoRequest,
): Buffer<ArrayBuffer> {
  const least = ICMP_HEADER_BYTES + TOKEN_BYTES;
  const message = Buffer.alloc(Math.max(least, bytes - HEADER_BYTES[family] + ICMP_HEADER_BYTES));
  message[0] = TYPES[family].request;
  message.writeUInt16BE(id, 4);
  message.writeUInt16BE(sequence, 6);
  message.set(token.subarray(0, TOKEN_BYTES), ICMP_HEADER_BYTES);
  // Zeros add nothing to a checksum.
  if (family === 4) message.writeUInt16BE(checksum(message.subarray(0, least)), 2);
  return message;
}

/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/**
 * What arrived on a raw socket: IPv4 with its IP header, IPv6 without (raw(7), RFC 3542).
 * @returns undefined for what is none of our concern, or broken
 */
export function parseIcmpMessage(family: Family, packet: Buffer): IcmpMessage | undefined {
  const start = family === 4 ? ipv4HeaderBytes(packet) : 0;
  if (start === undefined || packet.length < start + ICMP_HEADER_BYTES) return undefined;
  const message = packet.subarray(start);
  const { reply, tooBig } = TYPES[family];
  if (message[0] === reply && message[1] === 0) return parseReply(message);
  if (message[0] === tooBig) return parseTooBig(family, message);
  return undefined;
}

function parseReply(message: Buffer): IcmpMessage | undefined {
  if (message.length < ICMP_HEADER_BYTES + TOKEN_BYTES) return undefined;
  const token = message.subarray(ICMP_HEADER_BYTES, ICMP_HEADER_BYTES + TOKEN_BYTES);
  return { kind: "reply", ...tagOf(message), token };
}

function parseTooBig(family: Family, message: Buffer): IcmpMessage | undefined {
  if (message[1] !== (family === 4 ? CODE_FRAGMENTATION_NEEDED : 0)) return undefined;
  // RFC 1191: the lower half of the second word; RFC 4443: all of it. Zero: a router from before RFC 1191.
  const mtu = family === 4 ? message.readUInt16BE(6) : message.readUInt32BE(4);
  const quoted = message.subarray(ICMP_HEADER_BYTES);
  const at = family === 4 ? ipv4HeaderBytes(quoted) : IP6_HEADER_BYTES;
  if (at === undefined || quoted.length < at + ICMP_HEADER_BYTES) return undefined;
  const { request, protocol } = TYPES[family];
  if (quoted[family === 4 ? 9 : 6] !== protocol || quoted[at] !== request) return undefined;
  return { kind: "too big", ...tagOf(quoted.subarray(at)), mtu: mtu || undefined };
}

function tagOf(message: Buffer): EchoTag {
  return { id: message.readUInt16BE(4), sequence: message.readUInt16BE(6) };
}

/** Length of the header, or undefined if there is none. */
function ipv4HeaderBytes(packet: Buffer): number | undefined {
  const first = packet[0];
  if (first === undefined || first >> 4 !== 4) return undefined;
  const length = (first & 15) * 4;
  return length >= 20 && length <= packet.length ? length : undefined;
}
