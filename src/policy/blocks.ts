// An ipBlock less its excepts, as prefixes that one hash:net set can hold next to any others.
import { cidrBase, cidrContains, cidrLength, cidrOf, cidrsOverlap, nextCidr } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";

/**
 * The addresses of `cidr` that lie in none of `except`, as disjoint prefixes in ascending order. Each except adds at most
 * as many prefixes as it is longer than the block. An except thus belongs to its own block alone: with `nomatch` entries in
 * a set that holds several blocks it would close what another block opens.
 *
 * A /0 is given as its two halves, since hash:net takes no prefix length of 0 (man ipset).
 */
export function subtractCidrs(cidr: Cidr, except: readonly Cidr[]): readonly Cidr[] {
  const cutting = except.filter((hole) => cidrsOverlap(cidr, hole));
  if (cutting.some((hole) => cidrContains(hole, cidr))) return [];
  const length = cidrLength(cidr);
  if (cutting.length === 0 && length > 0) return [cidr];
  const lower = cidrOf(cidrBase(cidr), length + 1);
  return [...subtractCidrs(lower, cutting), ...subtractCidrs(nextCidr(lower), cutting)];
}
