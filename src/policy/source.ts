// Where the policy engine learns of the cluster: one interface, implemented on Kubernetes and on etcd.
import type { ClusterNode, Namespace, Pod, Policy } from "./snapshot.ts";

/** The kinds of objects, with the key of each: `namespace/name`, or `name` where there is no namespace. */
export interface PolicyObjects {
  readonly pods: Pod;
  readonly namespaces: Namespace;
  readonly nodes: ClusterNode;
  readonly policies: Policy;
}

export type PolicyKind = keyof PolicyObjects;
export const POLICY_KINDS: readonly PolicyKind[] = ["namespaces", "nodes", "pods", "policies"];

/** `snapshot`: all there is of a kind; what is not in it is gone. Repeated, reordered and needless events are normal. */
export type PolicyEvent = {
  readonly [Kind in PolicyKind]:
    | { readonly type: "snapshot"; readonly kind: Kind; readonly objects: readonly PolicyObjects[Kind][] }
    | { readonly type: "put"; readonly kind: Kind; readonly object: PolicyObjects[Kind] }
    | { readonly type: "removed"; readonly kind: Kind; readonly key: string };
}[PolicyKind];

/** An object that cannot be used as it is, in words for its owner. */
export interface SkippedObject {
  readonly kind: PolicyKind;
  readonly key: string;
  /** What is wrong, where, and what would be right. */
  readonly reason: string;
}

export interface PolicySourceHealth {
  /** True while everything is watched. */
  readonly connected: boolean;
  /** The last failure with its cure. */
  readonly problem?: string;
  readonly skipped: readonly SkippedObject[];
}

export interface PolicySource {
  /**
   * Delivers events until aborted; of each kind a snapshot first. Never ends by itself and never throws for a store that
   * is away. A policy of which a part cannot be used is delivered with what is left of it (closed, never open) and is
   * named among the skipped.
   */
  watch(onEvent: (event: PolicyEvent) => void, signal: AbortSignal): Promise<void>;
  health(): PolicySourceHealth;
}
