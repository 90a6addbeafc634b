// A Node's podCIDRs as subnets of the network (flannel kube.go, AcquireLease and nodeToLease); pure.
import { cidrContains, cidrFamily, tryParseCidr } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Family } from "../net/ip.ts";
import type { NetworkConfig } from "./network-config.ts";

/** The part of a Node that says which subnets it has. */
export interface PodCidrs {
  readonly name: string;
  readonly podCidr: string | undefined;
  readonly podCidrs: readonly string[];
}

export type NodeSubnets = Readonly<Partial<Record<Family, Cidr>>>;

/** Machine-readable kinds of trouble; reasons of Events. */
export type PodCidrProblem = "PodCIDRNotAssigned" | "PodCIDROutsideNetwork" | "PodCIDRInvalid";

export type PodCidrResult =
  | { readonly subnets: NodeSubnets }
  | { readonly reason: PodCidrProblem; readonly problem: string };

/** The subnets of the node in each of the network's families, or why it has none. */
export function readPodCidrs(node: PodCidrs, config: NetworkConfig): PodCidrResult {
  const texts = node.podCidrs.length > 0 ? node.podCidrs : node.podCidr === undefined ? [] : [node.podCidr];
  if (texts.length === 0) {
    return {
      reason: "PodCIDRNotAssigned",
      problem:
        `node "${node.name}" pod cidr not assigned: start kube-controller-manager with --allocate-node-cidrs=true and ` +
        "--cluster-cidr=<the Network of net-conf.json>, or set the Node's spec.podCIDR",
    };
  }
  if (texts.length > 2) {
    return {
      reason: "PodCIDRInvalid",
      problem: `node "${node.name}" pod cidrs should be IPv4/IPv6 only or dualstack, but it has ${texts.length}: ${texts.join(", ")}`,
    };
  }
  const subnets: Partial<Record<Family, Cidr>> = {};
  for (const text of texts) {
    const cidr = tryParseCidr(text);
    if (cidr === undefined)
      return { reason: "PodCIDRInvalid", problem: `node "${node.name}": podCIDR "${text}" is not a CIDR` };
    subnets[cidrFamily(cidr)] = cidr;
  }
  return withinNetwork(node.name, subnets, config);
}

function withinNetwork(nodeName: string, given: NodeSubnets, config: NetworkConfig): PodCidrResult {
  const subnets: Partial<Record<Family, Cidr>> = {};
  for (const family of [4, 6] as const) {
    const network = (family === 4 ? config.ipv4 : config.ipv6)?.network;
    // A family that the network does not have is somebody else's.
    if (network === undefined) continue;
    const subnet = given[family];
    const key = family === 4 ? "Network" : "IPv6Network";
    if (subnet === undefined) {
      return {
        reason: "PodCIDRNotAssigned",
        problem:
          `node "${nodeName}" has no IPv${family} podCIDR, but net-conf.json has ${key} ${network}: add it to the controller ` +
          `manager's --cluster-cidr and register the node anew, or set EnableIPv${family} to false`,
      };
    }
    if (!cidrContains(network, subnet)) {
      return {
        reason: "PodCIDROutsideNetwork",
        problem:
          `subnet "${network}" specified in the flannel net config doesn't contain "${subnet}" PodCIDR of the "${nodeName}" node: ` +
          `make ${key} in net-conf.json equal to the controller manager's --cluster-cidr, or register the node anew`,
      };
    }
    subnets[family] = subnet;
  }
  return { subnets };
}
