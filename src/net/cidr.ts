// Network prefixes ("10.244.1.0/24") as canonical text, with containment and subnet arithmetic.
import { InvalidValueError } from "./errors.ts";
import { addToIp, bigintToIp, bitsOf, familyOf, ipToBigint, ipv4ToNumber, tryParseIp } from "./ip.ts";
import type { Family, Ip } from "./ip.ts";

declare const cidrBrand: unique symbol;
/** A masked prefix in canonical text: no host bits, canonical address, decimal length. */
export type Cidr = string & { readonly [cidrBrand]: true };

/** An address together with the length of the prefix it lives in, e.g. the 10.244.1.1/24 of FLANNEL_SUBNET. */
export interface AddressWithPrefix {
  readonly ip: Ip;
  /** Prefix length in bits. */
  readonly prefixLength: number;
}

/** Returns undefined where `parseAddressWithPrefix` would throw. */
export function tryParseAddressWithPrefix(text: string): AddressWithPrefix | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const ip = tryParseIp(text.slice(0, slash));
  const length = text.slice(slash + 1);
  if (ip === undefined || !/^(0|[1-9]\d{0,2})$/.test(length)) return undefined;
  const prefixLength = Number(length);
  return prefixLength <= bitsOf(familyOf(ip)) ? { ip, prefixLength } : undefined;
}

/** Parses `address/length` and keeps the host bits. @throws {InvalidValueError} */
export function parseAddressWithPrefix(text: string): AddressWithPrefix {
  const parsed = tryParseAddressWithPrefix(text);
  if (parsed === undefined) {
    throw new InvalidValueError(`"${text}" is not a CIDR (for example 10.244.0.0/16 or fd00:10:244::/56)`);
  }
  return parsed;
}

/** Parses `address/length` and masks host bits, as Go's net.ParseCIDR does. @throws {InvalidValueError} */
export function parseCidr(text: string): Cidr {
  const { ip, prefixLength } = parseAddressWithPrefix(text);
  return cidrOf(ip, prefixLength);
}

export function tryParseCidr(text: string): Cidr | undefined {
  const parsed = tryParseAddressWithPrefix(text);
  return parsed && cidrOf(parsed.ip, parsed.prefixLength);
}

/** The prefix of `prefixLength` bits that `ip` lies in. */
export function cidrOf(ip: Ip, prefixLength: number): Cidr {
  const family = familyOf(ip);
  const hostBits = BigInt(bitsOf(family) - prefixLength);
  const base = bigintToIp(family, (ipToBigint(ip) >> hostBits) << hostBits);
  return `${base}/${prefixLength}` as Cidr;
}

/** First address of the prefix. */
export function cidrBase(cidr: Cidr): Ip {
  return cidr.slice(0, cidr.indexOf("/")) as Ip;
}

/** Prefix length in bits. */
export function cidrLength(cidr: Cidr): number {
  return Number(cidr.slice(cidr.indexOf("/") + 1));
}

export function cidrFamily(cidr: Cidr): Family {
  return familyOf(cidrBase(cidr));
}

/** Last address of the prefix (the broadcast address in IPv4). */
export function cidrLast(cidr: Cidr): Ip {
  const family = cidrFamily(cidr);
  return addToIp(cidrBase(cidr), (1n << BigInt(bitsOf(family) - cidrLength(cidr))) - 1n);
}

/** True if `ip` lies in `cidr`; false across families. */
export function cidrContainsIp(cidr: Cidr, ip: Ip): boolean {
  const family = cidrFamily(cidr);
  if (family !== familyOf(ip)) return false;
  const hostBits = bitsOf(family) - cidrLength(cidr);
  if (family === 4) {
    const block = 2 ** hostBits;
    return Math.floor(ipv4ToNumber(ip) / block) === Math.floor(ipv4ToNumber(cidrBase(cidr)) / block);
  }
  return ipToBigint(ip) >> BigInt(hostBits) === ipToBigint(cidrBase(cidr)) >> BigInt(hostBits);
}

/** True if every address of `inner` lies in `outer`. */
export function cidrContains(outer: Cidr, inner: Cidr): boolean {
  return cidrLength(outer) <= cidrLength(inner) && cidrContainsIp(outer, cidrBase(inner));
}

/** True if the two prefixes share an address. */
export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return cidrContains(a, b) || cidrContains(b, a);
}

/** The prefix of the same length `count` blocks further on. @throws {RangeError} past the end of the family */
export function nextCidr(cidr: Cidr, count = 1n): Cidr {
  const length = cidrLength(cidr);
  const size = 1n << BigInt(bitsOf(cidrFamily(cidr)) - length);
  return `${addToIp(cidrBase(cidr), size * count)}/${length}` as Cidr;
}

/** The single-address prefix of `ip` (/32 or /128). */
export function hostCidr(ip: Ip): Cidr {
  return `${ip}/${bitsOf(familyOf(ip))}` as Cidr;
}
