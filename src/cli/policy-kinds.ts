// The kinds of objects that `flanneld-ts policy` knows, with the names that kubectl's users know them by. Pure.
import { nearestWord } from "../net/go-flags.ts";
import type { PolicyKey } from "../policy/etcd-keys.ts";

export interface ObjectKind {
  /** As `kind:` has it. */
  readonly kind: string;
  readonly apiVersion: string;
  /** As the command line and messages have it. */
  readonly singular: string;
  readonly plural: string;
  readonly short: string;
  /** What follows the name in messages: ".networking.k8s.io", or nothing. */
  readonly group: string;
  readonly isNamespaced: boolean;
  /** Registered by daemons; nobody else writes them. */
  readonly isReadOnly?: true;
}

export const NETWORK_POLICY: ObjectKind = {
  kind: "NetworkPolicy",
  apiVersion: "networking.k8s.io/v1",
  singular: "networkpolicy",
  plural: "networkpolicies",
  short: "netpol",
  group: ".networking.k8s.io",
  isNamespaced: true,
};
export const NAMESPACE: ObjectKind = {
  kind: "Namespace",
  apiVersion: "v1",
  singular: "namespace",
  plural: "namespaces",
  short: "ns",
  group: "",
  isNamespaced: false,
};
export const POD: ObjectKind = {
  kind: "Pod",
  apiVersion: "v1",
  singular: "pod",
  plural: "pods",
  short: "po",
  group: "",
  isNamespaced: true,
};
export const NODE: ObjectKind = {
  kind: "Node",
  apiVersion: "v1",
  singular: "node",
  plural: "nodes",
  short: "no",
  group: "",
  isNamespaced: false,
  isReadOnly: true,
};

export const OBJECT_KINDS: readonly ObjectKind[] = [NETWORK_POLICY, NAMESPACE, POD, NODE];
/** In the order in which people name them. */
export const WRITABLE_KINDS = OBJECT_KINDS.filter(({ isReadOnly }) => isReadOnly !== true);

/** One object. */
export interface Identity {
  readonly kind: ObjectKind;
  /** Absent if the kind has none. */
  readonly namespace?: string;
  readonly name: string;
}

export function describeObject({ kind, name }: Identity): string {
  return `${kind.singular}${kind.group}/${name}`;
}

/** Where it lies in etcd; of a pod, what people declare of it. */
export function policyKeyOf({ kind, namespace = "", name }: Identity): PolicyKey {
  switch (kind) {
    case NETWORK_POLICY:
      return { kind: "policies", namespace, name };
    case POD:
      return { kind: "pods", namespace, name };
    case NAMESPACE:
      return { kind: "namespaces", name };
    default:
      return { kind: "nodes", name };
  }
}

/** By a word of the command line: `netpol`, `NetworkPolicies`, `networkpolicies.networking.k8s.io`. */
export function findKind(word: string): ObjectKind | undefined {
  const lower = word.toLowerCase();
  // Among the words of `policy` this is what is meant.
  if (lower === "policies" || lower === "policy") return NETWORK_POLICY;
  return OBJECT_KINDS.find(({ singular, plural, short, group }) =>
    [singular, plural, short, singular + group, plural + group].includes(lower),
  );
}

export function explainUnknownKind(word: string): string {
  const near = nearestWord(word.toLowerCase(), [
    "policies",
    ...OBJECT_KINDS.flatMap(({ singular, plural }) => [singular, plural]),
  ]);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return `there are no objects of kind "${word}" here${hint} (${OBJECT_KINDS.map(({ plural }) => plural).join(", ")})`;
}
