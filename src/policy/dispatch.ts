// From a pod's address to its chain, through sets: a tree, so that a packet asks few sets however many chains there are.
import type { Ip } from "../net/ip.ts";
import { contentDigest, DIGEST_LENGTH, digestBranch } from "./digest.ts";

/** Pods that share one chain. */
export interface DispatchLeaf {
  readonly kind: "leaf";
  readonly digest: string;
  readonly ips: readonly Ip[];
}

/** Pods of several chains. Its digest follows from its children, so that a changed tree stands beside the one in use. */
export interface DispatchBranch {
  readonly kind: "branch";
  readonly digest: string;
  readonly ips: readonly Ip[];
  readonly children: readonly DispatchNode[];
}

export type DispatchNode = DispatchLeaf | DispatchBranch;

export type DigestOf = (text: string) => string;

/** More sets than this are asked in two steps. */
const MAX_CHILDREN = 8;

/** The root of the tree; undefined without leaves. `digestOf` is `contentDigest`, or remembers what that said. */
export function buildDispatch(
  leaves: readonly DispatchLeaf[],
  digestOf: DigestOf = contentDigest,
): DispatchNode | undefined {
  if (leaves.length === 0) return undefined;
  const sorted = leaves.toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
  return buildNode(sorted, 0, digestOf);
}

function buildNode(leaves: readonly DispatchLeaf[], depth: number, digestOf: DigestOf): DispatchNode {
  const [first] = leaves;
  if (first !== undefined && leaves.length === 1) return first;
  if (leaves.length <= MAX_CHILDREN || depth === DIGEST_LENGTH) return joinNodes(leaves, digestOf);
  const groups = [...Map.groupBy(leaves, ({ digest }) => digestBranch(digest, depth)).values()];
  const children = groups.map((group) => buildNode(group, depth + 1, digestOf));
  const [only] = children;
  return only !== undefined && children.length === 1 ? only : joinNodes(children, digestOf);
}

function joinNodes(children: readonly DispatchNode[], digestOf: DigestOf): DispatchBranch {
  return {
    kind: "branch",
    digest: digestOf(children.map(({ digest }) => digest).join(" ")),
    ips: children.flatMap(({ ips }) => ips),
    children,
  };
}

/** Every node below and including this one, children before their parents. */
export function nodesBottomUp(node: DispatchNode): readonly DispatchNode[] {
  return node.kind === "leaf" ? [node] : [...node.children.flatMap(nodesBottomUp), node];
}
