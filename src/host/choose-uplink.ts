// Chooses the interface and the addresses that carry the traffic between nodes, by flannel's rules. Pure.
import { cidrContainsIp, cidrLength, cidrFamily, cidrOf } from "../net/cidr.ts";
import { FAMILIES, familyOf, isLinkLocal, tryParseIp } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import { lookupRoute } from "./uplink.ts";
import type { HostFacts, HostInterface, InterfaceAddress, Uplink } from "./uplink.ts";

/** What the flags ask for; the order of trying is that of the fields. */
export interface UplinkWish {
  /** `--iface`: names or addresses; the first that is usable is taken. */
  readonly ifaces: readonly string[];
  /** `--iface-regex`: against the addresses of all interfaces, then against their names. */
  readonly ifaceRegexes: readonly RegExp[];
  /** `--iface-can-reach`: the interface and source address that lead there. */
  readonly canReach?: Ip | undefined;
  /** `--public-ip`: advertised to peers; with none of the above also the local address to use. */
  readonly publicIp?: Ip | undefined;
  /** `--public-ipv6`, likewise. */
  readonly publicIp6?: Ip | undefined;
  /** Families of the cluster's configuration; each must have an address on the interface. */
  readonly families: readonly Family[];
}

export interface UplinkChoice {
  readonly uplink: Uplink;
  /** What peers send to: the public IPs asked for, else the uplink's own. */
  readonly publicIps: Readonly<Partial<Record<Family, Ip>>>;
}

/** No interface fits. The message says what was tried, what there is, and the cure. */
export class UplinkError extends Error {
  override readonly name = "UplinkError";
}

type Addresses = Readonly<Partial<Record<Family, Ip>>>;

/** An interface found by one wish, with the addresses that the wish itself settles. */
interface Found {
  readonly iface: HostInterface;
  readonly addresses: Addresses;
}

/** One wish: what to call it in messages, and how to look. A text says why nothing was found. */
interface Attempt {
  readonly label: string;
  readonly find: () => Found | string;
}

/**
 * Applies flannel's rules (main.go; pkg/ipmatch/match.go; pkg/ip/iface.go). Where flannel's dual stack stops half-way
 * (`--iface` with an IPv6 address, a regex that fits one family, `--iface-can-reach`), the other family's address is taken
 * from the same interface. Equal facts and wishes give equal choices.
 * @throws {UplinkError}
 */
export function chooseUplink(facts: HostFacts, wish: UplinkWish): UplinkChoice {
  // The kernel lists by index and so does Go; facts may come in any order.
  const interfaces = [...facts.interfaces].sort((a, b) => a.index - b.index);
  const sorted: HostFacts = { ...facts, interfaces };
  const failures: string[] = [];
  for (const { label, find } of attempts(sorted, wish)) {
    const found = find();
    const chosen = typeof found === "string" ? found : settleAddresses(found, wish.families);
    if (typeof chosen !== "string") return describeChoice(chosen, sorted, wish);
    failures.push(`${label}: ${chosen}`);
  }
  throw new UplinkError(
    `found no interface for the traffic between nodes. ${failures.join("; ")}. ` +
      `Interfaces here: ${describeInterfaces(interfaces)}. Name one with --iface=NAME (or its address)`,
  );
}

function attempts(facts: HostFacts, wish: UplinkWish): readonly Attempt[] {
  const { canReach } = wish;
  const named: readonly Attempt[] = [
    ...wish.ifaces.map((text) => ({
      label: `--iface=${text}`,
      find: () => findByNameOrIp(facts, text, wish.families),
    })),
    ...wish.ifaceRegexes.map((regex) => ({
      label: `--iface-regex=${regex.source}`,
      find: () => findByRegex(facts, regex, wish.families),
    })),
    ...(canReach === undefined
      ? []
      : [
          { label: `--iface-can-reach=${canReach}`, find: () => findByRoute(facts, canReach, wish.families) },
        ]),
  ];
  if (named.length > 0) return named;
  const publicIps = publicIpsOf(wish);
  const labels = Object.values(publicIps).map(
    (ip) => `${familyOf(ip) === 4 ? "--public-ip" : "--public-ipv6"}=${ip}`,
  );
  if (labels.length > 0) return [{ label: labels.join(" "), find: () => findByPublicIps(facts, publicIps) }];
  return [{ label: "default route", find: () => findByDefaultRoute(facts, wish.families) }];
}

