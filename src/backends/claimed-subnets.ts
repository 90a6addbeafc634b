// The subnets that peers hold so far, and who holds addresses of another one. Pure.
import { cidrBase, cidrFamily, cidrLength, cidrOf } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Family } from "../net/ip.ts";
import type { Lease } from "../ipam/lease.ts";

export interface ClaimedSubnets {
  claim(subnet: Cidr, lease: Lease): void;
  /** A lease that holds `subnet`, some of it, or more. */
  holderOf(subnet: Cidr): Lease | undefined;
}

/**
 * Subnets are disjoint or one contains the other, so few look-ups tell: none besides the subnet itself while all of a
 * family have one length, as they have unless somebody changed SubnetLen or writes leases by hand.
 * @param all every subnet that will be claimed or asked for
 */
export function createClaimedSubnets(all: Iterable<Cidr>): ClaimedSubnets {
  const lengths: Record<Family, Set<number>> = { 4: new Set(), 6: new Set() };
  for (const subnet of all) lengths[cidrFamily(subnet)].add(cidrLength(subnet));
  const claimed = new Map<Cidr, Lease>();
  /** Wider prefixes that hold a claimed subnet. */
  const around = new Map<Cidr, Lease>();

  function wider(subnet: Cidr): readonly Cidr[] {
    const known = lengths[cidrFamily(subnet)];
    if (known.size === 1) return [];
    const own = cidrLength(subnet);
    return [...known].filter((length) => length < own).map((length) => cidrOf(cidrBase(subnet), length));
  }

  return {
    claim(subnet, lease) {
      claimed.set(subnet, lease);
      for (const prefix of wider(subnet)) around.set(prefix, lease);
    },
    holderOf(subnet) {
      const found = claimed.get(subnet) ?? around.get(subnet);
      if (found !== undefined) return found;
      for (const prefix of wider(subnet)) {
        const holder = claimed.get(prefix);
        if (holder !== undefined) return holder;
      }
      return undefined;
    },
  };
}
