// When the kernel is listed, what counts as a repair, and what a failure does to the next pass.
import { beforeEach, describe, expect, it } from "vitest";
import { createTableReconciler, WHOLE_TABLE } from "../../../src/host/table-reconciler.ts";
import type { TableReconciler, TableReport } from "../../../src/host/table-reconciler.ts";
import { createFakeTable } from "../../support/fake-kernel-table.ts";
import type { FakeTable } from "../../support/fake-kernel-table.ts";

interface Row {
  readonly key: string;
  readonly value: number;
}
const A = { key: "a", value: 1 };
const A2 = { key: "a", value: 2 };
const B = { key: "b", value: 1 };
const C = { key: "c", value: 1 };

let table: FakeTable<Row>;
let reconciler: TableReconciler<Row>;
beforeEach(() => {
  table = createFakeTable<Row>({ name: "routes", key: (row) => row.key });
  reconciler = createTableReconciler(table);
});

async function pass(...desired: Row[]): Promise<TableReport> {
  const planned = await reconciler.plan(desired);
  await planned.removeStale();
  await planned.putMissing();
  return planned.report();
}

const NOTHING = { created: 0, replaced: 0, removed: 0 };

describe("listing", () => {
  it("happens once, then the rows are known", async () => {
    expect(await pass(A, B)).toMatchObject({ listed: true, created: 2, desired: 2 });
    expect(await pass(A, B, C)).toMatchObject({ listed: false, created: 1, replaced: 0, removed: 0 });
    expect(await pass(A2, C)).toMatchObject({ listed: false, created: 0, replaced: 1, removed: 1 });
    expect([...table.rows.values()]).toEqual([A2, C]);
    expect(table.listCalls).toBe(1);
  });

  it("happens again after an invalidation", async () => {
    await pass(A);
    reconciler.invalidate("outside");
    expect(await pass(A)).toMatchObject({ listed: true, ...NOTHING });
    expect(await pass(A)).toMatchObject({ listed: false });
  });

  it("survives an invalidation that arrives while the kernel answers", async () => {
    const list = table.list.bind(table);
    table.list = () => {
      reconciler.invalidate("outside");
      table.list = list;
      return list();
    };
    await pass(A);
    expect(await pass(A)).toMatchObject({ listed: true });
    expect(await pass(A)).toMatchObject({ listed: false });
  });
});

describe("repairs", () => {
  it("are what changed behind our back, row by row", async () => {
    await pass(A, B);
    table.rows.delete("a");
    table.rows.set("b", { ...B, value: 9 });
    table.rows.set("stranger", { key: "stranger", value: 1 });
    reconciler.invalidate("outside");
    const report = await pass(A, B, C);
    expect(report).toMatchObject({ created: 2, replaced: 1, removed: 1 });
    expect(report.repaired).toEqual({ created: 1, replaced: 1, removed: 1 });
  });

  it("are not what the first pass finds: that is adoption", async () => {
    table.rows.set("a", A2);
    table.rows.set("stranger", B);
    expect((await pass(A)).repaired).toEqual(NOTHING);
  });

  it("are not what the plan changed", async () => {
    await pass(A, B);
    reconciler.invalidate("outside");
    expect((await pass(A2, C)).repaired).toEqual(NOTHING);
  });

  it("are not what we lost by our own doing, even if there was an event before", async () => {
    await pass(A, B);
    table.rows.clear();
    reconciler.invalidate("outside");
    reconciler.invalidate("ourselves");
    reconciler.invalidate("outside");
    expect(await pass(A, B)).toMatchObject({ created: 2, repaired: NOTHING });
  });

  it("are not a row that failed before", async () => {
    table.refusals.set("a", "no");
    await pass(A, B);
    table.refusals.clear();
    expect(await pass(A, B)).toMatchObject({ listed: true, created: 1, repaired: NOTHING });
  });
});

describe("failures", () => {
  it("of a row are reported, do not count as done, and make the next pass list", async () => {
    table.refusals.set("a", "Invalid argument");
    expect(await pass(A, B)).toMatchObject({
      created: 1,
      failed: [{ key: "a", reason: "Invalid argument" }],
    });
    expect(await pass(A, B)).toMatchObject({ listed: true, created: 0, failed: [{ key: "a" }] });
    table.refusals.clear();
    expect(await pass(A, B)).toMatchObject({ listed: true, created: 1, failed: [] });
    expect(await pass(A, B)).toMatchObject({ listed: false });
  });

  it("of a removal are tried again", async () => {
    await pass(A, B);
    table.refusals.set("b", "busy");
    expect(await pass(A)).toMatchObject({ removed: 0, failed: [{ key: "b" }] });
    table.refusals.clear();
    expect(await pass(A)).toMatchObject({ removed: 1, failed: [], repaired: NOTHING });
  });

  it("of the whole table are reported as such, and nothing is written blindly", async () => {
    await pass(A);
    table.broken = "ip: not found";
    reconciler.invalidate("outside");
    expect(await pass(A, B)).toMatchObject({
      listed: true,
      ...NOTHING,
      failed: [{ key: WHOLE_TABLE, reason: "ip: not found" }],
    });
    table.broken = undefined;
    expect(await pass(A, B)).toMatchObject({ listed: true, created: 1, failed: [] });
  });

  it("in the middle of known rows are no reason to believe them", async () => {
    await pass(A);
    table.broken = "killed";
    expect(await pass(A, B)).toMatchObject({ listed: false, failed: [{ key: WHOLE_TABLE }] });
    table.broken = undefined;
    expect(await pass(A, B)).toMatchObject({ listed: true, created: 1 });
  });
});