/** The public IPs asked for, of the families that are on. */
function publicIpsOf({ publicIp, publicIp6, families }: UplinkWish): Addresses {
  return {
    ...(publicIp !== undefined && families.includes(4) && { 4: publicIp }),
    ...(publicIp6 !== undefined && families.includes(6) && { 6: publicIp6 }),
  };
}

function interfaceWithIp(facts: HostFacts, ip: Ip): HostInterface | undefined {
  return facts.interfaces.find((iface) => iface.addresses.some((address) => address.ip === ip));
}

function findByNameOrIp(facts: HostFacts, text: string, families: readonly Family[]): Found | string {
  const ip = tryParseIp(text);
  if (ip === undefined) {
    const iface = facts.interfaces.find(({ name }) => name === text);
    return iface === undefined ? "there is no interface of this name" : { iface, addresses: {} };
  }
  if (!families.includes(familyOf(ip))) return otherFamily(ip, families);
  const iface = interfaceWithIp(facts, ip);
  return iface === undefined ? "no interface has this address" : { iface, addresses: { [familyOf(ip)]: ip } };
}

function otherFamily(ip: Ip, families: readonly Family[]): string {
  return `it is IPv${familyOf(ip)}, but the cluster's configuration has only IPv${families.join(", IPv")}`;
}

/** Addresses first, then names; of several interfaces rather one where every family fits, then the lowest index. */
function findByRegex(facts: HostFacts, regex: RegExp, families: readonly Family[]): Found | string {
  const byAddress = facts.interfaces.map((iface) => ({
    iface,
    addresses: matchAddresses(iface, regex, families),
  }));
  const matched = ({ addresses }: Found) => Object.keys(addresses).length;
  const found =
    byAddress.find((candidate) => matched(candidate) === families.length) ??
    byAddress.find((candidate) => matched(candidate) > 0);
  if (found !== undefined) return found;
  const iface = facts.interfaces.find(({ name }) => regex.test(name));
  return iface === undefined ? "matches no address and no name" : { iface, addresses: {} };
}

function matchAddresses(iface: HostInterface, regex: RegExp, families: readonly Family[]): Addresses {
  const addresses: Partial<Record<Family, Ip>> = {};
  for (const family of families) {
    const ip = usableAddresses(iface, family).find((candidate) => regex.test(candidate));
    if (ip !== undefined) addresses[family] = ip;
  }
  return addresses;
}

/** What `ip route get` would say: interface and source address. */
function findByRoute(facts: HostFacts, target: Ip, families: readonly Family[]): Found | string {
  const family = familyOf(target);
  if (!families.includes(family)) return otherFamily(target, families);
  const own = interfaceWithIp(facts, target);
  if (own !== undefined) return { iface: own, addresses: { [family]: target } };
  const route = lookupRoute(facts.routes, target);
  const iface = facts.interfaces.find(({ name }) => name === route?.dev);
  if (route === undefined || iface === undefined) return "there is no route to it";
  const source = route.src ?? sourceTowards(iface, route.via ?? target);
  return { iface, addresses: source === undefined ? {} : { [family]: source } };
}

/** Without a preferred source the kernel takes an address of the next hop's own subnet. */
function sourceTowards(iface: HostInterface, nextHop: Ip): Ip | undefined {
  const family = familyOf(nextHop);
  const near = iface.addresses.filter(
    ({ ip, prefixLength }) => familyOf(ip) === family && cidrContainsIp(cidrOf(ip, prefixLength), nextHop),
  );
  return sortUsable(near)[0];
}

function findByPublicIps(facts: HostFacts, publicIps: Addresses): Found | string {
  const found = Object.values(publicIps).map((ip) => ({ ip, iface: interfaceWithIp(facts, ip) }));
  const absent = found.find(({ iface }) => iface === undefined);
  if (absent !== undefined) {
    return `no interface has the address ${absent.ip}; behind NAT give --iface=NAME together with the public address`;
  }
  const [first, second] = found.flatMap(({ iface }) => iface ?? []);
  if (first === undefined) return "no address given";
  if (second !== undefined && second.index !== first.index) {
    return `the IPv4 address is on ${first.name}, the IPv6 address on ${second.name}, but both must be on one interface`;
  }
  return { iface: first, addresses: publicIps };
}

