// Facts about the interface that carries the traffic between nodes, and pure questions to them.
import { cidrContainsIp, cidrLength } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Family, Ip } from "../net/ip.ts";

/** A route of the main table that is not ours, reduced to what a next-hop decision needs. */
export interface ForeignRoute {
  readonly dst: Cidr;
  readonly via?: Ip;
  readonly dev?: string;
  /** Preferred source address (RTA_PREFSRC). */
  readonly src?: Ip;
  /** Lower wins among equal prefixes. */
  readonly metric: number;
  /** Protocol boot: made by a person, by a script, or by Go flannel. */
  readonly fromBoot?: true;
}

export interface Uplink {
  readonly name: string;
  readonly index: number;
  /** Bytes. */
  readonly mtu: number;
  /** Own address per family, as flannel chooses it. */
  readonly addresses: Readonly<Partial<Record<Family, Ip>>>;
  /** Main-table routes of others, both families: decides who is on-link. */
  readonly routes: readonly ForeignRoute[];
}

/** Longest prefix match, then lowest metric, as the kernel's FIB does for one table. */
export function lookupRoute(routes: readonly ForeignRoute[], ip: Ip): ForeignRoute | undefined {
  let best: ForeignRoute | undefined;
  for (const route of routes) {
    if (!cidrContainsIp(route.dst, ip)) continue;
    const longer = best === undefined ? 1 : cidrLength(route.dst) - cidrLength(best.dst);
    if (best === undefined || longer > 0 || (longer === 0 && route.metric < best.metric)) best = route;
  }
  return best;
}

/** True if `ip` is reached on the uplink's own link, without a gateway. */
export function isOnLink(uplink: Uplink, ip: Ip): boolean {
  const route = lookupRoute(uplink.routes, ip);
  return route !== undefined && route.via === undefined && route.dev === uplink.name;
}

/** An address of an interface, as `ip -j address` tells it. */
export interface InterfaceAddress {
  readonly ip: Ip;
  /** Bits. */
  readonly prefixLength: number;
  readonly scope: "global" | "site" | "link" | "host";
  /** Leased by DHCP or made by SLAAC; has a lifetime. */
  readonly dynamic: boolean;
  /** RFC 8981 privacy address. */
  readonly temporary: boolean;
  readonly deprecated: boolean;
}

export interface HostInterface {
  readonly name: string;
  readonly index: number;
  /** Bytes. */
  readonly mtu: number;
  readonly up: boolean;
  /** The bridge or bond that it is a port of. */
  readonly master?: string;
  readonly addresses: readonly InterfaceAddress[];
}

/** Everything that choosing and watching an uplink needs, read in one go. */
export interface HostFacts {
  readonly interfaces: readonly HostInterface[];
  /** Main table, both families, without our own routes. */
  readonly routes: readonly ForeignRoute[];
}
