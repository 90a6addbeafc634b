// Which kernel tables an event contradicts: our own writes echo back as events and must not cause work. Pure.
import type { TableName } from "../host/kernel-table.ts";
import type { Ownership } from "../host/ownership.ts";
import type { HostState, Link, Route } from "../host/state.ts";
import type { ForeignRoute, HostFacts, HostInterface } from "../host/uplink.ts";
import type { Ip } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import { isOurAddress } from "./address-codec.ts";
import { largestVxlanMtu } from "./link-codec.ts";
import type { AddressEvent, KernelEvent, LinkEvent, NeighborEvent, RouteEvent } from "./monitor-codec.ts";
import { isOurRoute, ownRouteOf, sameRoute } from "./route-codec.ts";

export interface Drift {
  /** Tables that must be listed again. */
  readonly tables: readonly TableName[];
  /** The uplink changed: its facts must be read again. */
  readonly uplink: boolean;
}

export interface DriftContext {
  readonly ownership: Ownership;
  /** Name of the uplink. */
  readonly uplink?: string;
  /** What is known of the host: events that only repeat it are no change. Without it every event of the uplink counts. */
  readonly facts?: HostFacts;
}

/**
 * The plan, keyed for one lookup per event. Each part is built when the first event asks for it: not on the way from a
 * lease to the kernel, but when the echoes of the writes come.
 */
export interface DriftIndex {
  readonly ownership: Ownership;
  readonly links: () => ReadonlyMap<string, Link>;
  readonly addresses: () => ReadonlySet<string>;
  readonly routes: () => ReadonlyMap<string, Route>;
  readonly neighbors: () => ReadonlyMap<string, Mac>;
  readonly fdb: () => ReadonlyMap<string, Ip>;
  readonly uplink: () => KnownUplink | undefined;
}

interface KnownUplink {
  readonly name: string;
  readonly interface: HostInterface | undefined;
  readonly routes: ReadonlySet<string> | undefined;
}

const NO_DRIFT: Drift = { tables: [], uplink: false };
const ALL_TABLES: readonly TableName[] = [
  "links",
  "addresses",
  "sysctls",
  "routes",
  "neighbors",
  "fdb",
  "firewall",
];
/** A device and all that goes with it. */
const DEVICE_TABLES: readonly TableName[] = ["links", "addresses", "sysctls", "routes", "neighbors", "fdb"];

/** Built once per plan, before it is applied, so that the echoes of its writes are recognised. */
export function indexForDrift(desired: HostState, { ownership, uplink, facts }: DriftContext): DriftIndex {
  return {
    ownership,
    links: lazy(() => new Map(desired.links.map((row) => [row.name, row]))),
    addresses: lazy(
      () => new Set(desired.addresses.map((row) => addressKey(row.dev, row.ip, row.prefixLength))),
    ),
    routes: lazy(() => new Map(desired.routes.map((row) => [row.dst, row]))),
    neighbors: lazy(() => new Map(desired.neighbors.map((row) => [`${row.dev} ${row.ip}`, row.mac]))),
    fdb: lazy(() => new Map(desired.fdb.map((row) => [`${row.dev} ${row.mac}`, row.remote]))),
    uplink: lazy(() => (uplink === undefined ? undefined : knownUplink(uplink, facts))),
  };
}

function lazy<T>(build: () => T): () => T {
  let built: { readonly value: T } | undefined;
  return () => (built ??= { value: build() }).value;
}

function knownUplink(name: string, facts: HostFacts | undefined): KnownUplink {
  return {
    name,
    interface: facts?.interfaces.find((candidate) => candidate.name === name),
    routes: facts && new Set(facts.routes.filter((route) => route.dev === name).map(foreignRouteKey)),
  };
}

/** Cheap: a few lookups, whatever the number of peers. */
export function driftOf(event: KernelEvent, index: DriftIndex): Drift {
  switch (event.kind) {
    case "everything":
      return { tables: ALL_TABLES, uplink: true };
    case "link":
      return linkDrift(event, index);
    case "address":
      return addressDrift(event, index);
    case "route":
      return routeDrift(event, index);
    case "neighbor":
      return { tables: neighborDrift(event, index), uplink: false };
  }
}

function linkDrift(event: LinkEvent, index: DriftIndex): Drift {
  const uplink = index.uplink();
  if (event.name === uplink?.name) return uplinkLinkDrift(event, uplink);
  const desired = index.links().get(event.name);
  if (desired === undefined) {
    const unexplained = !event.deleted && index.ownership.devices.includes(event.name);
    return unexplained ? { tables: ["links"], uplink: false } : NO_DRIFT;
  }
  const hasRightMac = desired.kind === "tun" || event.mac === desired.mac;
  const isAsWanted = !event.deleted && hasRightMac && event.mtu === attainableMtu(desired, uplink);
  // A device that we create is announced once before it is up.
  if (isAsWanted && (event.up || event.fresh)) return NO_DRIFT;
  // Going down drops IPv4 routes and a new MAC drops neighbors, both without an event of their own.
  return { tables: DEVICE_TABLES, uplink: false };
}

