// Makes the kernel's ipsets equal to the plan in two halves, so that the rules can change in between.
import type { Family } from "../net/ip.ts";
import { FAMILIES } from "../net/ip.ts";
import type { IpsetRow } from "./ipset-state.ts";
import type { RowFailure } from "./kernel-table.ts";
import type { SetChanges } from "./policy-report.ts";
import { createSetTally } from "./set-tally.ts";
import { mergeMembers, planSets } from "./set-plan.ts";
import type { SetPlan, SetStep } from "./set-plan.ts";
import type { ActualSet, SetAddition, SetTable } from "./set-table.ts";
import { WHOLE_TABLE } from "./table-reconciler.ts";

export interface SetPassReport {
  readonly listed: boolean;
  readonly done: SetChanges;
  /** Of what was done, that which somebody else had undone. */
  readonly repaired: SetChanges;
  readonly failed: readonly RowFailure[];
}

/** One pass over all sets. No step throws. */
export interface SetPass {
  /** Creates, makes anew and fills, in order. The result says which families are not as they should be, and why. */
  add(): Promise<ReadonlyMap<Family, string>>;
  /** Takes members and whole sets away, of the families that pass. */
  remove(mayRemove: (family: Family) => boolean): Promise<void>;
  report(): SetPassReport;
}

export interface SetReconciler {
  /** Forgets that the known sets are true; the next plan lists the kernel. */
  invalidate(): void;
  plan(desired: readonly IpsetRow[]): Promise<SetPass>;
}

interface SetMemory {
  /** What the kernel held when we last looked or wrote. A set is our own row as soon as it is equal to it. */
  known: Map<string, ActualSet | IpsetRow> | undefined;
  /** What is known may be wrong. */
  isDoubted: boolean;
  /** Sets with a failure: a difference in them is nobody's interference. */
  readonly troubled: Set<string>;
}

export function createSetReconciler(table: SetTable): SetReconciler {
  const memory: SetMemory = { known: undefined, isDoubted: true, troubled: new Set() };
  return {
    invalidate() {
      memory.isDoubted = true;
    },
    plan: (desired) => planSetPass(table, memory, desired),
  };
}

const EMPTY_PLAN: SetPlan = { additions: [], removals: [], destroyed: [] };

/** Compares with what is known, or with the kernel; equal sets become known by the desired row itself. */
async function comparePlan(
  table: SetTable,
  memory: SetMemory,
  desired: readonly IpsetRow[],
): Promise<SetPlan> {
  if (memory.isDoubted || memory.known === undefined) {
    // Cleared first: an invalidation that arrives while the kernel answers must survive the listing.
    memory.isDoubted = false;
    memory.known = new Map((await table.list()).map((set) => [set.name, set]));
  }
  const { known } = memory;
  const plan = planSets(known, desired);
  const changing = new Set(plan.removals.map(({ set }) => set.name));
  for (const step of plan.additions) changing.add(setOf(step).name);
  for (const set of desired) if (!changing.has(set.name)) known.set(set.name, set);
  return plan;
}

function setOf(step: SetStep): IpsetRow {
  return step.kind === "replace" ? step.set : step.addition.set;
}

async function planSetPass(
  table: SetTable,
  memory: SetMemory,
  desired: readonly IpsetRow[],
): Promise<SetPass> {
  const failed: RowFailure[] = [];
  const listed = memory.isDoubted || memory.known === undefined;
  const tally = createSetTally(listed ? memory.known : undefined, new Set(memory.troubled));
  memory.troubled.clear();

  function fail(failures: readonly RowFailure[]): ReadonlySet<string> {
    failed.push(...failures);
    for (const { key } of failures) memory.troubled.add(key);
    if (failures.length > 0) memory.isDoubted = true;
    return new Set(failures.map(({ key }) => key));
  }

  /** Names of what failed; `undefined` if the tool could not be used at all. */
  async function write(
    names: readonly string[],
    call: () => Promise<readonly RowFailure[]>,
  ): Promise<ReadonlySet<string>> {
    if (names.length === 0) return new Set();
    try {
      return fail(await call());
    } catch (error) {
      fail([{ key: WHOLE_TABLE, reason: messageOf(error) }]);
      for (const name of names) memory.troubled.add(name);
      return new Set(names);
    }
  }

  let plan = EMPTY_PLAN;
  let listFailure: string | undefined;
  try {
    plan = await comparePlan(table, memory, desired);
  } catch (error) {
    listFailure = messageOf(error);
    fail([{ key: WHOLE_TABLE, reason: listFailure }]);
    memory.known = undefined;
  }
  const known = memory.known ?? new Map<string, ActualSet | IpsetRow>();
  const leaving = new Map(plan.removals.map(({ set, members }) => [set.name, members]));

  return {
    async add() {
      const unready = new Map<Family, string>();
      if (listFailure !== undefined)
        for (const family of FAMILIES) unready.set(family, "the sets could not be listed");
      for (const segment of segmentsOf(plan.additions)) {
        const sets = segment.steps.map(setOf);
        // What follows a failure relies on it.
        const refused =
          unready.size > 0
            ? new Set(sets.map(({ name }) => name))
            : await write(
                sets.map(({ name }) => name),
                () => (segment.kind === "add" ? table.add(segment.additions) : table.replace(sets)),
              );
        for (const step of segment.steps) {
          const set = setOf(step);
          if (refused.has(set.name)) {
            if (!unready.has(set.family)) unready.set(set.family, `set ${set.name} is not complete`);
            memory.troubled.add(set.name);
            continue;
          }
          tally.added(step);
          const rest = leaving.get(set.name) ?? [];
          const isWhole = step.kind === "replace" || rest.length === 0;
          known.set(set.name, isWhole ? set : { ...set, members: mergeMembers(set.members, rest) });
        }
      }
      return unready;
    },
    async remove(mayRemove) {
      const removals = plan.removals.filter(({ set }) => mayRemove(set.family));
      const kept = await write(
        removals.map(({ set }) => set.name),
        () => table.remove(removals),
      );
      for (const change of removals) {
        if (kept.has(change.set.name)) continue;
        tally.removed(change);
        if (!memory.troubled.has(change.set.name)) known.set(change.set.name, change.set);
      }
      const names = plan.destroyed.filter(({ family }) => mayRemove(family)).map(({ name }) => name);
      const left = await write(names, () => table.destroy(names));
      for (const name of names) {
        if (left.has(name)) continue;
        tally.destroyed(name);
        known.delete(name);
      }
    },
    report: () => ({ listed, done: tally.done, repaired: tally.repaired, failed }),
  };
}

interface Segment {
  readonly kind: SetStep["kind"];
  readonly steps: SetStep[];
  readonly additions: SetAddition[];
}

/** Runs of one kind: each is one call, and their order stays. */
function segmentsOf(steps: readonly SetStep[]): readonly Segment[] {
  const segments: Segment[] = [];
  for (const step of steps) {
    let last = segments.at(-1);
    if (last?.kind !== step.kind) {
      last = { kind: step.kind, steps: [], additions: [] };
      segments.push(last);
    }
    last.steps.push(step);
    if (step.kind === "add") last.additions.push(step.addition);
  }
  return segments;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
