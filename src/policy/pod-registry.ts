// Where the daemon tells the cluster of its own pods and its own node: needed in etcd, where no kubelet does it.
import type { Ip } from "../net/ip.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Labels, NamedPort } from "./snapshot.ts";

/** A pod of this node, as CNI ADD has told of it. */
export interface LocalPod {
  readonly namespace: string;
  readonly name: string;
  /** Differs for each incarnation: the pod's uid, or the container ID where there is none. */
  readonly uid: string;
  readonly labels: Labels;
  /** Of both families, of all interfaces. */
  readonly ips: readonly Ip[];
  readonly ports: readonly NamedPort[];
  /** Milliseconds since 1970: when it was attached. */
  readonly createdAtMs: number;
}

/** The node itself. */
export interface LocalNode {
  /** Every address by which the node talks: of its uplink, bridge, overlay device, in both families. */
  readonly addresses: readonly Ip[];
  readonly podCidrs: readonly Cidr[];
}

export interface PodRegistryHealth {
  /** True while the store has what it should have of us. */
  readonly registered: boolean;
  /** The last failure with its cure. */
  readonly problem?: string;
}

/**
 * What should be registered is kept in memory; `run` brings the store to it and keeps it there: over outages, and again after
 * the store lost its data. The store forgets all of it some time after the daemon stopped renewing (TTL). All calls but `run`
 * return at once and never throw.
 */
export interface PodRegistry {
  /** Adds or replaces the pod with this namespace and name. */
  registerPod(pod: LocalPod): void;
  /** Does nothing if a later pod with another uid has the name. Absent is fine. */
  unregisterPod(pod: Pick<LocalPod, "namespace" | "name" | "uid">): void;
  /** These are all of our pods; what the store has of us besides goes. Nothing of an earlier run is removed before. */
  reconcile(pods: readonly LocalPod[]): void;
  setNode(node: LocalNode): void;
  /** Settles once everything told so far is in the store, or at the abort. For tests, and for whoever wants to wait. */
  settled(signal: AbortSignal): Promise<void>;
  /** Until aborted. Never throws for a store that is away. What is registered stays until its TTL. */
  run(signal: AbortSignal): Promise<void>;
  health(): PodRegistryHealth;
}
