// Keys and values of leases in etcd, byte for byte as Go flannel writes them (pkg/subnet/subnet.go, pkg/lease); pure.
import { cidrBase, cidrLength, cidrOf } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { InvalidValueError } from "../net/errors.ts";
import { describeJson, isJsonObject, lookupOption, parseGoJson } from "../net/go-json.ts";
import type { JsonObject } from "../net/go-json.ts";
import { familyOf, parseIp, tryParseIp } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import type { Lease, LeaseAttributes } from "./lease.ts";

/** What flannel writes for a public IP that is not set. */
const UNSET_IP = parseIp("0.0.0.0");
/** Leases are some 200 bytes; more than this is not one (etcd takes up to 1.5 MB). */
const MAX_VALUE_LENGTH = 64 * 1024;
/** Shorter prefixes would let one key of a stranger swallow a large part of the address space. */
const MIN_LENGTH: Readonly<Record<Family, number>> = { 4: 8, 6: 16 };

/**
 * In flannel's keys an IPv4 subnet always comes first; this is its zero value, IP4Net{}, which stands there when EnableIPv4 is
 * false. Flannel itself gets no further than one node with it: the next one finds 0.0.0.0/0 taken.
 */
const NO_SUBNET = "0.0.0.0-0";

/** Of one family, or of both. */
export interface LeaseSubnets {
  readonly subnet?: Cidr;
  readonly subnet6?: Cidr;
}

/** `<prefix>/subnets/`, below which every key is a lease. With the slash, unlike flannel, whose listing reads `subnets-x`. */
export function leaseKeyPrefix(prefix: string): string {
  return `${prefix}/subnets/`;
}

/**
 * `<prefix>/subnets/10.5.7.0-24` or, in dual stack, `<prefix>/subnets/10.5.7.0-24&fd00:5:0:7::-64`; without IPv4
 * `<prefix>/subnets/0.0.0.0-0&fd00:5:0:7::-64`.
 */
export function formatLeaseKey(prefix: string, subnets: LeaseSubnets): string {
  return leaseKeyPrefix(prefix) + formatSubnets(subnets);
}

function formatSubnets({ subnet, subnet6 }: LeaseSubnets): string {
  const parts = [subnet ?? NO_SUBNET, subnet6 ?? []].flat();
  return parts.map((cidr) => cidr.replace("/", "-")).join("&");
}

/**
 * Accepts exactly what `formatLeaseKey` makes, so that one subnet has one key.
 * @throws {InvalidValueError} with the reason, without the key
 */
export function parseLeaseKey(prefix: string, key: string): LeaseSubnets {
  const stem = leaseKeyPrefix(prefix);
  if (!key.startsWith(stem)) throw new InvalidValueError(`the key does not begin with ${stem}`);
  const name = key.slice(stem.length);
  const [text4, text6, ...more] = name.split("&");
  const subnets = {
    ...((text4 !== NO_SUBNET || text6 === undefined) && { subnet: parseSubnet(4, text4) }),
    ...(text6 !== undefined && { subnet6: parseSubnet(6, text6) }),
  };
  if (more.length > 0 || formatSubnets(subnets) !== name) {
    throw new InvalidValueError(
      `"${name}" is not how this subnet is written; ${formatSubnets(subnets)} would be`,
    );
  }
  return subnets;
}

function parseSubnet(family: Family, text = ""): Cidr {
  const dash = text.lastIndexOf("-");
  const ip = tryParseIp(text.slice(0, Math.max(dash, 0)));
  const length = Number(/^\d{1,3}$/.exec(text.slice(dash + 1))?.[0] ?? Number.NaN);
  const max = family === 4 ? 32 : 128;
  if (ip === undefined || familyOf(ip) !== family || !(length >= MIN_LENGTH[family] && length <= max)) {
    const example = family === 4 ? "10.5.7.0-24" : "fd00:5:0:7::-64";
    throw new InvalidValueError(`"${text.slice(0, 80)}" is not an IPv${family} subnet such as ${example}`);
  }
  const subnet = cidrOf(ip, length);
  if (cidrBase(subnet) !== ip) {
    throw new InvalidValueError(
      `"${text}" has host bits set; the subnet is ${cidrBase(subnet)}-${cidrLength(subnet)}`,
    );
  }
  return subnet;
}

