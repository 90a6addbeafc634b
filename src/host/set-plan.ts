// What must be written so that the kernel's ipsets become the desired ones, in an order that never opens anything. Pure.
import type { IpsetRow } from "./ipset-state.ts";
import { headerFits } from "./set-table.ts";
import type { ActualSet, SetRole, SetWrite } from "./set-table.ts";

/** A change of a set, or a set that is made anew with the members given. */
export type SetStep = SetWrite | { readonly kind: "replace"; readonly set: IpsetRow };

/**
 * A packet passes if both of its ends allow it, and one event can change both: a pod that is relabelled is isolated in
 * another way, and is another's peer no more. So what closes comes first at either end, and what opens comes last. Inside
 * of one end nothing closes that stays allowed: a pod is in its next chain before it leaves the last.
 */
export interface SetPlan {
  /** Before the rules change: new sets (no rule names them yet), peers that go, pods that come. */
  readonly early: readonly SetStep[];
  /** When the rules have changed: pods that go, peers that come, sets that nobody wants. */
  readonly late: readonly SetStep[];
}

/** What the kernel holds: as listed, or as we know it from writing it. */
export type KnownSets = ReadonlyMap<string, ActualSet | IpsetRow>;

/**
 * A set that is the same object as the known one costs one comparison, whatever its size.
 * @param isAllowing true for sets whose members are let through
 */
export function planSets(
  known: KnownSets,
  desired: readonly IpsetRow[],
  isAllowing: (name: string) => boolean,
): SetPlan {
  const created: SetStep[] = [];
  const closing: SetStep[] = [];
  const isolating: SetStep[] = [];
  const releasing: SetStep[] = [];
  const opening: SetStep[] = [];
  const wanted = new Set<string>();
  for (const set of desired) {
    wanted.add(set.name);
    const actual = known.get(set.name);
    if (actual === set) continue;
    const role: SetRole = isAllowing(set.name) ? "allow" : "isolate";
    if (actual === undefined) {
      created.push({ kind: "create", role, set, members: set.members });
      continue;
    }
    const comparable = actual.type === set.type && actual.family === set.family;
    const { added, removed } = diffMembers(comparable ? actual.members : [], set.members);
    const additions: SetStep[] = added.length > 0 ? [{ kind: "add", role, set, members: added }] : [];
    const removals: SetStep[] = removed.length > 0 ? [{ kind: "remove", role, set, members: removed }] : [];
    if (!headerFits(actual, set)) {
      // Isolated pods stay so as long as the present rules count on it; new ones come in their turn, which is now.
      const members = role === "isolate" ? mergeMembers(set.members, removed) : set.members;
      (role === "isolate" ? isolating : closing).push({ kind: "replace", set: { ...set, members } });
      if (role === "isolate") releasing.push(...removals);
    } else if (role === "allow") {
      closing.push(...removals);
      opening.push(...additions);
    } else {
      isolating.push(...additions);
      releasing.push(...removals);
    }
  }
  const destroyed = [...known.values()].filter(({ name }) => !wanted.has(name));
  return {
    early: [...created, ...closing, ...isolating],
    late: [
      ...releasing.toReversed(),
      ...opening,
      ...destroyed.toReversed().map((set): SetStep => ({ kind: "destroy", set })),
    ],
  };
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
  if (some.length === 0 || others.length === 0) return others.length === 0 ? some : others;
  return [...some, ...others].sort();
}

/** Sorted members without some of them, sorted, too. */
export function withoutMembers(members: readonly string[], gone: readonly string[]): readonly string[] {
  return gone.length === 0 ? members : diffMembers(gone, members).added;
}
