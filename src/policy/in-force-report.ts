// What policy is in force on this node: which policies select its pods, since when, and what became of them. Pure.
import { indexCluster } from "./cluster-index.ts";
import type { CompiledPolicy } from "./compile.ts";
import type { DeniedPackets } from "./explain-report.ts";
import { selects } from "./selector.ts";
import { objectKey } from "./snapshot.ts";
import type { Direction, PolicySnapshot } from "./snapshot.ts";
import type { SkippedObject } from "./source.ts";

/** A policy that selects pods of this node. */
export interface PolicyInForce {
  /** `namespace/name` */
  readonly policy: string;
  readonly generation?: number;
  /** ISO 8601; absent while the kernel does not obey it yet as it stands. */
  readonly since?: string;
  readonly types: readonly Direction[];
  /** Rules of the object. */
  readonly rules: Readonly<Record<Direction, number>>;
  /** `namespace/name` of the pods of this node that it selects, sorted. */
  readonly pods: readonly string[];
}

export interface InForceReport {
  readonly node: string;
  /** Sorted by name. */
  readonly policies: readonly PolicyInForce[];
  /** Policies of the cluster that select no pod of this node, and so are not in its kernel. */
  readonly elsewhere: number;
  readonly pods: { readonly known: number; readonly isolated: number; readonly waiting: number };
  readonly kernel: {
    readonly chains: number;
    readonly rules: number;
    readonly sets: number;
    readonly members: number;
  };
  readonly lastPass?: {
    /** ISO 8601. */
    readonly at: string;
    readonly durationMs: number;
    readonly failed: readonly { readonly key: string; readonly reason: string }[];
  };
  readonly repairs: number;
  /** Pods with denied packets, most first. */
  readonly denied: readonly DeniedPackets[];
  /** What keeps policy from being enforced, with its cure. */
  readonly problems: readonly string[];
  /** What was asked for and is not had although policy is enforced, with its cure. */
  readonly warnings: readonly string[];
  readonly source: { readonly connected: boolean; readonly problem?: string };
  readonly skipped: readonly SkippedObject[];
}

export interface InForceInput {
  readonly snapshot: PolicySnapshot;
  readonly compiled: CompiledPolicy;
  /** Milliseconds since 1970, by key. */
  readonly since: (policy: string) => number | undefined;
}

/** The part of the report that follows from what the node has been told. */
export function describeInForce({ snapshot, compiled, since }: InForceInput): Pick<
  InForceReport,
  "node" | "policies" | "elsewhere" | "kernel"
> & {
  readonly pods: Omit<InForceReport["pods"], "waiting">;
} {
  const { localPods } = indexCluster(snapshot);
  const byNamespace = Map.groupBy(localPods, ({ pod }) => pod.namespace);
  const policies = snapshot.policies.flatMap((policy): readonly PolicyInForce[] => {
    const pods = (byNamespace.get(policy.namespace) ?? []).filter(({ pod }) =>
      selects(policy.podSelector, pod.labels),
    );
    if (pods.length === 0) return [];
    const at = since(objectKey(policy));
    return [
      {
        policy: objectKey(policy),
        ...(policy.generation !== undefined && { generation: policy.generation }),
        ...(at !== undefined && { since: new Date(at).toISOString() }),
        types: policy.types,
        rules: { ingress: policy.ingress.length, egress: policy.egress.length },
        pods: pods.map(({ pod }) => objectKey(pod)).sort(),
      },
    ];
  });
  const chains = compiled.firewall.flatMap((row) => (row.kind === "chain" ? row : []));
  return {
    node: snapshot.nodeName,
    policies: policies.sort((a, b) => (a.policy < b.policy ? -1 : 1)),
    elsewhere: snapshot.policies.length - policies.length,
    pods: {
      known: localPods.length,
      isolated: new Set(compiled.profiles.flatMap(({ pods }) => pods)).size,
    },
    kernel: {
      chains: chains.length,
      rules: chains.reduce((sum, { rules }) => sum + rules.length, 0),
      sets: compiled.sets.length,
      members: compiled.sets.reduce((sum, { members }) => sum + members.length, 0),
    },
  };
}
