// From a pod's address to its chain, through sets: a tree, so that a packet asks few sets however many chains there are.
import { DIGEST_LENGTH, digestBranch } from "./digest.ts";

/** Pods that share one chain. */
export interface DispatchLeaf {
  readonly kind: "leaf";
  readonly digest: string;
}

/** Pods of several chains. Its digest follows from its children, so that a changed tree stands beside the one in use. */
export interface DispatchBranch {
  readonly kind: "branch";
  readonly digest: string;
}

/** Makes the branch of these children. */
export type JoinNodes<Leaf extends DispatchLeaf, Branch extends DispatchBranch> = (
  children: readonly (Leaf | Branch)[],
) => Branch;

/** A tree, as its root and all nodes, children before their parents. */
export interface Dispatch<Node> {
  readonly root: Node;
  readonly nodes: readonly Node[];
}

/** More sets than this are asked in two steps. */
const MAX_CHILDREN = 8;

/** `leaves` are sorted by their digests. Undefined without leaves. */
export function buildDispatch<Leaf extends DispatchLeaf, Branch extends DispatchBranch>(
  leaves: readonly Leaf[],
  join: JoinNodes<Leaf, Branch>,
): Dispatch<Leaf | Branch> | undefined {
  if (leaves.length === 0) return undefined;
  const nodes: (Leaf | Branch)[] = [];
  const root = buildNode(leaves, 0, join, nodes);
  return { root, nodes };
}

/** Adds the node and all below it to `nodes`. */
function buildNode<Leaf extends DispatchLeaf, Branch extends DispatchBranch>(
  leaves: readonly Leaf[],
  depth: number,
  join: JoinNodes<Leaf, Branch>,
  nodes: (Leaf | Branch)[],
): Leaf | Branch {
  const note = <Node extends Leaf | Branch>(node: Node): Node => {
    nodes.push(node);
    return node;
  };
  const [first] = leaves;
  if (first !== undefined && leaves.length === 1) return note(first);
  if (leaves.length <= MAX_CHILDREN || depth === DIGEST_LENGTH) return note(join(leaves.map(note)));
  const groups = [...Map.groupBy(leaves, ({ digest }) => digestBranch(digest, depth)).values()];
  const children = groups.map((group) => buildNode(group, depth + 1, join, nodes));
  const [only] = children;
  return only !== undefined && children.length === 1 ? only : note(join(children));
}
