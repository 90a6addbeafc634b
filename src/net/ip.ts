// IPv4 and IPv6 addresses as canonical text, with parsing and arithmetic.
import ipaddr from "ipaddr.js";
import { InvalidValueError } from "./errors.ts";

/** Address family, always a parameter: there is one code path for both. */
export type Family = 4 | 6;

declare const ipBrand: unique symbol;
/**
 * An address in canonical text: dotted quad, or lower-case RFC 5952 without a zone. Equal addresses are equal strings.
 * Only `parseIp` and the arithmetic below make one.
 */
export type Ip = string & { readonly [ipBrand]: true };

export const FAMILIES: readonly Family[] = [4, 6];

/** Address width in bits. */
export function bitsOf(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

const DOTTED_QUAD = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/;

/** Returns undefined where `parseIp` would throw. */
export function tryParseIp(text: string): Ip | undefined {
  const quad = DOTTED_QUAD.exec(text);
  if (quad) {
    // ipaddr.js reads "010.0.0.1" as octal and "0x7f.1" as hex; Go refuses both, and so do we.
    return quad.slice(1).every((octet) => Number(octet) <= 255) ? (text as Ip) : undefined;
  }
  if (!text.includes(":") || text.includes("%") || text.includes("/")) return undefined;
  if (!ipaddr.IPv6.isValid(text)) return undefined;
  return ipaddr.IPv6.parse(text).toRFC5952String() as Ip;
}

/**
 * Parses an IPv4 dotted quad (no leading zeros) or an IPv6 address (RFC 4291, no zone).
 * @throws {InvalidValueError}
 */
export function parseIp(text: string): Ip {
  const ip = tryParseIp(text);
  if (ip === undefined) {
    throw new InvalidValueError(`"${text}" is not an IP address (for example 10.244.1.0 or fd00::1)`);
  }
  return ip;
}

export function familyOf(ip: Ip): Family {
  return ip.includes(":") ? 6 : 4;
}

/** The address as an unsigned integer of `bitsOf(familyOf(ip))` bits. */
export function ipToBigint(ip: Ip): bigint {
  if (familyOf(ip) === 4) return BigInt(ipv4ToNumber(ip));
  return ipaddr.IPv6.parse(ip)
    .toByteArray()
    .reduce((n, byte) => (n << 8n) | BigInt(byte), 0n);
}

/**
 * Inverse of `ipToBigint`.
 * @throws {RangeError} if `n` does not fit the family
 */
export function bigintToIp(family: Family, n: bigint): Ip {
  if (n < 0n || n >> BigInt(bitsOf(family)) !== 0n)
    throw new RangeError(`no IPv${family} address has value ${n}`);
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => String((n >> shift) & 255n)).join(".") as Ip;
  const bytes = Array.from({ length: 16 }, (_, i) => Number((n >> BigInt(8 * (15 - i))) & 255n));
  return new ipaddr.IPv6(bytes).toRFC5952String() as Ip;
}

/** `ip + offset`, in the same family. @throws {RangeError} past either end of the address space */
export function addToIp(ip: Ip, offset: number | bigint): Ip {
  return bigintToIp(familyOf(ip), ipToBigint(ip) + BigInt(offset));
}

/** Total order: IPv4 before IPv6, then by value. */
export function compareIps(a: Ip, b: Ip): number {
  const family = familyOf(a) - familyOf(b);
  if (family !== 0) return family;
  const difference = ipToBigint(a) - ipToBigint(b);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** fe80::/10 and 169.254.0.0/16 (RFC 4291, RFC 3927). */
export function isLinkLocal(ip: Ip): boolean {
  return familyOf(ip) === 4 ? ip.startsWith("169.254.") : ipToBigint(ip) >> 118n === 0x3fan;
}

/**
 * True for an address that a packet to one other host can carry: not unspecified, loopback, multicast, broadcast or
 * link-local (RFC 6890; link-local would need a zone).
 */
export function isHostAddress(ip: Ip): boolean {
  if (isLinkLocal(ip)) return false;
  if (familyOf(ip) === 6) return ip !== "::" && ip !== "::1" && !ip.startsWith("ff");
  const first = Math.floor(ipv4ToNumber(ip) / 2 ** 24);
  return first !== 0 && first !== 127 && first < 224;
}

/** IPv4 as a number 0..2^32-1, the fast path of prefix arithmetic. */
export function ipv4ToNumber(ip: Ip): number {
  let n = 0;
  for (const octet of ip.split(".")) n = n * 256 + Number(octet);
  return n;
}
