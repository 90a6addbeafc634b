// The snapshot ordered for compiling: who has which address, pods by namespace and those of this node.
import type { Ip } from "../net/ip.ts";
import { compareClaims, hasOwnAddress } from "./snapshot.ts";
import type { Namespace, Pod, Policy, PolicySnapshot } from "./snapshot.ts";

/** A pod with the addresses that are its own: those that no younger pod claims. */
export interface AddressedPod {
  readonly pod: Pod;
  readonly ips: readonly Ip[];
}

export interface ClusterIndex {
  readonly namespaces: ReadonlyMap<string, Namespace>;
  readonly podsByNamespace: ReadonlyMap<string, readonly AddressedPod[]>;
  readonly policiesByNamespace: ReadonlyMap<string, readonly Policy[]>;
  readonly localPods: readonly AddressedPod[];
}

/** Pods without addresses of their own (host network, finished, not started) are in no list. */
export function indexCluster(snapshot: PolicySnapshot): ClusterIndex {
  const owners = new Map<Ip, Pod>();
  const candidates = snapshot.pods.filter(hasOwnAddress);
  for (const pod of candidates) {
    for (const ip of pod.ips) {
      const owner = owners.get(ip);
      if (owner === undefined || compareClaims(pod, owner) < 0) owners.set(ip, pod);
    }
  }
  const addressed = candidates
    .map((pod) => ({ pod, ips: pod.ips.filter((ip) => owners.get(ip) === pod) }))
    .filter(({ ips }) => ips.length > 0);
  return {
    namespaces: new Map(snapshot.namespaces.map((namespace) => [namespace.name, namespace])),
    podsByNamespace: Map.groupBy(addressed, ({ pod }) => pod.namespace),
    policiesByNamespace: Map.groupBy(snapshot.policies, ({ namespace }) => namespace),
    localPods: addressed.filter(({ pod }) => pod.nodeName === snapshot.nodeName),
  };
}