/**
 * The value as Go's encoding/json writes flannel's LeaseAttrs: order of fields, PublicIPv6 null when absent, the last three
 * omitted when empty, and `<`, `>`, `&` escaped.
 */
export function formatLeaseValue(attributes: LeaseAttributes): string {
  const value = {
    PublicIP: attributes.publicIp ?? UNSET_IP,
    PublicIPv6: attributes.publicIp6 ?? null,
    BackendType: attributes.backendType === "" ? undefined : attributes.backendType,
    BackendData: attributes.backendData,
    BackendV6Data: attributes.backendData6,
  };
  return JSON.stringify(value).replaceAll(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * Reads what any flannel may have written: keys in any case, unknown ones ignored, absent ones empty.
 * @throws {InvalidValueError} with the reason
 */
export function parseLeaseValue(text: string): LeaseAttributes & { readonly publicIp: Ip } {
  if (text.length > MAX_VALUE_LENGTH) {
    throw new InvalidValueError(
      `the value has ${text.length} characters; a lease has at most ${MAX_VALUE_LENGTH}`,
    );
  }
  const value = parseGoJson(text);
  if (!isJsonObject(value))
    throw new InvalidValueError(`the value is ${describeJson(value)}, not a JSON object`);
  const publicIp6 = readIp(value, "PublicIPv6", 6);
  return {
    publicIp: readPublicIp(value),
    ...(publicIp6 !== undefined && { publicIp6 }),
    backendType: readBackendType(value),
    ...readData(value, "BackendData", "backendData"),
    ...readData(value, "BackendV6Data", "backendData6"),
  };
}

function readPublicIp(value: JsonObject): Ip {
  // Go's decoder fails on null here, and so must we: a lease that only we see would not help.
  if (lookupOption(value, "PublicIP") === null)
    throw new InvalidValueError("PublicIP is null, but must be an IPv4 address");
  return readIp(value, "PublicIP", 4) ?? UNSET_IP;
}

function readIp(value: JsonObject, key: string, family: Family): Ip | undefined {
  const text = lookupOption(value, key) ?? undefined;
  if (text === undefined) return undefined;
  const ip = typeof text === "string" ? tryParseIp(text) : undefined;
  if (ip === undefined || familyOf(ip) !== family) {
    throw new InvalidValueError(`${key} is ${describeJson(text)}, but must be an IPv${family} address`);
  }
  return ip;
}

function readBackendType(value: JsonObject): string {
  const type = lookupOption(value, "BackendType") ?? "";
  if (typeof type !== "string") {
    throw new InvalidValueError(`BackendType is ${describeJson(type)}, but must be a text such as "vxlan"`);
  }
  return type;
}

function readData(
  value: JsonObject,
  key: string,
  name: "backendData" | "backendData6",
): Partial<LeaseAttributes> {
  const data = lookupOption(value, key) ?? undefined;
  return data === undefined ? {} : { [name]: data };
}

/** A key below `<prefix>/subnets/`, read as far as it can be. */
export interface LeaseEntry {
  readonly key: string;
  /** Absent when the key is no subnet. A broken value still takes its subnet. */
  readonly subnets?: LeaseSubnets;
  readonly lease?: Lease;
  /** Why there is no lease. */
  readonly reason?: string;
}

/** Reads one key with its value; never throws for their content. Etcd has no node names, so the public IP is the name. */
export function readLeaseEntry(prefix: string, key: string, value: string): LeaseEntry {
  let subnets: LeaseSubnets | undefined;
  try {
    subnets = parseLeaseKey(prefix, key);
    return { key, subnets, lease: leaseOf(subnets, parseLeaseValue(value)) };
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    return { key, ...(subnets && { subnets }), reason: error.message };
  }
}

/** @throws {InvalidValueError} for a lease without an address to reach its node by */
function leaseOf(subnets: LeaseSubnets, attributes: ReturnType<typeof parseLeaseValue>): Lease {
  const { publicIp, ...rest } = attributes;
  if (subnets.subnet !== undefined) return { nodeName: publicIp, ...subnets, ...attributes };
  const { publicIp6 } = rest;
  if (publicIp6 === undefined)
    throw new InvalidValueError("PublicIPv6 is absent, but the lease has no other subnet than an IPv6 one");
  return { nodeName: publicIp6, ...subnets, ...rest, ...(publicIp !== UNSET_IP && { publicIp }) };
}