function attainableMtu(desired: Link, uplink: KnownUplink | undefined): number {
  if (desired.kind === "tun") return desired.mtu;
  const uplinkMtu = uplink?.name === desired.uplink ? uplink.interface?.mtu : undefined;
  return uplinkMtu === undefined
    ? desired.mtu
    : Math.min(desired.mtu, largestVxlanMtu(uplinkMtu, desired.local));
}

function uplinkLinkDrift(event: LinkEvent, { interface: known }: KnownUplink): Drift {
  const hasKnownMtu = event.mtu === known?.mtu;
  const isKnown = known !== undefined && !event.deleted && event.up === known.up && hasKnownMtu;
  if (isKnown && event.up) return NO_DRIFT;
  // Going down drops routes without an event; a larger MTU may let an overlay device have the one it was refused.
  return { tables: hasKnownMtu ? ["routes"] : ["links", "routes"], uplink: !isKnown };
}

function addressDrift(event: AddressEvent, index: DriftIndex): Drift {
  const uplink = index.uplink();
  if (event.dev === uplink?.name) return uplinkAddressDrift(event, uplink);
  const desired = index.addresses().has(addressKey(event.dev, event.ip, event.prefixLength));
  // With its last address a device loses its IPv4 routes and neighbors, the routes without an event.
  if (desired && event.deleted) return { tables: ["addresses", "routes", "neighbors"], uplink: false };
  const unexplained = !desired && !event.deleted && isOurAddress(index.ownership, event);
  return unexplained ? { tables: ["addresses"], uplink: false } : NO_DRIFT;
}

function uplinkAddressDrift(event: AddressEvent, { interface: known }: KnownUplink): Drift {
  const isKnown = known?.addresses.some(
    ({ ip, prefixLength }) => ip === event.ip && prefixLength === event.prefixLength,
  );
  if (known !== undefined && isKnown !== event.deleted) return NO_DRIFT;
  return { tables: event.deleted ? ["routes"] : [], uplink: true };
}

function routeDrift({ route, deleted }: RouteEvent, index: DriftIndex): Drift {
  const desired = index.routes().get(route.dst);
  const isDesired = desired !== undefined && sameRoute(ownRouteOf(route), desired);
  if (deleted) {
    if (isDesired) return { tables: ["routes"], uplink: false };
  } else {
    const isOurs = isOurRoute(index.ownership, route);
    // A route of somebody else's at our destination has taken the place of ours, or stands beside it.
    if (desired === undefined ? isOurs : !(isDesired && isOurs)) return { tables: ["routes"], uplink: false };
  }
  return { tables: [], uplink: isUplinkRouteChange({ kind: "route", route, deleted }, index) };
}

function isUplinkRouteChange({ route, deleted }: RouteEvent, index: DriftIndex): boolean {
  const uplink = index.uplink();
  if (uplink === undefined || route.dev !== uplink.name || isOurRoute(index.ownership, route)) return false;
  return uplink.routes === undefined || uplink.routes.has(foreignRouteKey(route)) === deleted;
}

function neighborDrift(event: NeighborEvent, index: DriftIndex): readonly TableName[] {
  const { dev, ip, mac, deleted } = event;
  // Not ours: every other device.
  if (!index.ownership.devices.includes(dev)) return [];
  const neighborMac = index.neighbors().get(`${dev} ${ip}`);
  const fdbRemote = mac === undefined ? undefined : index.fdb().get(`${dev} ${mac}`);
  const isNeighborAsWanted =
    !event.noArp && event.permanent && neighborMac !== undefined && neighborMac === mac;
  const isFdbAsWanted = event.permanent && fdbRemote === ip;
  if (deleted) {
    const lostNeighbor =
      !event.noArp && neighborMac !== undefined && (mac === undefined || isNeighborAsWanted);
    return [...(lostNeighbor ? ["neighbors" as const] : []), ...(isFdbAsWanted ? ["fdb" as const] : [])];
  }
  if (isNeighborAsWanted || isFdbAsWanted) return [];
  if (event.noArp) return event.permanent ? ["fdb"] : [];
  if (neighborMac !== undefined) return ["neighbors"];
  return event.permanent ? ["neighbors", "fdb"] : [];
}

function addressKey(dev: string, ip: Ip, prefixLength: number): string {
  return `${dev} ${ip}/${prefixLength}`;
}

function foreignRouteKey({ dst, via, src, metric }: ForeignRoute): string {
  return `${dst} ${via ?? ""} ${src ?? ""} ${metric}`;
}
