// What the policy engine knows of the cluster, as plain data in our own words: pods, namespaces, nodes, policies.
import type { Cidr } from "../net/cidr.ts";
import type { Ip } from "../net/ip.ts";

/** Protocols that a NetworkPolicy can name (API: NetworkPolicyPort.protocol). */
export type PolicyProtocol = "TCP" | "UDP" | "SCTP";
export const POLICY_PROTOCOLS: readonly PolicyProtocol[] = ["TCP", "UDP", "SCTP"];

/** Seen from the pod that a policy selects. */
export type Direction = "ingress" | "egress";
export const DIRECTIONS: readonly Direction[] = ["ingress", "egress"];

export type Verdict = "accept" | "deny";

export type Labels = Readonly<Record<string, string>>;

/** One requirement of a label selector. `values` is empty for Exists and DoesNotExist. */
export interface Requirement {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
  readonly values: readonly string[];
}

/** Requirements that must all hold; none selects everything. matchLabels are requirements with In and one value. */
export type Selector = readonly Requirement[];

/** A port that a container declares under a name. Equal names with other numbers are legal; both count. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: PolicyProtocol;
  readonly port: number;
}

export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Empty until the pod is scheduled. */
  readonly nodeName: string;
  readonly labels: Labels;
  /** Addresses of both families; empty until the pod has some. For a hostNetwork pod these are the node's. */
  readonly ips: readonly Ip[];
  readonly hostNetwork: boolean;
  /** Succeeded or Failed: its address may belong to somebody else by now. */
  readonly finished: boolean;
  /** It has a deletion timestamp. It still counts, until another pod has its address. */
  readonly terminating: boolean;
  /** Milliseconds since 1970. Of two pods with one address the younger one has it. */
  readonly createdAtMs?: number;
  /** Ports with names, of containers and restartable init containers. */
  readonly ports: readonly NamedPort[];
}

export interface Namespace {
  readonly name: string;
  /** Always with `kubernetes.io/metadata.name`. */
  readonly labels: Labels;
}

export const NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name";

export interface ClusterNode {
  readonly name: string;
  /** Every address by which the node talks: of its uplink, bridge, overlay device, in both families. */
  readonly addresses: readonly Ip[];
  /** Subnets that the addresses of its pods come from. */
  readonly podCidrs: readonly Cidr[];
}

/** One entry of `from` or `to`. Both selectors of the API are here one kind: pods in namespaces. */
export type PolicyPeer =
  | {
      readonly kind: "pods";
      /** Absent: the namespace of the policy. */
      readonly namespaces?: Selector;
      readonly pods: Selector;
    }
  | { readonly kind: "block"; readonly cidr: Cidr; readonly except: readonly Cidr[] };

/** One entry of `ports`: numbers (both ends inclusive; 0 to 65535 is every port), or a name of the destination pod. */
export type PolicyPort =
  | {
      readonly kind: "numbers";
      readonly protocol: PolicyProtocol;
      readonly from: number;
      readonly to: number;
    }
  | { readonly kind: "named"; readonly protocol: PolicyProtocol; readonly name: string };

/** Absent peers or ports restrict nothing; an empty list (all of its entries were refused) matches nothing. */
export interface PolicyRule {
  readonly peers?: readonly PolicyPeer[];
  readonly ports?: readonly PolicyPort[];
}

export interface Policy {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
  readonly generation?: number;
  readonly podSelector: Selector;
  /** Directions in which the selected pods are isolated; rules of other directions do not count. */
  readonly types: readonly Direction[];
  /** A rule's place here is its place in the object, so that messages can name it. */
  readonly ingress: readonly PolicyRule[];
  readonly egress: readonly PolicyRule[];
}

export interface PolicySnapshot {
  /** The node whose rules are compiled. */
  readonly nodeName: string;
  readonly nodes: readonly ClusterNode[];
  readonly namespaces: readonly Namespace[];
  readonly pods: readonly Pod[];
  readonly policies: readonly Policy[];
}

/** `namespace/name`: neither may contain a slash. Joined, since a template stays a chain of pieces in memory. */
export function objectKey(object: { readonly namespace: string; readonly name: string }): string {
  return [object.namespace, object.name].join("/");
}

/** True if the pod has addresses of its own that policies can be about. */
export function hasOwnAddress(pod: Pod): boolean {
  return !pod.hostNetwork && !pod.finished && pod.ips.length > 0;
}

/**
 * Orders pods that claim one address: the first has it. A finished or dying pod's address is soon given to another, and the
 * news of the new one can come before the old one is gone. No two pods are equal, so that it does not matter in which order
 * they became known.
 */
export function compareClaims(a: Pod, b: Pod): number {
  return (
    Number(a.terminating) - Number(b.terminating) ||
    (b.createdAtMs ?? 0) - (a.createdAtMs ?? 0) ||
    compareText(b.uid, a.uid) ||
    compareText(objectKey(b), objectKey(a))
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
