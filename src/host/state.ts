// The plan of the host: every kernel row that we want, as plain data. Backends and rules produce it, kernel tables obey it.
import type { Cidr } from "../net/cidr.ts";
import type { Family, Ip } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";

/** A vxlan device (rtnetlink IFLA_VXLAN_*; `ip -d link`). */
export interface VxlanLink {
  readonly kind: "vxlan";
  readonly name: string;
  readonly mac: Mac;
  /** Bytes. */
  readonly mtu: number;
  /** VXLAN network identifier, 24 bits (RFC 7348). */
  readonly vni: number;
  /** Outer UDP destination port. The kernel's own default is 8472. */
  readonly port: number;
  /** Outer source address. */
  readonly local: Ip;
  /** Device that the outer packets leave by. */
  readonly uplink: string;
  readonly learning: boolean;
  /** Group based policy extension. */
  readonly gbp: boolean;
}

/** A persistent TUN device (linux/if_tun.h; `ip tuntap`): it stays, with its routes, while no program is attached. */
export interface TunLink {
  readonly kind: "tun";
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
}

/** A device that we create. Other kinds join this union with their backends. */
export type Link = VxlanLink | TunLink;

export interface Address {
  readonly dev: string;
  readonly ip: Ip;
  /** Bits. */
  readonly prefixLength: number;
}

/** An entry of the main routing table. Family follows from `dst`. */
export interface Route {
  readonly dst: Cidr;
  readonly type: "unicast" | "blackhole";
  readonly via?: Ip;
  /** Absent only for a blackhole. */
  readonly dev?: string;
  readonly src?: Ip;
  /** Tells the kernel that `via` is reachable on `dev` though no address says so (RTNH_F_ONLINK). */
  readonly onlink: boolean;
  /**
   * Route priority, lower wins (RTA_PRIORITY); absent is the kernel's default. It is part of a route's identity: a blackhole
   * of the own subnet without one wins over the bridge's connected route of the same prefix, and pods here are lost.
   */
  readonly metric?: number;
}

/** A permanent neighbor entry (ARP or NDP). */
export interface Neighbor {
  readonly dev: string;
  readonly ip: Ip;
  readonly mac: Mac;
}

/** A permanent entry of a vxlan device's own forwarding database: frames for `mac` go to VTEP `remote`. */
export interface FdbEntry {
  readonly dev: string;
  readonly mac: Mac;
  readonly remote: Ip;
}

export interface Sysctl {
  /** Path below /proc/sys with slashes, since device names contain dots: `net/ipv6/conf/flannel.1/accept_ra`. */
  readonly key: string;
  readonly value: string;
  /** A precaution: where /proc/sys is read-only (a container that is not privileged) or IPv6 is off, it is done without. */
  readonly optional?: boolean;
}

/** Tables of iptables that we write. */
export type FirewallTable = "nat" | "filter";

/**
 * An iptables chain of ours with all of its rules, in order. A rule is a list of arguments, one token per element and
 * unquoted (`["-s", "10.244.0.0/16", "-j", "ACCEPT"]`), without `-A CHAIN`.
 */
export interface Chain {
  readonly kind: "chain";
  readonly family: Family;
  readonly table: FirewallTable;
  /** At most 28 characters (XT_EXTENSION_MAXNAMELEN - 1). */
  readonly name: string;
  readonly rules: readonly (readonly string[])[];
}

/**
 * A rule of ours in a chain that is not ours (POSTROUTING, FORWARD): exactly one copy. It names one of our chains with
 * `-j`; that is how it is recognised.
 */
export interface Jump {
  readonly kind: "jump";
  readonly family: Family;
  readonly table: FirewallTable;
  /** The chain that belongs to others, e.g. "POSTROUTING". */
  readonly from: string;
  /**
   * `first`: kept ahead of every other rule. `append`: added at the end when absent, and right wherever others have put
   * theirs since, so that two programs that append do not fight. `misplaced`: only as listed, when there are several
   * copies, or when a row that wants to be first is not.
   */
  readonly position: "first" | "append" | "misplaced";
  readonly rule: readonly string[];
}

/** Chains and jumps are one table, since a chain and the jump to it must change in one transaction. */
export type FirewallRow = Chain | Jump;

/** All that we want of this host. Rows are unordered but for the rules inside a chain. */
export interface HostState {
  readonly links: readonly Link[];
  readonly addresses: readonly Address[];
  readonly sysctls: readonly Sysctl[];
  readonly routes: readonly Route[];
  readonly neighbors: readonly Neighbor[];
  readonly fdb: readonly FdbEntry[];
  readonly firewall: readonly FirewallRow[];
}

export const EMPTY_HOST_STATE: HostState = {
  links: [],
  addresses: [],
  sysctls: [],
  routes: [],
  neighbors: [],
  fdb: [],
  firewall: [],
};

/** Joins plans of several planners into one. Rows are not de-duplicated: two planners never own the same row. */
export function mergeHostStates(...states: readonly Partial<HostState>[]): HostState {
  return {
    links: joinRows(states.map((state) => state.links)),
    addresses: joinRows(states.map((state) => state.addresses)),
    sysctls: joinRows(states.map((state) => state.sysctls)),
    routes: joinRows(states.map((state) => state.routes)),
    neighbors: joinRows(states.map((state) => state.neighbors)),
    fdb: joinRows(states.map((state) => state.fdb)),
    firewall: joinRows(states.map((state) => state.firewall)),
  };
}

/** Mostly one planner has rows of a kind, by the thousand: then they are taken as they are. */
function joinRows<Row>(parts: readonly (readonly Row[] | undefined)[]): readonly Row[] {
  const filled = parts.filter((rows) => rows !== undefined && rows.length > 0) as readonly (readonly Row[])[];
  const [first = []] = filled;
  return filled.length > 1 ? (filled.flat(1) as readonly Row[]) : first;
}
