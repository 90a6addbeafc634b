// Counts what one pass did to sets, and how much of it made good what somebody else had done.
import type { IpsetRow } from "./ipset-state.ts";
import type { SetChanges } from "./policy-report.ts";
import type { KnownSets, SetStep } from "./set-plan.ts";
import { headerFits } from "./set-table.ts";
import type { SetChange } from "./set-table.ts";

export interface SetTally {
  readonly done: SetChanges;
  readonly repaired: SetChanges;
  added(step: SetStep): void;
  removed(change: SetChange): void;
  destroyed(name: string): void;
}

/**
 * @param expected what we would have found, had nobody interfered; undefined where differences need not be interference
 * @param troubled sets that we ourselves may have left half done
 */
export function createSetTally(expected: KnownSets | undefined, troubled: ReadonlySet<string>): SetTally {
  const done = { created: 0, replaced: 0, destroyed: 0, membersAdded: 0, membersRemoved: 0 };
  const repaired = { ...done };
  const find = (name: string) => (troubled.has(name) ? undefined : expected?.get(name));

  function added(step: SetStep): void {
    const set = step.kind === "replace" ? step.set : step.addition.set;
    const before = find(set.name);
    if (step.kind === "replace") {
      done.replaced += 1;
      if (before !== undefined && headerFits(before, set)) repaired.replaced += 1;
      return;
    }
    const { members, create } = step.addition;
    done.membersAdded += members.length;
    if (create) done.created += 1;
    if (before === undefined) return;
    if (create) repaired.created += 1;
    repaired.membersAdded += countCommon(members, before);
  }

  return {
    done,
    repaired,
    added,
    removed({ set, members }) {
      done.membersRemoved += members.length;
      const before = find(set.name);
      if (before !== undefined) repaired.membersRemoved += members.length - countCommon(members, before);
    },
    destroyed(name) {
      done.destroyed += 1;
      if (expected !== undefined && !troubled.has(name) && !expected.has(name)) repaired.destroyed += 1;
    },
  };
}

function countCommon(members: readonly string[], before: Pick<IpsetRow, "members">): number {
  const had = new Set(before.members);
  return members.filter((member) => had.has(member)).length;
}
