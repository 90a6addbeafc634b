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

/** More sets than this are asked in two steps. */
const MAX_CHILDREN = 8;

/** The root of the tree; undefined without leaves. */
export function buildDispatch(leaves: readonly DispatchLeaf[]): DispatchNode | undefined {
  if (leaves.length === 0) return undefined;
  return buildNode(
    [...leaves].sort((a, b) => (a.digest < b.digest ? -1 : 1)),
    0,
  );
}

function buildNode(leaves: readonly DispatchLeaf[], depth: number): DispatchNode {
  const [first] = leaves;
  if (first !== undefined && leaves.length === 1) return first;
  if (leaves.length <= MAX_CHILDREN || depth === DIGEST_LENGTH) return joinNodes(leaves);
  const groups = [...Map.groupBy(leaves, ({ digest }) => digestBranch(digest, depth)).values()];
  const children = groups.map((group) => buildNode(group, depth + 1));
  const [only] = children;
  return only !== undefined && children.length === 1 ? only : joinNodes(children);
}

function joinNodes(children: readonly DispatchNode[]): DispatchBranch {
  return {
    kind: "branch",
    digest: contentDigest(children.map(({ digest }) => digest).join(" ")),
    ips: children.flatMap(({ ips }) => ips),
    children,
  };
}

/** Every node below and including this one, children before their parents. */
export function nodesBottomUp(node: DispatchNode): readonly DispatchNode[] {
  return node.kind === "leaf" ? [node] : [...node.children.flatMap(nodesBottomUp), node];
}
