// What `status` shows: the shape that the daemon serves on its local socket and the command renders.
import type { PeerReach } from "../backends/backend.ts";
import type { PathReport, ProbeSummary } from "../prober/report.ts";

/** One kernel table after the last pass that touched it. */
export interface TableStatus {
  readonly table: string;
  /** Rows we want. */
  readonly desired: number;
  readonly failed: readonly { readonly key: string; readonly reason: string }[];
}

/** A repair: something else changed a row of ours and we put it back. */
export interface RepairStatus {
  /** ISO 8601. */
  readonly at: string;
  readonly table: string;
  readonly created: number;
  readonly replaced: number;
  readonly removed: number;
}

export interface PeerStatus {
  readonly nodeName: string;
  /** IPv6 in a network that has only that; so is `publicIp`. */
  readonly subnet: string;
  readonly subnet6?: string;
  readonly publicIp: string;
  readonly backendType: string;
  readonly how: PeerReach["how"];
  readonly problem?: string;
  /** With --probe-interval. */
  readonly probes?: readonly PathReport[];
}

export interface PolicyStatus {
  /** True if all that is wanted is in force and local traffic cannot go around it. */
  readonly enforced: boolean;
  /** What keeps it from that, or from following changes; each with its cure. */
  readonly problems: readonly string[];
  readonly source: { readonly connected: boolean; readonly problem?: string };
  /** Known in the cluster. */
  readonly pods: number;
  readonly namespaces: number;
  readonly policies: number;
  /** Of this node: interfaces that CNI ADD has told of, those among them whose rules are not in force yet, isolated pods. */
  readonly attachments: number;
  readonly waiting: number;
  readonly isolatedPods: number;
  /** In force on this node. */
  readonly rows: { readonly chainsAndJumps: number; readonly sets: number; readonly members: number };
  readonly lastPass?: {
    /** ISO 8601. */
    readonly at: string;
    readonly durationMs: number;
    readonly failed: readonly { readonly key: string; readonly reason: string }[];
  };
  /** Chains, sets, members and bridge switches that something else had changed and that were put back. */
  readonly repairsTotal: number;
  readonly skipped: readonly { readonly key: string; readonly reason: string }[];
}

export interface StatusReport {
  readonly version: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly ready: boolean;
  /** Why not ready, with the cure. */
  readonly notReadyReason?: string;
  readonly store: {
    readonly kind: "etcd" | "kubernetes";
    readonly connected: boolean;
    readonly problem?: string;
  };
  readonly network?: { readonly ipv4?: string; readonly ipv6?: string; readonly backend: string };
  readonly lease?: {
    readonly subnet: string;
    readonly subnet6?: string;
    readonly publicIp: string;
    /** ISO 8601; absent for a reservation. */
    readonly expiresAt?: string;
  };
  readonly uplink?: { readonly name: string; readonly mtu: number; readonly addresses: readonly string[] };
  /** Bytes: FLANNEL_MTU. */
  readonly podMtu?: number;
  readonly iptables?: string;
  /** Present with --network-policy. */
  readonly policy?: PolicyStatus;
  readonly peers: readonly PeerStatus[];
  /** With --probe-interval. */
  readonly probes?: ProbeSummary;
  readonly skippedLeases: readonly { readonly key: string; readonly reason: string }[];
  /** Routes of others that nobody's lease explains, each with what to do. Absent if there are none. */
  readonly unexplainedRoutes?: readonly string[];
  readonly tables: readonly TableStatus[];
  readonly lastPass?: {
    /** ISO 8601. */
    readonly at: string;
    readonly durationMs: number;
    /** Rows written in that pass. */
    readonly changed: number;
    readonly failed: number;
  };
  /** Newest first, at most 20. */
  readonly repairs: readonly RepairStatus[];
  readonly repairsTotal: number;
  /** Packets and drops of the udp backend's own data path, by name (native/udp/counters.h). */
  readonly dataPath?: Readonly<Record<string, number>>;
  /** Child processes started so far. */
  readonly processesStarted: number;
}
