// What every KernelTable must do, whatever its rows are: run over the fake and over the real kernel.
import { expect, it } from "vitest";
import type { KernelTable } from "../../src/host/kernel-table.ts";

export interface ComplianceCase<Row> {
  readonly table: KernelTable<Row>;
  /** Rows with different keys that the kernel takes. At least two. */
  readonly rows: readonly Row[];
  /** The first row's key with other contents, where a row has contents beside its key. */
  readonly changed?: Row;
  /** A row that the kernel refuses. */
  readonly bad: Row;
  /** Rows like ours that are not ours: puts them there, and tells what is there now. */
  readonly foreign?: { add(): Promise<unknown>; show(): Promise<string> };
  /** Many rows that the kernel takes. */
  readonly bulk?: (count: number) => readonly Row[];
}

/** Declares the tests; `create` is called in each one for a kernel without rows of ours. */
export function itIsAKernelTable<Row>(create: () => Promise<ComplianceCase<Row>>): void {
  async function expectListed(table: KernelTable<Row>, expected: readonly Row[]): Promise<void> {
    const listed = new Map((await table.list()).map((row) => [table.key(row), row]));
    expect([...listed.keys()].toSorted()).toEqual(expected.map((row) => table.key(row)).toSorted());
    for (const row of expected) {
      const actual = listed.get(table.key(row));
      expect(actual !== undefined && table.equal(actual, row), `${table.key(row)} is as put`).toBe(true);
    }
  }

  it("lists nothing where nothing is ours", async () => {
    const { table } = await create();
    expect(await table.list()).toEqual([]);
  });

  it("lists what was put", async () => {
    const { table, rows } = await create();
    expect(await table.put(rows)).toEqual([]);
    await expectListed(table, rows);
  });

  it("takes a row that is there already", async () => {
    const { table, rows } = await create();
    await table.put(rows);
    expect(await table.put(rows)).toEqual([]);
    await expectListed(table, rows);
  });

  it("replaces a row that has other contents", async () => {
    const { table, rows, changed } = await create();
    if (changed === undefined) return;
    await table.put(rows);
    const actual = (await table.list()).find((row) => table.key(row) === table.key(changed));
    expect(actual !== undefined && table.equal(actual, changed)).toBe(false);
    expect(await table.put([changed])).toEqual([]);
    await expectListed(table, [changed, ...rows.slice(1)]);
  });

  it("removes rows, also those that are gone already", async () => {
    const { table, rows } = await create();
    await table.put(rows);
    expect(await table.remove(rows.slice(0, 1))).toEqual([]);
    await expectListed(table, rows.slice(1));
    expect(await table.remove(rows)).toEqual([]);
    expect(await table.remove(rows)).toEqual([]);
    expect(await table.list()).toEqual([]);
  });

  it("removes exactly what it listed", async () => {
    const { table, rows } = await create();
    await table.put(rows);
    expect(await table.remove(await table.list())).toEqual([]);
    expect(await table.list()).toEqual([]);
  });

  it("names the row that the kernel refuses and takes the others", async () => {
    const { table, rows, bad } = await create();
    const failures = await table.put([...rows.slice(0, 1), bad, ...rows.slice(1)]);
    expect(failures.map((failure) => failure.key)).toEqual([table.key(bad)]);
    expect(failures[0]?.reason).not.toBe("");
    await expectListed(table, rows);
  });

  it("puts and removes nothing", async () => {
    const { table } = await create();
    expect(await table.put([])).toEqual([]);
    expect(await table.remove([])).toEqual([]);
  });

  it("leaves alone what is not ours", async () => {
    const { table, rows, foreign } = await create();
    if (foreign === undefined) return;
    await foreign.add();
    const before = await foreign.show();
    expect(await table.list()).toEqual([]);
    await table.put(rows);
    await expectListed(table, rows);
    await table.remove(await table.list());
    expect(await foreign.show()).toBe(before);
  });

  it("takes a thousand rows with a bad one in the middle", async () => {
    const { table, bad, bulk } = await create();
    if (bulk === undefined) return;
    const rows = bulk(1000);
    const failures = await table.put([...rows.slice(0, 500), bad, ...rows.slice(500)]);
    expect(failures.map((failure) => failure.key)).toEqual([table.key(bad)]);
    await expectListed(table, rows);
    expect(await table.remove(rows)).toEqual([]);
    expect(await table.list()).toEqual([]);
  });
}
