// Counts of denied packets by the pods that have the addresses now. Pure.
import { indexCluster } from "../../policy/cluster-index.ts";
import { objectKey } from "../../policy/snapshot.ts";
import type { Direction, Pod, PolicySnapshot } from "../../policy/snapshot.ts";
import type { DeniedCount } from "./denied-counts.ts";

/** Pods of this node by the addresses that are theirs. */
export function localOwners(snapshot: PolicySnapshot): ReadonlyMap<string, Pod> {
  const { localPods } = indexCluster(snapshot);
  return new Map(localPods.flatMap(({ pod, ips }) => ips.map((ip) => [ip, pod] as const)));
}

/** Over all addresses of a pod, by `namespace/name`. */
export function deniedByPod(
  counts: readonly DeniedCount[],
  snapshot: PolicySnapshot,
): ReadonlyMap<string, Readonly<Record<Direction, number>>> {
  const owners = localOwners(snapshot);
  const byPod = new Map<string, Record<Direction, number>>();
  for (const { direction, ip, packets } of counts) {
    const pod = owners.get(ip);
    if (pod === undefined) continue;
    const sums = byPod.get(objectKey(pod)) ?? { ingress: 0, egress: 0 };
    sums[direction] += packets;
    byPod.set(objectKey(pod), sums);
  }
  return byPod;
}
