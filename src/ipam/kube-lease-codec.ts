// A Node of a peer as a lease, or why it is none; pure.
import type { KubeNode } from "../kube/nodes.ts";
import { isHostAddress } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import { isManaged, readAddress, readBackendData } from "./kube-annotations-codec.ts";
import type { AnnotationNames } from "./kube-annotations-codec.ts";
import { readPodCidrs } from "./kube-pod-cidrs-codec.ts";
import type { Lease } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";

export type PeerResult =
  | { readonly lease: Lease }
  /** No flanneld runs there: nobody's fault. */
  | { readonly ignored: true }
  | { readonly problem: string };

export function readPeer(node: KubeNode, names: AnnotationNames, config: NetworkConfig): PeerResult {
  const { annotations } = node;
  if (!isManaged(annotations, names)) return { ignored: true };
  const cidrs = readPodCidrs(node, config);
  if ("problem" in cidrs) return { problem: cidrs.problem };
  const publicIps: Partial<Record<Family, Ip>> = {};
  for (const family of [4, 6] as const) {
    if ((family === 4 ? config.ipv4 : config.ipv6) === undefined) continue;
    const publicIp = readAddress(annotations, names.publicIp, family);
    if (publicIp === undefined || !isHostAddress(publicIp)) {
      const name = names.publicIp[family];
      return {
        problem:
          `annotation ${name} is ${JSON.stringify(annotations[name] ?? "absent")}, not an IPv${family} address that packets ` +
          "can be sent to; the daemon of that node writes it, see its log",
      };
    }
    publicIps[family] = publicIp;
  }
  const { 4: subnet, 6: subnet6 } = cidrs.subnets;
  const { 4: publicIp, 6: publicIp6 } = publicIps;
  const backendData = readBackendData(annotations, names, 4);
  const backendData6 = subnet6 === undefined ? undefined : readBackendData(annotations, names, 6);
  return {
    lease: {
      nodeName: node.name,
      ...(subnet !== undefined && { subnet }),
      ...(subnet6 !== undefined && { subnet6 }),
      ...(publicIp !== undefined && { publicIp }),
      ...(publicIp6 !== undefined && { publicIp6 }),
      backendType: annotations[names.backendType] ?? "",
      ...(backendData !== undefined && { backendData }),
      ...(backendData6 !== undefined && { backendData6 }),
    },
  };
}
