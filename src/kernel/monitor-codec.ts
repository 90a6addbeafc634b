// Lines of `ip -N -o monitor link address route neigh` as events. Pure.
import { tryParseAddressWithPrefix } from "../net/cidr.ts";
import { bitsOf, familyOf, tryParseIp } from "../net/ip.ts";
import type { Ip } from "../net/ip.ts";
import { tryParseMac } from "../net/mac.ts";
import type { Mac } from "../net/mac.ts";
import { parseDestination, parseProtocol, routeOf, routeTypeOf } from "./route-codec.ts";
import type { ListedRoute } from "./route-codec.ts";

export interface LinkEvent {
  readonly kind: "link";
  readonly deleted: boolean;
  readonly name: string;
  /** IFF_UP. */
  readonly up: boolean;
  /** Registered but never up so far (qdisc noop): it has had nothing to lose yet. */
  readonly fresh: boolean;
  /** Bytes. */
  readonly mtu: number | undefined;
  readonly mac: Mac | undefined;
}

export interface AddressEvent {
  readonly kind: "address";
  readonly deleted: boolean;
  readonly dev: string;
  readonly ip: Ip;
  /** Bits. */
  readonly prefixLength: number;
}

/** Of the main table only. */
export interface RouteEvent {
  readonly kind: "route";
  readonly deleted: boolean;
  readonly route: ListedRoute;
}

/**
 * A neighbor entry, or an FDB entry of a vxlan device: the kernel tells both by RTM_NEWNEIGH. Ours are PERMANENT both; an
 * FDB entry that iproute2 made is NOARP too, but one that Go flannel made is not.
 */
export interface NeighborEvent {
  readonly kind: "neighbor";
  readonly deleted: boolean;
  readonly dev: string;
  readonly ip: Ip;
  readonly mac: Mac | undefined;
  readonly permanent: boolean;
  readonly noArp: boolean;
}

/** Something changed in the kernel, or (`everything`) anything may have changed while nobody looked. */
export type KernelEvent =
  | LinkEvent
  | AddressEvent
  | RouteEvent
  | NeighborEvent
  | { readonly kind: "everything"; readonly reason: string };

/**
 * Numbers (-N), since names of protocols are configurable; one line per event (-o). The receive buffer, bytes, takes the
 * echo of 5000 peers programmed at once where net.core.rmem_max allows it; elsewhere an overflow costs one listing.
 */
export const MONITOR_ARGS: readonly string[] = [
  "-rcvbuf",
  "16777216",
  "-N",
  "-o",
  "monitor",
  "link",
  "address",
  "route",
  "neigh",
];

/** Undefined for what is no concern of ours: other tables, entries without an address, unknown text. */
export function parseMonitorLine(line: string): KernelEvent | undefined {
  const deleted = line.startsWith("Deleted ");
  const words = (deleted ? line.slice("Deleted ".length) : line)
    .split(/[\s\\]+/)
    .filter((word) => word !== "");
  const [first, second, third] = words;
  if (first === undefined || second === undefined) return undefined;
  if (/^\d+:$/.test(first)) {
    if (third === "inet" || third === "inet6") return parseAddressEvent(words, deleted);
    return second.endsWith(":") ? parseLinkEvent(words, deleted) : undefined;
  }
  // A proxy entry tells of no neighbor.
  if (words.includes("proxy")) return undefined;
  return words.includes("lladdr") || second === "dev"
    ? (parseNeighborEvent(words, deleted) ?? parseRouteEvent(words, deleted))
    : parseRouteEvent(words, deleted);
}

/** `3: eth0@if7: <BROADCAST,UP> mtu 1500 qdisc noqueue ... link/[1] 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff`. */
function parseLinkEvent(words: readonly string[], deleted: boolean): LinkEvent {
  const [, name = "", flags = ""] = words;
  const mtu = Number(after(words, "mtu"));
  const hardware = words.findIndex((word) => word.startsWith("link/"));
  return {
    kind: "link",
    deleted,
    name: withoutPeer(name.slice(0, -1)),
    up: flags.replaceAll(/[<>]/g, "").split(",").includes("UP"),
    fresh: after(words, "qdisc") === "noop",
    mtu: Number.isNaN(mtu) ? undefined : mtu,
    mac: hardware < 0 ? undefined : tryParseMac(words[hardware + 1] ?? ""),
  };
}

