// Makes the kernel's ipsets equal to the plan in two halves, so that the rules can change in between.
import type { Family } from "../net/ip.ts";
import { FAMILIES } from "../net/ip.ts";
import type { IpsetRow } from "./ipset-state.ts";
import type { RowFailure } from "./kernel-table.ts";
import type { SetChanges } from "./policy-report.ts";
import { createSetTally } from "./set-tally.ts";
import { mergeMembers, withoutMembers } from "./member-list.ts";
import type { MemberList } from "./member-list.ts";
import { onlyCloses, planSets } from "./set-plan.ts";
import type { SetPlan, SetStep } from "./set-plan.ts";
import type { ActualSet, SetTable, SetWrite } from "./set-table.ts";
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
  /** What must be there before rules change. The result says which families are not ready, and why. */
  writeEarly(): Promise<ReadonlyMap<Family, string>>;
  /** The rest, of the families that pass; of the others only what closes. */
  writeLate(mayWrite: (family: Family) => boolean): Promise<void>;
  /** Both at once, where no rules change: one process. */
  writeAll(): Promise<void>;
  report(): SetPassReport;
}

export interface SetReconciler {
  /** Forgets that the known sets are true; the next plan lists the kernel. */
  invalidate(): void;
  /** @param isAllowing true for sets whose members are let through */
  plan(desired: readonly IpsetRow[], isAllowing: (name: string) => boolean): Promise<SetPass>;
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
    plan: (desired, isAllowing) => planSetPass(table, memory, desired, isAllowing),
  };
}

/** Compares with what is known, or with the kernel; equal sets become known by the desired row itself. */
async function comparePlan(
  table: SetTable,
  memory: SetMemory,
  desired: readonly IpsetRow[],
  isAllowing: (name: string) => boolean,
): Promise<SetPlan> {
  if (memory.isDoubted || memory.known === undefined) {
    // Cleared first: an invalidation that arrives while the kernel answers must survive the listing.
    memory.isDoubted = false;
    memory.known = new Map((await table.list()).map((set) => [set.name, set]));
  }
  const { known } = memory;
  const plan = planSets(known, desired, isAllowing);
  const changing = new Set([...plan.early, ...plan.late].map(({ set }) => set.name));
  for (const set of desired) if (!changing.has(set.name)) known.set(set.name, set);
  return plan;
}

async function planSetPass(
  table: SetTable,
  memory: SetMemory,
  desired: readonly IpsetRow[],
  isAllowing: (name: string) => boolean,
): Promise<SetPass> {
  const failed: RowFailure[] = [];
  const listed = memory.isDoubted || memory.known === undefined;
  const tally = createSetTally(listed ? memory.known : undefined, new Set(memory.troubled));
  memory.troubled.clear();
  const unready = new Map<Family, string>();

  function fail(failures: readonly RowFailure[]): void {
    failed.push(...failures);
    for (const { key } of failures) memory.troubled.add(key);
    if (failures.length > 0) memory.isDoubted = true;
  }
  function failWholly(error: unknown): void {
    fail([{ key: WHOLE_TABLE, reason: error instanceof Error ? error.message : String(error) }]);
  }

  let plan: SetPlan = { early: [], late: [] };
  try {
    plan = await comparePlan(table, memory, desired, isAllowing);
  } catch (error) {
    failWholly(error);
    memory.known = undefined;
    for (const family of FAMILIES) unready.set(family, "the sets could not be listed");
  }
  const known = memory.known ?? new Map<string, ActualSet | IpsetRow>();
  const wanted = new Map(desired.map((set) => [set.name, set]));
  const stepsLeft = new Map<string, number>();
  for (const { set } of [...plan.early, ...plan.late])
    stepsLeft.set(set.name, (stepsLeft.get(set.name) ?? 0) + 1);

  /** Sets that were not written as they should. */
  async function writeRun(run: readonly SetStep[]): Promise<ReadonlySet<string>> {
    try {
      const replaced = run.flatMap((step) => (step.kind === "replace" ? step.set : []));
      const failures =
        replaced.length > 0 ? await table.replace(replaced) : await table.write(run.filter(isWrite));
      fail(failures);
      return new Set(failures.map(({ key }) => key));
    } catch (error) {
      failWholly(error);
      return new Set(run.map(({ set }) => set.name));
    }
  }

  async function write(steps: readonly SetStep[]): Promise<void> {
    for (const run of runsOf(steps)) {
      // What follows a failure may rely on it.
      const refused = unready.size > 0 ? new Set(run.map(({ set }) => set.name)) : await writeRun(run);
      for (const step of run) {
        const { name, family } = step.set;
        if (refused.has(name)) {
          memory.troubled.add(name);
          if (!unready.has(family)) unready.set(family, `set ${name} is not as it should be`);
        } else {
          tally.count(step);
          const left = (stepsLeft.get(name) ?? 0) - 1;
          stepsLeft.set(name, left);
          const isDone = left === 0 && !memory.troubled.has(name);
          remember(known, step, isDone ? wanted.get(name) : undefined);
        }
      }
    }
  }

  return {
    async writeEarly() {
      await write(plan.early);
      return unready;
    },
    async writeLate(mayWrite) {
      const held = new Set(FAMILIES.filter((family) => unready.has(family) || !mayWrite(family)));
      unready.clear();
      await write(plan.late.filter((step) => onlyCloses(step) || !held.has(step.set.family)));
    },
    async writeAll() {
      await write([...plan.early, ...plan.late]);
    },
    report: () => ({ listed, done: tally.done, repaired: tally.repaired, failed }),
  };
}

function isWrite(step: SetStep): step is SetWrite {
  return step.kind !== "replace";
}

/** @param desired what the set now is; undefined before its last step */
function remember(
  known: Map<string, ActualSet | IpsetRow>,
  step: SetStep,
  desired: IpsetRow | undefined,
): void {
  const { name } = step.set;
  if (step.kind === "destroy") known.delete(name);
  else
    known.set(name, desired ?? { ...step.set, members: membersAfter(step, known.get(name)?.members ?? []) });
}

function membersAfter(step: Exclude<SetStep, { kind: "destroy" }>, before: MemberList): MemberList {
  switch (step.kind) {
    case "add":
      return mergeMembers(before, step.members);
    case "remove":
      return withoutMembers(before, step.members);
    case "create":
      return step.members;
    case "replace":
      return step.set.members;
  }
}

/** Runs of steps that are one call each, in order. */
function runsOf(steps: readonly SetStep[]): readonly (readonly SetStep[])[] {
  const runs: SetStep[][] = [];
  for (const step of steps) {
    const last = runs.at(-1);
    if (last?.[0] && isWrite(last[0]) === isWrite(step)) last.push(step);
    else runs.push([step]);
  }
  return runs;
}
