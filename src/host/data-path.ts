// A data path in this program, for backends whose packets no kernel device carries: what it should do, and who does it.
import type { Cidr } from "../net/cidr.ts";
import type { Family, Ip } from "../net/ip.ts";

/** Packets for `prefix` go to the node at `remote`. */
export interface DataPathPeer {
  readonly prefix: Cidr;
  /** Outer address. */
  readonly remote: Ip;
}

/** Bare IP packets in UDP (flannel 4.3), between a TUN device and the peers. */
export interface DataPathPlan {
  readonly kind: "udp";
  /** TUN device, a row of `HostState.links`. */
  readonly device: string;
  /** UDP port of all nodes. */
  readonly port: number;
  /** Own outer addresses: the sockets are bound to them. */
  readonly locals: Readonly<Partial<Record<Family, Ip>>>;
  /** Own addresses on the device: ICMP errors come from them. */
  readonly inner: Readonly<Partial<Record<Family, Ip>>>;
  /** Use segmentation offload where the kernel has it. */
  readonly offload: boolean;
  /** Take packets only from the peers' outer addresses. */
  readonly peersOnly: boolean;
  readonly peers: readonly DataPathPeer[];
}

/** What the data path has counted since it was first started, by name. */
export type DataPathCounters = Readonly<Record<string, number>>;

export interface DataPath {
  /**
   * Makes the data path as planned; starts it if it does not run. To be called after the plan's devices and addresses are
   * there. Does not throw.
   * @param plan undefined: stop
   * @returns what is wrong, with the cure; undefined when it runs as planned
   */
  apply(plan: DataPathPlan | undefined): Promise<string | undefined>;
  counters(): DataPathCounters;
  /** Ends it; devices and routes stay. */
  stop(): void;
}
