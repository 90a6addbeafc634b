// Decides which subnet a node takes, in Go flannel's order (pkg/subnet/etcd/local_manager.go, tryAcquireLease); pure.
import { cidrsOverlap } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { capacityOf, fitsRange } from "./allocator.ts";
import type { chooseSubnet } from "./allocator.ts";
import type { LeaseEntry, LeaseSubnets } from "./etcd-lease-codec.ts";
import { isHeldBy } from "./lease.ts";
import type { Lease } from "./lease.ts";
import type { NetworkConfig, SubnetRange } from "./network-config.ts";
import type { AcquireRequest } from "./subnet-manager.ts";

/** A lease entry with what etcd says of its key. */
export interface StoredEntry extends LeaseEntry {
  /** A key without an etcd lease: it never expires. */
  readonly reservation: boolean;
}

export type AcquirePlan =
  /** The key of this public IP fits: write it anew. */
  | { readonly type: "reuse"; readonly entry: StoredEntry; readonly lease: Lease }
  /** The key of this public IP does not fit the configuration: delete it and plan again. */
  | { readonly type: "release"; readonly entry: StoredEntry }
  | { readonly type: "create"; readonly subnets: LeaseSubnets; readonly because: "previous" | "free" }
  | { readonly type: "full"; readonly problem: string };

export interface AcquireInput {
  readonly config: NetworkConfig;
  readonly entries: readonly StoredEntry[];
  /** Our own public IPs. */
  readonly node: Pick<AcquireRequest, "publicIp" | "publicIp6">;
  readonly previous?: AcquireRequest["previous"];
  readonly chooseSubnet: typeof chooseSubnet;
  readonly random: () => number;
}

export function planAcquire(input: AcquireInput): AcquirePlan {
  const { config, entries, previous } = input;
  for (const entry of entries) {
    if (entry.lease === undefined || !isHeldBy(entry.lease, input.node)) continue;
    if (fitsConfig(config, entry.lease)) return { type: "reuse", entry, lease: entry.lease };
    // A reservation is the administrator's: one that does not fit is left alone.
    if (!entry.reservation) return { type: "release", entry };
  }
  const taken = entries.flatMap(({ subnets }) => [subnets?.subnet ?? [], subnets?.subnet6 ?? []].flat());
  if (previous !== undefined && fitsConfig(config, previous) && isFree(previous, taken)) {
    const { subnet, subnet6 } = previous;
    return {
      type: "create",
      subnets: { ...(subnet && { subnet }), ...(subnet6 && { subnet6 }) },
      because: "previous",
    };
  }
  return planFree(input, taken);
}

/** Right length, between minimum and maximum, and of exactly the families that the configuration has. */
export function fitsConfig(config: NetworkConfig, { subnet, subnet6 }: LeaseSubnets): boolean {
  return fitsFamily(config.ipv4, subnet) && fitsFamily(config.ipv6, subnet6);
}

function fitsFamily(range: SubnetRange | undefined, subnet: Cidr | undefined): boolean {
  return range === undefined || subnet === undefined
    ? range === undefined && subnet === undefined
    : fitsRange(range, subnet);
}

export function isFree({ subnet, subnet6 }: LeaseSubnets, taken: readonly Cidr[]): boolean {
  const own = [subnet ?? [], subnet6 ?? []].flat();
  return !taken.some((other) => own.some((cidr) => cidrsOverlap(cidr, other)));
}

function planFree(
  { config, chooseSubnet, random, entries }: AcquireInput,
  taken: readonly Cidr[],
): AcquirePlan {
  const [subnet, subnet6] = [config.ipv4, config.ipv6].map(
    (range) => range && chooseSubnet({ range, taken, random }),
  );
  const full = [subnet ?? config.ipv4, subnet6 ?? config.ipv6].find((range) => typeof range === "object");
  if (full !== undefined) {
    const reservations = entries.filter((entry) => entry.reservation).length;
    return {
      type: "full",
      problem:
        `out of subnets: none of the ${capacityOf(full)} /${full.subnetLength} subnets from ${full.min} to ${full.max} ` +
        `is free (${entries.length - reservations} leases, ${reservations} reservations); delete the keys of nodes that ` +
        `are gone or enlarge the network. Waiting for one to become free`,
    };
  }
  return {
    type: "create",
    subnets: { ...(subnet && { subnet }), ...(subnet6 && { subnet6 }) },
    because: "free",
  };
}
