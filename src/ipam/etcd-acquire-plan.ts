// Decides which subnet a node takes, in Go flannel's order (pkg/subnet/etcd/local_manager.go, tryAcquireLease); pure.
import { cidrsOverlap } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { InvalidValueError } from "../net/errors.ts";
import type { Ip } from "../net/ip.ts";
import { capacityOf, fitsRange } from "./allocator.ts";
import type { chooseSubnet } from "./allocator.ts";
import type { LeaseEntry, LeaseSubnets } from "./etcd-lease-codec.ts";
import type { Ipv4Lease } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";
import type { AcquireRequest } from "./subnet-manager.ts";

/** A lease entry with what etcd says of its key. */
export interface StoredEntry extends LeaseEntry {
  /** A key without an etcd lease: it never expires. */
  readonly reservation: boolean;
}

export type AcquirePlan =
  /** The key of this public IP fits: write it anew. */
  | { readonly type: "reuse"; readonly entry: StoredEntry; readonly lease: Ipv4Lease }
  /** The key of this public IP does not fit the configuration: delete it and plan again. */
  | { readonly type: "release"; readonly entry: StoredEntry }
  | { readonly type: "create"; readonly subnets: LeaseSubnets; readonly because: "previous" | "free" }
  | { readonly type: "full"; readonly problem: string };

export interface AcquireInput {
  readonly config: NetworkConfig;
  readonly entries: readonly StoredEntry[];
  readonly publicIp: Ip;
  readonly previous?: AcquireRequest["previous"];
  readonly chooseSubnet: typeof chooseSubnet;
  readonly random: () => number;
}

export function planAcquire(input: AcquireInput): AcquirePlan {
  const { config, entries, previous } = input;
  for (const entry of entries) {
    if (entry.lease?.publicIp !== input.publicIp) continue;
    if (fitsConfig(config, entry.lease)) return { type: "reuse", entry, lease: entry.lease };
    // A reservation is the administrator's: one that does not fit is left alone.
    if (!entry.reservation) return { type: "release", entry };
  }
  const taken = entries.flatMap(({ subnets }) => [subnets?.subnet ?? [], subnets?.subnet6 ?? []].flat());
  if (previous?.subnet !== undefined) {
    const subnets = { subnet: previous.subnet, ...(previous.subnet6 && { subnet6: previous.subnet6 }) };
    if (fitsConfig(config, subnets) && isFree(subnets, taken))
      return { type: "create", subnets, because: "previous" };
  }
  return planFree(input, taken);
}

/** Right length, between minimum and maximum, and of exactly the families that the configuration has. */
export function fitsConfig(config: NetworkConfig, { subnet, subnet6 }: LeaseSubnets): boolean {
  if (config.ipv4 === undefined || !fitsRange(config.ipv4, subnet)) return false;
  if (config.ipv6 === undefined || subnet6 === undefined) return config.ipv6 === subnet6;
  return fitsRange(config.ipv6, subnet6);
}

export function isFree({ subnet, subnet6 }: LeaseSubnets, taken: readonly Cidr[]): boolean {
  return !taken.some(
    (other) => cidrsOverlap(subnet, other) || (subnet6 !== undefined && cidrsOverlap(subnet6, other)),
  );
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
  if (subnet === undefined) {
    throw new InvalidValueError(
      "the network config has EnableIPv4 false, but leases in etcd need an IPv4 subnet: enable IPv4 beside IPv6, or use Kubernetes",
    );
  }
  return { type: "create", subnets: { subnet, ...(subnet6 && { subnet6 }) }, because: "free" };
}
