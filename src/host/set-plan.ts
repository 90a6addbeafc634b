// What must be written so that the kernel's ipsets become the desired ones, in an order that never opens anything. Pure.
import type { IpsetRow } from "./ipset-state.ts";
import { headerFits } from "./set-table.ts";
import type { ActualSet, SetAddition, SetChange } from "./set-table.ts";

/** One step of the first half: what is added to a set, or a set that is made anew with all that it had and gets. */
export type SetStep =
  | { readonly kind: "add"; readonly addition: SetAddition }
  | { readonly kind: "replace"; readonly set: IpsetRow };

export interface SetPlan {
  /** In the order of the desired sets. */
  readonly additions: readonly SetStep[];
  /** What is left in each set that is to go, in reverse order. */
  readonly removals: readonly SetChange[];
  /** Sets that nobody wants, the last one first. */
  readonly destroyed: readonly (ActualSet | IpsetRow)[];
}

/** What the kernel holds: as listed, or as we know it from writing it. */
export type KnownSets = ReadonlyMap<string, ActualSet | IpsetRow>;

/** A set that is the same object as the known one costs one comparison, whatever its size. */
export function planSets(known: KnownSets, desired: readonly IpsetRow[]): SetPlan {
  const additions: SetStep[] = [];
  const removals: SetChange[] = [];
  const wanted = new Set<string>();
  for (const set of desired) {
    wanted.add(set.name);
    const actual = known.get(set.name);
    if (actual === set) continue;
    if (actual === undefined) {
      additions.push({ kind: "add", addition: { set, members: set.members, create: true } });
      continue;
    }
    const comparable = actual.type === set.type && actual.family === set.family;
    const { added, removed } = diffMembers(comparable ? actual.members : [], set.members);
    if (!headerFits(actual, set)) {
      // Rules that are still in force may rely on members that are to go: those go later, like everybody else's.
      additions.push({ kind: "replace", set: { ...set, members: mergeMembers(set.members, removed) } });
    } else if (added.length > 0) {
      additions.push({ kind: "add", addition: { set, members: added, create: false } });
    }
    if (removed.length > 0) removals.push({ set, members: removed });
  }
  const destroyed = [...known.values()].filter(({ name }) => !wanted.has(name));
  return { additions, removals: removals.toReversed(), destroyed: destroyed.toReversed() };
}

export interface MemberDiff {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** Both sides sorted by code units and unique, as `IpsetRow.members` are; linear, and nothing is hashed. */
export function diffMembers(actual: readonly string[], desired: readonly string[]): MemberDiff {
  const added: string[] = [];
  const removed: string[] = [];
  let at = 0;
  for (const member of desired) {
    for (let have = actual[at]; have !== undefined && have < member; have = actual[at]) {
      removed.push(have);
      at += 1;
    }
    if (actual[at] === member) at += 1;
    else added.push(member);
  }
  for (; at < actual.length; at += 1) removed.push(actual[at] ?? "");
  return { added, removed };
}

/** Two sorted lists without common members as one. */
export function mergeMembers(some: readonly string[], others: readonly string[]): readonly string[] {
  return others.length === 0 ? some : [...some, ...others].sort();
}