function findByDefaultRoute(facts: HostFacts, families: readonly Family[]): Found | string {
  const found: HostInterface[] = [];
  for (const family of families) {
    const dev = defaultRouteDevice(facts, family);
    const iface = facts.interfaces.find(({ name }) => name === dev);
    if (iface === undefined) return `there is no IPv${family} default route`;
    found.push(iface);
  }
  const [first, second] = found;
  if (first === undefined) return "the cluster's configuration has no address family";
  if (second !== undefined && second.index !== first.index) {
    return `the IPv${families[0]} default route leaves by ${first.name}, the IPv${families[1]} one by ${second.name}, but both must be the same`;
  }
  return { iface: first, addresses: {} };
}

/** The device of the default route with the lowest metric. `lo` carries the kernel's "unreachable" IPv6 default. */
function defaultRouteDevice(facts: HostFacts, family: Family): string | undefined {
  return facts.routes
    .filter(
      ({ dst, dev }) =>
        cidrLength(dst) === 0 && cidrFamily(dst) === family && dev !== undefined && dev !== "lo",
    )
    .reduce<HostFacts["routes"][number] | undefined>(
      (best, route) => (best === undefined || route.metric < best.metric ? route : best),
      undefined,
    )?.dev;
}

/** Completes the addresses with the first usable one of each family; a text says what is missing. */
function settleAddresses({ iface, addresses }: Found, families: readonly Family[]): Found | string {
  const complete: Partial<Record<Family, Ip>> = {};
  for (const family of families) {
    const ip = addresses[family] ?? usableAddresses(iface, family)[0];
    if (ip === undefined) return `${iface.name} has no usable IPv${family} address`;
    complete[family] = ip;
  }
  // Go's wording; a link without an MTU gives every tunnel a negative one.
  if (iface.mtu === 0) return `failed to determine MTU for ${iface.name} (it is 0)`;
  return { iface, addresses: complete };
}

function usableAddresses(iface: HostInterface, family: Family): readonly Ip[] {
  return sortUsable(iface.addresses.filter(({ ip }) => familyOf(ip) === family));
}

/**
 * flannel's order: global before link-local, permanent before dynamic, lasting before temporary, else as the kernel lists
 * them; deprecated addresses and those that are no unicast address of a network are left out.
 */
function sortUsable(addresses: readonly InterfaceAddress[]): readonly Ip[] {
  const rank = ({ ip, dynamic, temporary }: InterfaceAddress): number =>
    (isLinkLocal(ip) ? 4 : 0) + (dynamic ? 2 : 0) + (temporary ? 1 : 0);
  return addresses
    .filter(({ ip, deprecated }) => !deprecated && isNetworkUnicast(ip))
    .sort((a, b) => rank(a) - rank(b))
    .map(({ ip }) => ip);
}

/** Go's IsGlobalUnicast or IsLinkLocalUnicast: not unspecified, loopback, multicast or the limited broadcast address. */
function isNetworkUnicast(ip: Ip): boolean {
  if (familyOf(ip) === 6) return ip !== "::" && ip !== "::1" && !/^ff[0-9a-f]{2}:/.test(ip);
  const first = Number(ip.slice(0, ip.indexOf(".")));
  return first !== 127 && !(first >= 224 && first < 240) && ip !== "0.0.0.0" && ip !== "255.255.255.255";
}

function describeChoice({ iface, addresses }: Found, facts: HostFacts, wish: UplinkWish): UplinkChoice {
  const { name, index, mtu } = iface;
  return {
    uplink: { name, index, mtu, addresses, routes: facts.routes },
    publicIps: { ...addresses, ...publicIpsOf(wish) },
  };
}

function describeInterfaces(interfaces: readonly HostInterface[]): string {
  if (interfaces.length === 0) return "none";
  return interfaces
    .map((iface) => {
      const ips = FAMILIES.flatMap((family) => usableAddresses(iface, family));
      return `${iface.name} (${ips.length === 0 ? "no usable address" : ips.join(", ")})`;
    })
    .join(", ");
}
