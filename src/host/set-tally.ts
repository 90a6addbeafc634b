// Counts what one pass did to sets, and how much of it made good what somebody else had done.
import type { IpsetRow } from "./ipset-state.ts";
import type { SetChanges } from "./policy-report.ts";
import type { KnownSets, SetStep } from "./set-plan.ts";
import { headerFits } from "./set-table.ts";

export interface SetTally {
  readonly done: SetChanges;
  readonly repaired: SetChanges;
  count(step: SetStep): void;
}

/**
 * @param expected what we would have found, had nobody interfered; undefined where differences need not be interference
 * @param troubled sets that we ourselves may have left half done
 */
export function createSetTally(expected: KnownSets | undefined, troubled: ReadonlySet<string>): SetTally {
  const done = { created: 0, replaced: 0, destroyed: 0, membersAdded: 0, membersRemoved: 0 };
  const repaired = { ...done };

  function count(step: SetStep): void {
    const before = expected?.get(step.set.name);
    const isJudged = expected !== undefined && !troubled.has(step.set.name);
    switch (step.kind) {
      case "create":
        done.created += 1;
        done.membersAdded += step.members.length;
        if (!isJudged || before === undefined) return;
        repaired.created += 1;
        repaired.membersAdded += countCommon(step.members, before);
        return;
      case "add":
        done.membersAdded += step.members.length;
        if (isJudged && before) repaired.membersAdded += countCommon(step.members, before);
        return;
      case "remove":
        done.membersRemoved += step.members.length;
        if (isJudged && before)
          repaired.membersRemoved += step.members.length - countCommon(step.members, before);
        return;
      case "replace":
        done.replaced += 1;
        if (isJudged && before !== undefined && headerFits(before, step.set)) repaired.replaced += 1;
        return;
      case "destroy":
        done.destroyed += 1;
        if (isJudged && before === undefined) repaired.destroyed += 1;
    }
  }
  return { done, repaired, count };
}

function countCommon(members: readonly string[], before: Pick<IpsetRow, "members">): number {
  const had = new Set(before.members);
  return members.filter((member) => had.has(member)).length;
}
