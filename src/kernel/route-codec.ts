// Routes of the main table as `ip route` reads and prints them, and whose they are. Pure.
import { ROUTE_PROTOCOL } from "../host/ownership.ts";
import type { Ownership } from "../host/ownership.ts";
import type { Route } from "../host/state.ts";
import { cidrBase, cidrContains, cidrFamily, tryParseCidr } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { bitsOf, FAMILIES, tryParseIp } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import { arrayOf, mapJsonRows, numberOf, objectOf, textOf } from "./json.ts";
import type { JsonObject } from "./json.ts";

/** RTPROT_KERNEL and RTPROT_BOOT (linux/rtnetlink.h); iproute2 leaves boot out. */
export const PROTOCOL_KERNEL = 2;
export const PROTOCOL_BOOT = 3;
const PROTOCOL_NAMES: Readonly<Record<string, number>> = { kernel: PROTOCOL_KERNEL, boot: PROTOCOL_BOOT };
/** RTN_UNICAST and RTN_BLACKHOLE (linux/rtnetlink.h). */
const TYPE_NUMBERS: Readonly<Record<string, string>> = { "1": "unicast", "6": "blackhole" };

/** A route as the kernel has it. */
export interface ListedRoute {
  readonly dst: Cidr;
  /** rtm_type: unicast, blackhole, or anything else by name or number. */
  readonly type: string;
  readonly via?: Ip;
  readonly dev?: string;
  readonly src?: Ip;
  readonly onlink: boolean;
  /** 0 for IPv4 routes without one. */
  readonly metric: number;
  /** RTA_PROTOCOL. */
  readonly protocol: number;
  /** Several next hops; `via` and `dev` are the first one's. */
  readonly multipath: boolean;
}

/** A listed row of ours: what `Route` has, and what is needed to remove exactly this row. */
export type OwnRoute = Route & Partial<Pick<ListedRoute, "metric" | "protocol" | "multipath">>;

/** Numbers (-N), since /etc/iproute2/rt_protos may give our protocol a name. */
export function listRoutesArgs(family: Family): readonly string[] {
  return ["-j", "-N", `-${family}`, "route", "show", "table", "main"];
}

export function parseRoutes(stdout: string, family: Family): readonly ListedRoute[] {
  return mapJsonRows(stdout, "ip route", (row) => parseRoute(row, family));
}

function parseRoute(row: JsonObject, family: Family): ListedRoute | undefined {
  const dst = parseDestination(textOf(row["dst"]) ?? "", family);
  if (dst === undefined) return undefined;
  const nextHops = arrayOf(row["nexthops"]);
  const hop = nextHops.length > 0 ? objectOf(nextHops[0]) : row;
  return routeOf({
    dst,
    type: routeTypeOf(textOf(row["type"]) ?? "unicast"),
    via: tryParseIp(textOf(hop["gateway"]) ?? textOf(objectOf(hop["via"])["host"]) ?? ""),
    dev: textOf(hop["dev"]),
    src: tryParseIp(textOf(row["prefsrc"]) ?? ""),
    onlink: arrayOf(hop["flags"]).includes("onlink"),
    metric: numberOf(row["metric"]) ?? 0,
    protocol: parseProtocol(textOf(row["protocol"])),
    multipath: nextHops.length > 0,
  });
}

/** Drops absent fields. A blackhole has no device, though the kernel prints `dev lo` for it in IPv6. */
export function routeOf(
  fields: Pick<ListedRoute, "dst" | "type" | "onlink" | "metric" | "protocol" | "multipath"> & {
    via: Ip | undefined;
    dev: string | undefined;
    src: Ip | undefined;
  },
): ListedRoute {
  const { via, dev, src, ...rest } = fields;
  return {
    ...rest,
    ...(via === undefined ? {} : { via }),
    ...(dev === undefined || rest.type !== "unicast" ? {} : { dev }),
    ...(src === undefined ? {} : { src }),
  };
}

/** iproute2 prints `default` for the zero prefix, and single addresses without a length. */
export function parseDestination(text: string, family: Family): Cidr | undefined {
  if (text === "default") return tryParseCidr(family === 4 ? "0.0.0.0/0" : "::/0");
  return tryParseCidr(text.includes("/") ? text : `${text}/${bitsOf(family)}`);
}