/** `4: flannel.1    inet 10.244.1.0/32 scope 0 flannel.1`; with a peer, the length follows the peer's address. */
function parseAddressEvent(words: readonly string[], deleted: boolean): AddressEvent | undefined {
  const [, dev = "", , text = ""] = words;
  const own = tryParseAddressWithPrefix(text);
  const ip = own?.ip ?? tryParseIp(text);
  if (ip === undefined) return undefined;
  const peer = tryParseAddressWithPrefix(after(words, "peer") ?? "");
  const prefixLength = own?.prefixLength ?? peer?.prefixLength ?? bitsOf(familyOf(ip));
  return { kind: "address", deleted, dev: withoutPeer(dev), ip, prefixLength };
}

/** `10.244.2.0 dev flannel.1 lladdr 02:00:00:00:00:02 PERMANENT`. */
function parseNeighborEvent(words: readonly string[], deleted: boolean): NeighborEvent | undefined {
  const ip = tryParseIp(words[0] ?? "");
  const dev = after(words, "dev");
  const states = words.filter((word) => NEIGHBOR_STATES.has(word));
  if (ip === undefined || dev === undefined || states.length === 0) return undefined;
  return {
    kind: "neighbor",
    deleted,
    dev,
    ip,
    mac: tryParseMac(after(words, "lladdr") ?? ""),
    permanent: states.includes("PERMANENT"),
    noArp: states.includes("NOARP"),
  };
}

/** ip-neighbour(8). */
const NEIGHBOR_STATES: ReadonlySet<string> = new Set(
  "INCOMPLETE REACHABLE STALE DELAY PROBE FAILED NOARP PERMANENT NONE".split(" "),
);

/** `[TYPE] 10.244.2.0/24 via 10.244.2.0 dev flannel.1 [table T] proto 250 [metric M] onlink`. */
function parseRouteEvent(words: readonly string[], deleted: boolean): RouteEvent | undefined {
  const table = after(words, "table");
  if (table !== undefined && table !== "main" && table !== "254") return undefined;
  const hasType = /^([a-z]+|\d+)$/.test(words[0] ?? "") && words[0] !== "default";
  const target = words[hasType ? 1 : 0] ?? "";
  const gateway = gatewayOf(words);
  const isIpv6 =
    target.includes(":") || (target === "default" && (gateway?.includes(":") || words.includes("pref")));
  const dst = parseDestination(target, isIpv6 ? 6 : 4);
  if (dst === undefined) return undefined;
  const route = routeOf({
    dst,
    type: hasType ? routeTypeOf(words[0] ?? "") : "unicast",
    via: gateway,
    dev: after(words, "dev"),
    src: tryParseIp(after(words, "src") ?? ""),
    onlink: words.includes("onlink"),
    metric: Number(after(words, "metric") ?? 0),
    protocol: parseProtocol(after(words, "proto")),
    multipath: words.includes("nexthop"),
  });
  return { kind: "route", deleted, route };
}

/** `via 192.0.2.1`, or `via inet6 fe80::1` for a gateway of the other family. */
function gatewayOf(words: readonly string[]): Ip | undefined {
  const at = words.indexOf("via");
  return at < 0 ? undefined : (tryParseIp(words[at + 1] ?? "") ?? tryParseIp(words[at + 2] ?? ""));
}

function after(words: readonly string[], name: string): string | undefined {
  const at = words.indexOf(name);
  return at < 0 ? undefined : words[at + 1];
}

/** A device is printed with its peer or lower device: `eth0@if7`. */
function withoutPeer(name: string): string {
  const at = name.indexOf("@");
  return at < 0 ? name : name.slice(0, at);
}
