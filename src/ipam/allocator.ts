// Chooses a free subnet out of a range, as flannel does: at random among the first free ones.
import { cidrBase, cidrFamily, cidrLength } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { bigintToIp, bitsOf, familyOf, ipToBigint } from "../net/ip.ts";
import type { SubnetRange } from "./network-config.ts";

/**
 * Flannel looks at the first hundred free subnets: few enough to keep subnets dense, many enough that daemons that start
 * together seldom want the same one (pkg/subnet/etcd/local_manager.go, allocateSubnet).
 */
const MAX_CANDIDATES = 100;

export interface AllocationRequest {
  readonly range: SubnetRange;
  /** Subnets in use, of any length and family; those of the other family are ignored. */
  readonly taken: Iterable<Cidr>;
  /** Uniform in [0, 1), as JavaScript's own generator. */
  readonly random: () => number;
}

/** A run of addresses, both ends inclusive. */
interface Interval {
  readonly first: bigint;
  readonly last: bigint;
}

/** A subnet of the range that overlaps no taken one; undefined when the range is full. O(n log n) in `taken`. */
export function chooseSubnet({ range, taken, random }: AllocationRequest): Cidr | undefined {
  const family = cidrFamily(range.network);
  const candidates = freeBases(range, intervalsWithin(range, taken));
  const base = candidates[Math.floor(random() * candidates.length)];
  return base === undefined ? undefined : (`${bigintToIp(family, base)}/${range.subnetLength}` as Cidr);
}

/** True if `subnet` could have been allocated from `range`: right family and length, between minimum and maximum. */
export function fitsRange(range: SubnetRange, subnet: Cidr): boolean {
  const base = cidrBase(subnet);
  if (familyOf(base) !== familyOf(range.min) || cidrLength(subnet) !== range.subnetLength) return false;
  const value = ipToBigint(base);
  return ipToBigint(range.min) <= value && value <= ipToBigint(range.max);
}

/** How many subnets the range has, taken or not: for the message when it is full. */
export function capacityOf(range: SubnetRange): bigint {
  return (ipToBigint(range.max) - ipToBigint(range.min)) / subnetSize(range) + 1n;
}

function subnetSize(range: SubnetRange): bigint {
  return 1n << BigInt(bitsOf(familyOf(range.min)) - range.subnetLength);
}

function intervalsWithin(range: SubnetRange, taken: Iterable<Cidr>): readonly Interval[] {
  const family = cidrFamily(range.network);
  const start = ipToBigint(range.min);
  const end = ipToBigint(range.max) + subnetSize(range) - 1n;
  const intervals: Interval[] = [];
  for (const subnet of taken) {
    if (cidrFamily(subnet) !== family) continue;
    const first = ipToBigint(cidrBase(subnet));
    const last = first + (1n << BigInt(bitsOf(family) - cidrLength(subnet))) - 1n;
    if (last >= start && first <= end) intervals.push({ first, last });
  }
  return intervals.sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
}

/** Bases of the first free subnets, in order: walks the gaps between the sorted taken intervals. */
function freeBases(range: SubnetRange, taken: readonly Interval[]): readonly bigint[] {
  const size = subnetSize(range);
  const max = ipToBigint(range.max);
  const bases: bigint[] = [];
  let cursor = ipToBigint(range.min);
  const collectBelow = (limit: bigint): void => {
    for (; cursor <= max && cursor + size <= limit && bases.length < MAX_CANDIDATES; cursor += size)
      bases.push(cursor);
  };
  for (const { first, last } of taken) {
    if (bases.length === MAX_CANDIDATES || cursor > max) return bases;
    collectBelow(first);
    // The next boundary past the interval; `cursor` stays if an earlier, larger interval led further.
    if (last >= cursor) cursor = (last / size + 1n) * size;
  }
  collectBelow(max + size);
  return bases;
}