export function parseProtocol(text: string | undefined): number {
  if (text === undefined) return PROTOCOL_BOOT;
  return PROTOCOL_NAMES[text] ?? Number(text);
}

/** `ip -N` prints types as numbers. */
export function routeTypeOf(text: string): string {
  return TYPE_NUMBERS[text] ?? text;
}

/**
 * Ours: our protocol inside our networks; and on a device of ours whatever leads into our networks or has the form of Go
 * flannel's routes, which have protocol boot, as those that people make: they stay behind when a network was changed.
 */
export function isOurRoute(
  ownership: Ownership,
  route: Pick<ListedRoute, "dst" | "via" | "dev" | "onlink" | "protocol">,
): boolean {
  const { dst, via, dev, onlink, protocol } = route;
  if (protocol === PROTOCOL_KERNEL) return false;
  const isInside = ownership.networks.some((network) => cidrContains(network, dst));
  if (dev === undefined || !ownership.devices.includes(dev)) return protocol === ROUTE_PROTOCOL && isInside;
  return protocol === ROUTE_PROTOCOL || isInside || (onlink && via === cidrBase(dst));
}

/** A listed route of ours as a row. Types that we never write stand as what they are not, so that they get replaced. */
export function ownRouteOf({ type, ...route }: ListedRoute): OwnRoute {
  return { ...route, type: type === "blackhole" ? "blackhole" : "unicast" };
}

/**
 * Same next hop and, if one is wanted, metric. The protocol is not compared: a right route that Go flannel left on our
 * device stays.
 */
export function sameRoute(actual: Omit<OwnRoute, "dst">, desired: Route): boolean {
  return (
    actual.type === desired.type &&
    actual.via === desired.via &&
    actual.dev === desired.dev &&
    actual.src === desired.src &&
    actual.onlink === desired.onlink &&
    (desired.metric === undefined || actual.metric === desired.metric) &&
    actual.multipath !== true
  );
}

export function routePutArgs(route: Route): readonly string[] {
  return [
    "route",
    "replace",
    ...destinationArgs(route),
    "proto",
    String(ROUTE_PROTOCOL),
    ...metricArgs(route),
  ];
}

/** Names all that is known, so that of several routes to one destination only this one goes. */
export function routeRemoveArgs(route: OwnRoute): readonly string[] {
  const target = route.multipath === true ? [route.dst] : destinationArgs(route);
  return ["route", "del", ...target, "proto", String(route.protocol ?? ROUTE_PROTOCOL), ...metricArgs(route)];
}

/** Without a metric, `replace` takes the place of the bridge's connected route of the same prefix. */
function metricArgs({ metric }: Route): readonly string[] {
  return metric === undefined || metric === 0 ? [] : ["metric", String(metric)];
}

function destinationArgs(route: Route): readonly string[] {
  if (route.type === "blackhole") return ["blackhole", route.dst];
  return [
    route.dst,
    ...(route.via === undefined ? [] : ["via", route.via]),
    ...(route.dev === undefined ? [] : ["dev", route.dev]),
    ...(route.src === undefined ? [] : ["src", route.src]),
    ...(route.onlink ? ["onlink"] : []),
  ];
}

/**
 * Takes whatever route holds the destination away before ours is put. Only for IPv6 onlink routes: the kernel resolves the
 * gateway, an address inside the destination, through the very route that is to be replaced, and refuses when that one
 * leaves by another device (net/ipv6/route.c, ip6_route_check_nh_onlink).
 */
export function routeMakeRoomArgs(route: Route): readonly string[] {
  return ["route", "del", route.dst];
}

export function needsRoom(route: Route, reason: string): boolean {
  return cidrFamily(route.dst) === 6 && route.onlink && reason.includes("device mismatch");
}

/** Families that our routes can be of. */
export function familiesOf(networks: readonly Cidr[]): readonly Family[] {
  return FAMILIES.filter((family) => networks.some((network) => cidrFamily(network) === family));
}
