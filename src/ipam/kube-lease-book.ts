// What the Nodes of a cluster say of their leases: folds Node changes into lease events, whoever claims what.
import type { KubeNode } from "../kube/nodes.ts";
import type { AnnotationNames } from "./kube-annotations-codec.ts";
import { readPeer } from "./kube-lease-codec.ts";
import { subnetKeyOf } from "./lease.ts";
import type { Lease, LeaseEvent, SubnetKey } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";

export interface KubeLeaseBookOptions {
  /** Our own Node, whose lease comes through `setOwn` alone. */
  readonly ownName: string;
  readonly names: AnnotationNames;
  readonly config: NetworkConfig;
}

/** A Node that wants to be a peer and cannot be. */
export interface SkippedNode {
  readonly nodeName: string;
  readonly reason: string;
}

/**
 * One lease per subnet goes out. Where two Nodes claim the same one, ours wins, then the lower name, so that every order of
 * the same changes ends in the same leases. Leases that did not change keep their object, which the plans remember by.
 */
export class KubeLeaseBook {
  readonly #options: KubeLeaseBookOptions;
  /** What each Node claims, ours included. */
  readonly #claims = new Map<string, Lease>();
  /** Who has it. */
  readonly #holders = new Map<SubnetKey, string>();
  readonly #problems = new Map<string, string>();

  constructor(options: KubeLeaseBookOptions) {
    this.#options = options;
  }

  /** Our lease as we hold it. */
  setOwn(lease: Lease): readonly LeaseEvent[] {
    return this.#claim(this.#options.ownName, lease);
  }

  put(node: KubeNode): readonly LeaseEvent[] {
    if (node.name === this.#options.ownName) return [];
    return this.#claim(node.name, this.#read(node));
  }

  remove(nodeName: string): readonly LeaseEvent[] {
    if (nodeName === this.#options.ownName) return [];
    this.#problems.delete(nodeName);
    return this.#claim(nodeName, undefined);
  }

  /** All Nodes there are. */
  replace(nodes: readonly KubeNode[]): LeaseEvent {
    const { ownName } = this.#options;
    const present = new Set(nodes.map(({ name }) => name));
    for (const name of [...this.#claims.keys(), ...this.#problems.keys()]) {
      if (!present.has(name)) this.remove(name);
    }
    for (const node of nodes) if (node.name !== ownName) this.put(node);
    return this.snapshot();
  }

  snapshot(): LeaseEvent {
    return {
      type: "snapshot",
      leases: [...this.#holders.values()].flatMap((name) => this.#claims.get(name) ?? []),
    };
  }

  skipped(): readonly SkippedNode[] {
    const problems = [...this.#problems].map(([nodeName, reason]) => ({ nodeName, reason }));
    // Asked after each event: the common case must not walk all Nodes.
    if (this.#claims.size === this.#holders.size) return problems;
    const contested = [...this.#claims].flatMap(([nodeName, lease]) => {
      const holder = this.#holders.get(subnetKeyOf(lease));
      if (holder === undefined || holder === nodeName) return [];
      const whose = holder === this.#options.ownName ? "this node's own" : `that of node "${holder}"`;
      const reason = `its podCIDR ${subnetKeyOf(lease)} is also ${whose}: register one of the two nodes anew, so that it gets another`;
      return { nodeName, reason };
    });
    return [...problems, ...contested];
  }

  #read(node: KubeNode): Lease | undefined {
    const result = readPeer(node, this.#options.names, this.#options.config);
    if ("problem" in result) this.#problems.set(node.name, result.problem);
    else this.#problems.delete(node.name);
    return "lease" in result ? result.lease : undefined;
  }

  #claim(nodeName: string, wanted: Lease | undefined): readonly LeaseEvent[] {
    const before = this.#claims.get(nodeName);
    if (before !== undefined && wanted !== undefined && isSameLease(before, wanted)) return [];
    const events: LeaseEvent[] = [];
    const key = wanted === undefined ? undefined : subnetKeyOf(wanted);
    if (wanted === undefined) this.#claims.delete(nodeName);
    else this.#claims.set(nodeName, wanted);
    if (before !== undefined && subnetKeyOf(before) !== key) events.push(...this.#release(nodeName, before));
    if (wanted !== undefined && key !== undefined) {
      const holder = this.#holders.get(key);
      if (holder === undefined || holder === nodeName || this.#outranks(nodeName, holder)) {
        this.#holders.set(key, nodeName);
        events.push({ type: "put", lease: wanted });
      }
    }
    return events;
  }

  #release(nodeName: string, lease: Lease): readonly LeaseEvent[] {
    const subnetKey = subnetKeyOf(lease);
    if (this.#holders.get(subnetKey) !== nodeName) return [];
    const heirs = [...this.#claims].filter(([, claim]) => subnetKeyOf(claim) === subnetKey);
    const [heir] = heirs.toSorted(([a], [b]) => (this.#outranks(a, b) ? -1 : 1));
    if (heir === undefined) {
      this.#holders.delete(subnetKey);
      return [{ type: "removed", subnetKey }];
    }
    this.#holders.set(subnetKey, heir[0]);
    return [{ type: "put", lease: heir[1] }];
  }

  #outranks(a: string, b: string): boolean {
    const { ownName } = this.#options;
    return a === ownName || (b !== ownName && a < b);
  }
}

function isSameLease(a: Lease, b: Lease): boolean {
  return (
    subnetKeyOf(a) === subnetKeyOf(b) &&
    a.publicIp === b.publicIp &&
    a.publicIp6 === b.publicIp6 &&
    a.backendType === b.backendType &&
    JSON.stringify(a.backendData) === JSON.stringify(b.backendData) &&
    JSON.stringify(a.backendData6) === JSON.stringify(b.backendData6)
  );
}
