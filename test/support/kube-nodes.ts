// Nodes as flannel annotates them, for tests: as our pruned values, and as the API's objects.
import { pruneNode } from "../../src/kube/nodes.ts";
import type { KubeNode } from "../../src/kube/nodes.ts";
import type { KubeObject } from "./fake-kube/objects.ts";

const PREFIX = "flannel.alpha.coreos.com/";

export interface NodeOptions {
  /** Of the subnet, addresses and MACs. */
  readonly index: number;
  readonly dual?: boolean;
  /** Changes of annotations, by the name after the prefix; undefined leaves one out. */
  readonly annotations?: Readonly<Record<string, string | undefined>>;
  /** In place of the subnets of the index; empty for none. */
  readonly podCidrs?: readonly string[];
}

/** A Node object as a peer's flanneld has left it. */
export function nodeObject(
  name: string,
  { index, dual = false, annotations = {}, podCidrs }: NodeOptions,
): KubeObject {
  const hex = index.toString(16).padStart(2, "0");
  const all: Readonly<Record<string, string | undefined>> = {
    "kube-subnet-manager": "true",
    "backend-type": "vxlan",
    "backend-data": `{"VNI":1,"VtepMAC":"0a:00:00:00:00:${hex}"}`,
    "public-ip": `192.0.2.${100 + index}`,
    ...(dual && {
      "backend-v6-data": `{"VNI":1,"VtepMAC":"0a:06:00:00:00:${hex}"}`,
      "public-ipv6": `2001:db8::${index.toString(16)}`,
    }),
    ...annotations,
  };
  const given = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return {
    metadata: {
      name,
      annotations: Object.fromEntries(given.map(([suffix, value]) => [PREFIX + suffix, value])),
    },
    spec: specOf(
      podCidrs ?? [`10.244.${index}.0/24`, ...(dual ? [`fd00:10:244:${index.toString(16)}::/64`] : [])],
    ),
  };
}

/** A Node as a kubelet registers it, with the podCIDRs that the controller manager gave it. */
export function bareNode(name: string, ...podCidrs: readonly string[]): KubeObject {
  return { metadata: { name }, spec: specOf(podCidrs) };
}

function specOf(podCidrs: readonly string[]): object {
  return podCidrs.length === 0 ? {} : { podCIDR: podCidrs[0], podCIDRs: podCidrs };
}

export function kubeNode(name: string, options: NodeOptions): KubeNode {
  return pruneNode(nodeObject(name, options), { annotationPrefix: PREFIX });
}
