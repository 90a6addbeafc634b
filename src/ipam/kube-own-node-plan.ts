// What must be written to our own Node so that peers and schedulers see us as we are; pure.
import type { KubeNode } from "../kube/nodes.ts";
import type { NodePatch } from "../kube/patch.ts";
import { diffAnnotations, formatAnnotations } from "./kube-annotations-codec.ts";
import type { AnnotationNames } from "./kube-annotations-codec.ts";
import type { LeaseAttributes } from "./lease.ts";

export interface OwnNodeWish {
  readonly attributes: LeaseAttributes;
  readonly names: AnnotationNames;
  /** Say NetworkUnavailable=False: the node's routes and files are in place. */
  readonly ready: boolean;
}

/** flannel's words (kube.go, setNodeNetworkUnavailableFalse). */
const NETWORK_IS_UP = {
  type: "NetworkUnavailable",
  status: "False",
  reason: "FlannelIsUp",
  message: "Flannel is running on this node",
} as const;

/** The patch, or undefined when the Node says all of it already. */
export function planOwnNode(
  node: KubeNode,
  { attributes, names, ready }: OwnNodeWish,
): NodePatch | undefined {
  const wanted = formatAnnotations(attributes, names, node.annotations);
  const annotations = diffAnnotations(wanted, node.annotations);
  const isConditionMissing = ready && node.networkUnavailable !== "False";
  if (annotations === undefined && !isConditionMissing) return undefined;
  return {
    ...(annotations && { annotations }),
    ...(isConditionMissing && { conditions: [NETWORK_IS_UP] }),
  };
}
