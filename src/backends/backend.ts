// The contract of a backend: how packets get from this node to its peers, as a pure plan.
import type { DataPathPlan } from "../host/data-path.ts";
import type { HostState } from "../host/state.ts";
import type { Uplink } from "../host/uplink.ts";
import type { Lease, SubnetKey } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import type { Family, Ip } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";

/** What this node knows of itself when it publishes a lease. */
export interface LocalNode {
  readonly uplink: Uplink;
  /** Addresses that peers send to: `--public-ip` or the uplink's own. */
  readonly publicIps: Readonly<Partial<Record<Family, Ip>>>;
  /** The MAC that an overlay device of ours keeps. */
  readonly macs: Readonly<Partial<Record<Family, Mac>>>;
}

export interface BackendAttributes {
  /** As published in the lease: lower case, empty for udp and alloc. */
  readonly backendType: string;
  readonly backendData?: unknown;
  readonly backendData6?: unknown;
}

export interface BackendInput {
  readonly self: Lease;
  readonly peers: readonly Lease[];
  readonly node: LocalNode;
  readonly config: NetworkConfig;
}

/** How a peer is reached, for `status`; the cure is for a person. */
export interface PeerReach {
  readonly subnetKey: SubnetKey;
  readonly how: "vxlan" | "udp" | "direct" | "unreachable" | "ignored";
  /** Why it is unreachable or ignored, and what to do. */
  readonly problem?: string;
}

export interface BackendPlan {
  readonly state: HostState;
  /** For a backend whose packets pass through this program. */
  readonly dataPath?: DataPathPlan;
  readonly reach: readonly PeerReach[];
}

/** A backend with its validated options. Pure: no effects, no clock. */
export interface Backend {
  readonly type: string;
  /** Names of the devices that `plan` may contain. */
  readonly devices: readonly string[];
  /** Families for which the backend needs a MAC of this node (`LocalNode.macs`). */
  readonly macFamilies: readonly Family[];
  /** MTU for pods, bytes: what goes into subnet.env. */
  podMtu(uplink: Uplink): number;
  /** Largest packet that the configuration lets out on the uplink, bytes; left out: the uplink's own MTU. */
  readonly outerMtu?: number;
  attributes(node: LocalNode): BackendAttributes;
  /** MACs that an own lease of an earlier run has published, per family. */
  publishedMacs(lease: Lease): LocalNode["macs"];
  plan(input: BackendInput): BackendPlan;
}
