// Says which nodes of the cluster do not enforce policy: those with a lease of whom no daemon has registered for it. Pure.
import { readLeaseEntry } from "../ipam/etcd-lease-codec.ts";
import type { Lease } from "../ipam/lease.ts";
import type { KeyValue } from "../etcd/client.ts";
import type { Cidr } from "../net/cidr.ts";
import { readStoredObject } from "../policy/etcd-codec.ts";
import { parsePolicyKey } from "../policy/etcd-keys.ts";
import { translateNode } from "../policy/translate-objects.ts";

/** More are counted, not named. */
const MAX_NAMED = 5;

/**
 * @param registered keys below `<prefix>/policy/nodes/` @param leased keys below `<prefix>/subnets/`
 * @returns a warning, or undefined if all nodes enforce policy
 */
export function describeUncovered(
  prefix: string,
  { registered, leased }: { readonly registered: readonly KeyValue[]; readonly leased: readonly KeyValue[] },
): string | undefined {
  const covered = new Set(
    registered.flatMap(({ key: text, value }) => {
      const key = parsePolicyKey(prefix, text);
      if (key?.kind !== "nodes") return [];
      return translateNode(readStoredObject(value, { name: key.name }).input).object?.podCidrs ?? [];
    }),
  );
  const uncovered = leased
    .flatMap(({ key, value }) => readLeaseEntry(prefix, key, value).lease ?? [])
    .filter((lease) => !subnetsOf(lease).some((subnet) => covered.has(subnet)));
  if (uncovered.length === 0) return undefined;
  const more = uncovered.length > MAX_NAMED ? ` and ${uncovered.length - MAX_NAMED} more` : "";
  const which = `${uncovered.slice(0, MAX_NAMED).map(describeNode).join(", ")}${more}`;
  return `Warning: not enforced on ${which}: no daemon with --network-policy has registered there.`;
}

function describeNode(lease: Lease): string {
  return `${lease.nodeName} (${subnetsOf(lease)[0]})`;
}

function subnetsOf({ subnet, subnet6 }: Lease): readonly Cidr[] {
  return [subnet ?? [], subnet6 ?? []].flat();
}
