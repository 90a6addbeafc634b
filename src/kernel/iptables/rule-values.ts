// How iptables spells the values of options: what it prints for what it was given.
import { bitsOf, tryParseIp } from "../../net/ip.ts";
import type { Family } from "../../net/ip.ts";
import { hostCidr, tryParseCidr } from "../../net/cidr.ts";

const ALL_BITS = 0xffff_ffff;
const MAX_PORT = 65_535;

/** Protocol numbers that iptables prints as names (/etc/protocols). */
const PROTOCOLS: Readonly<Record<string, string>> = {
  "0": "all", "1": "icmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp", "132": "sctp", icmpv6: "ipv6-icmp", icmp6: "ipv6-icmp",
}; // prettier-ignore

/** Other names of an option; iptables-save prints the one on the right. */
export const OPTION_NAMES: Readonly<Record<string, string>> = {
  "--source": "-s",
  "--src": "-s",
  "--destination": "-d",
  "--dst": "-d",
  "--protocol": "-p",
  "--proto": "-p",
  "--in-interface": "-i",
  "--out-interface": "-o",
  "--fragments": "-f",
  "--match": "-m",
  "--jump": "-j",
  "--goto": "-g",
  "--destination-port": "--dport",
  "--source-port": "--sport",
  "--destination-ports": "--dports",
  "--source-ports": "--sports",
};

/** `name` of `-p`, as iptables-save prints it; "all" for every protocol. */
export function protocolName(value: string): string {
  const lower = value.toLowerCase();
  return PROTOCOLS[lower] ?? lower;
}

/** An address of `-s` or `-d` with its prefix length, or the text itself if it is none (a netmask with holes). */
export function addressPrefix(family: Family, value: string): string {
  const ip = tryParseIp(value);
  if (ip !== undefined) return hostCidr(ip);
  const [address, mask = ""] = value.split("/");
  const length = family === 4 && mask.includes(".") ? netmaskLength(mask) : undefined;
  return tryParseCidr(length === undefined ? value : `${address}/${length}`) ?? value;
}

function netmaskLength(mask: string): number | undefined {
  const bits = mask
    .split(".")
    .map((octet) => Number(octet).toString(2).padStart(8, "0"))
    .join("");
  const length = bits.indexOf("0") < 0 ? bitsOf(4) : bits.indexOf("0");
  return bits.length === bitsOf(4) && !bits.slice(length).includes("1") ? length : undefined;
}

/** True if the prefix holds every address, so that iptables-save does not print it. */
export function isEverything(prefix: string): boolean {
  return prefix === "0.0.0.0/0" || prefix === "::/0";
}

export interface Option {
  readonly name: string;
  readonly negated: boolean;
  readonly values: readonly string[];
}

/** The option as iptables-save would print it, or undefined if it would print nothing. */
export function canonicalOption(group: string, option: Option): Option | undefined {
  const [value = ""] = option.values;
  const withValue = (text: string): Option => ({ ...option, values: [text] });
  switch (option.name) {
    case "--mark":
    case "--nfmark":
    case "--ctmark":
      return group === "mark" || group === "connmark" ? withValue(markAndMask(value)) : option;
    case "--set-mark":
    case "--set-xmark":
    case "--or-mark":
    case "--and-mark":
    case "--xor-mark":
      return { ...option, name: "--set-xmark", values: [xmark(option.name, value)] };
    case "--ctstate":
    case "--state":
      return withValue(value.toUpperCase().split(",").sort().join(","));
    case "--dport":
    case "--sport":
      return portRange(value) === `0:${MAX_PORT}` && !option.negated
        ? undefined
        : withValue(portRange(value));
    case "--dports":
    case "--sports":
    case "--ports":
      return withValue(value.split(",").map(portRange).join(","));
    case "--syn":
      return { ...option, name: "--tcp-flags", values: ["FIN,SYN,RST,ACK", "SYN"] };
    case "--reject-with":
      return withValue(value === "tcp-rst" ? "tcp-reset" : value);
    default:
      return option;
  }
}

/** Options that iptables-save prints although nobody gave them. */
export function defaultOptions(family: Family, group: string, given: readonly Option[]): readonly Option[] {
  if (group !== "-j REJECT" || given.some(({ name }) => name === "--reject-with")) return [];
  const values = [family === 4 ? "icmp-port-unreachable" : "icmp6-port-unreachable"];
  return [{ name: "--reject-with", negated: false, values }];
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}

/** `value[/mask]` in any base as two numbers; undefined if it is something else. */
function parseMark(text: string): [value: number, mask: number | undefined] | undefined {
  const parts = text.split("/").map((part) => (part === "" ? Number.NaN : Number(part)));
  if (parts.length > 2 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > ALL_BITS))
    return undefined;
  return [parts[0] ?? 0, parts[1]];
}

/** Match `mark`: prints hexadecimal, and no mask of all ones. */
function markAndMask(text: string): string {
  const mark = parseMark(text);
  if (mark === undefined) return text;
  const [value, mask = ALL_BITS] = mark;
  return mask === ALL_BITS ? hex(value) : `${hex(value)}/${hex(mask)}`;
}

/** Targets MARK and CONNMARK: all forms become `--set-xmark value/mask` (libxt_MARK.c, mark_tg_parse). */
function xmark(option: string, text: string): string {
  const mark = parseMark(text);
  if (mark === undefined) return text;
  const [value, mask = ALL_BITS] = mark;
  switch (option) {
    case "--set-mark":
      return `${hex(value)}/${hex(value | mask)}`;
    case "--or-mark":
      return `${hex(value)}/${hex(value)}`;
    case "--and-mark":
      return `0x0/${hex(~value)}`;
    case "--xor-mark":
      return `${hex(value)}/0x0`;
    default:
      return `${hex(value)}/${hex(mask)}`;
  }
}

/** `80`, `80:80`, `:80`, `1024:` as iptables prints them. */
function portRange(text: string): string {
  const [from = "", to] = text.split(":");
  if (to === undefined) return text;
  const first = from || "0";
  const last = to || String(MAX_PORT);
  return first === last ? first : `${first}:${last}`;
}
