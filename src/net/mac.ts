// Ethernet addresses as canonical text.
import { InvalidValueError } from "./errors.ts";

declare const macBrand: unique symbol;
/** Six lower-case hex pairs joined by colons, the form that Go prints and iproute2 prints. */
export type Mac = string & { readonly [macBrand]: true };

/** Returns undefined where `parseMac` would throw. */
export function tryParseMac(text: string): Mac | undefined {
  return /^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)
    ? (text.toLowerCase().replaceAll("-", ":") as Mac)
    : undefined;
}

/** Parses a 48-bit address with colons or hyphens. @throws {InvalidValueError} */
export function parseMac(text: string): Mac {
  const mac = tryParseMac(text);
  if (mac === undefined)
    throw new InvalidValueError(`"${text}" is not a MAC address (for example 0a:1b:2c:3d:4e:5f)`);
  return mac;
}

/**
 * Makes six random bytes a locally administered unicast address, as flannel does: bit 0 of the first byte is group,
 * bit 1 is local (IEEE 802).
 */
export function localMacFrom(bytes: Uint8Array): Mac {
  const [first = 0, ...rest] = bytes.subarray(0, 6);
  return [(first & 0xfe) | 0x02, ...rest].map((byte) => byte.toString(16).padStart(2, "0")).join(":") as Mac;
}
