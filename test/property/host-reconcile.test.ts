// Properties of the diff and of passes over a whole host: whatever the history, the end is the plan, without a gap.
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { createHostApplier } from "../../src/host/apply.ts";
import { diffKnownRows, diffRows, isEmptyDiff, KnownRows } from "../../src/host/diff.ts";
import type { TableName } from "../../src/host/kernel-table.ts";
import type { HostState } from "../../src/host/state.ts";
import { createFakeKernel } from "../support/fake-kernel-table.ts";
import type { FakeKernel } from "../support/fake-kernel-table.ts";
import { overlayPlan } from "../support/overlay-plan.ts";

interface Row {
  readonly key: string;
  readonly value: number;
}
const comparison = {
  key: (row: Row) => row.key,
  equal: (actual: Row, desired: Row) => actual.value === desired.value,
};
const row = fc.record({
  key: fc.constantFrom("a", "b", "c", "d", "e", "f"),
  value: fc.integer({ min: 0, max: 2 }),
});
const uniqueRows = fc.uniqueArray(row, { selector: ({ key }) => key });

/** What a kernel does with a diff: removes exactly those rows, then puts by key. */
function applied(actual: readonly Row[], desired: readonly Row[]): readonly Row[] {
  const { create, replace, remove } = diffRows(actual, desired, comparison);
  const left = [...actual];
  for (const gone of remove) left.splice(left.indexOf(gone), 1);
  const kernel = new Map(left.map((kept) => [kept.key, kept]));
  expect(kernel.size).toBe(left.length);
  for (const put of [...create, ...replace]) kernel.set(put.key, put);
  return [...kernel.values()];
}

function sorted(rows: readonly Row[]): readonly Row[] {
  return rows.toSorted((a, b) => a.key.localeCompare(b.key));
}

it("a diff, applied, gives the desired rows, also from several rows under one key", () => {
  fc.assert(
    fc.property(fc.array(row), uniqueRows, (actual, desired) => {
      const after = applied(actual, desired);
      expect(sorted(after)).toEqual(sorted(desired));
      expect(isEmptyDiff(diffRows(after, desired, comparison))).toBe(true);
    }),
  );
});

it("against known rows it is the same diff, also if a key is wanted twice", () => {
  fc.assert(
    // Some desired rows are the known objects themselves, as planners hand them out.
    fc.property(uniqueRows, fc.array(row), fc.array(fc.nat()), (actual, others, picks) => {
      const same = picks.flatMap((pick) => actual[pick % actual.length] ?? []);
      const desired = [...others, ...same];
      const known = new KnownRows(actual.map((one) => [one.key, one] as const));
      const [fast, general] = [
        diffKnownRows(known, desired, comparison),
        diffRows(actual, desired, comparison),
      ];
      for (const part of ["create", "replace", "remove", "unchanged"] as const) {
        expect(sorted(fast[part])).toEqual(sorted(general[part]));
      }
    }),
  );
});

it("the order of rows does not matter", () => {
  fc.assert(
    fc.property(uniqueRows, uniqueRows, fc.func(fc.integer()), (actual, desired, rank) => {
      const shuffle = (rows: readonly Row[]) => rows.toSorted((a, b) => rank(a.key) - rank(b.key));
      const plain = diffRows(actual, desired, comparison);
      const shuffled = diffRows(shuffle(actual), shuffle(desired), comparison);
      for (const part of ["create", "replace", "remove", "unchanged"] as const) {
        expect(sorted(shuffled[part])).toEqual(sorted(plain[part]));
      }
    }),
  );
});

const plan = fc
  .record({ peers: fc.nat(6), direct: fc.nat(6), families: fc.subarray([4, 6] as const) })
  .map(({ peers, direct, families }) => overlayPlan({ peers, families, direct: Math.min(direct, peers) }));

const TABLES = ["links", "addresses", "sysctls", "routes", "neighbors", "fdb"] as const;

/** One thing that happens between passes: something deletes a row and an event tells us so. */
const accident = fc.record({ table: fc.constantFrom(...TABLES), pick: fc.nat(10) });

function strike(
  { tables }: FakeKernel,
  { table, pick }: { table: (typeof TABLES)[number]; pick: number },
): void {
  const rows: Map<string, unknown> = tables[table].rows;
  const key = [...rows.keys()][pick];
  if (key === undefined) return;
  // A link takes its rows along, as in the kernel.
  if (table === "links")
    void tables.links.remove([...tables.links.rows.values()].filter(({ name }) => name === key));
  else rows.delete(key);
}

function expectKernelHolds(kernel: FakeKernel, desired: HostState): void {
  for (const name of TABLES) {
    const actual = [...kernel.tables[name].rows.values()].map((row) => JSON.stringify(row)).toSorted();
    expect(actual, name).toEqual(desired[name].map((row) => JSON.stringify(row)).toSorted());
  }
}

it("any sequence of plans and accidents ends at the last plan, and a second pass writes nothing", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(plan, fc.array(accident)), { minLength: 1, maxLength: 6 }),
      async (steps) => {
        const kernel = createFakeKernel();
        const applier = createHostApplier(kernel.tables);
        for (const [desired, accidents] of steps) {
          for (const one of accidents) {
            strike(kernel, one);
            const told: TableName[] = one.table === "links" ? [...TABLES] : [one.table];
            applier.invalidate(told);
          }
          await applier.apply(desired);
          expectKernelHolds(kernel, desired);
        }
        kernel.journal.length = 0;
        applier.invalidate();
        await applier.apply(steps.at(-1)?.[0] ?? overlayPlan({ peers: 0, families: [] }));
        expect(kernel.journal).toEqual([]);
      },
    ),
  );
});

it("no change of plan passes through a moment in which a peer's route leads nowhere", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(plan, { minLength: 1, maxLength: 6 }), async (plans) => {
      const kernel = createFakeKernel();
      const applier = createHostApplier(kernel.tables);
      for (const desired of plans) await applier.apply(desired);
      expect(kernel.hazards).toEqual([]);
    }),
  );
});
