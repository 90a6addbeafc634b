// Makes one kernel table equal to the plan, listing the kernel only when its rows may have changed behind our back.
import { diffKnownRows, diffRows, KnownRows } from "./diff.ts";
import type { Diff } from "./diff.ts";
import type { KernelTable, RowFailure, TableName } from "./kernel-table.ts";

/** What one pass did to one table. */
export interface TableReport {
  readonly table: TableName;
  /** The kernel was asked; otherwise its rows were known. */
  readonly listed: boolean;
  /** Rows we want. */
  readonly desired: number;
  readonly created: number;
  readonly replaced: number;
  readonly removed: number;
  /** Of the rows written, those that something else than us had changed: drift. Failed ones do not count. */
  readonly repaired: RowChanges;
  readonly failed: readonly RowFailure[];
}

export interface RowChanges {
  readonly created: number;
  readonly replaced: number;
  readonly removed: number;
}

/** Key of a failure that concerns the whole table: it could not be listed or written at all. */
export const WHOLE_TABLE = "*";

/**
 * Why known rows are no longer trusted. `outside`: an event, a resync; differences found are drift. `ourselves`: we
 * changed a device under them; differences found are our own doing.
 */
export type InvalidationCause = "outside" | "ourselves";

/** One pass over one table, in steps so that `apply` can order steps of several tables. None of them throws. */
export interface TablePass {
  /** Removes rows that are ours and not in the plan. */
  removeStale(): Promise<void>;
  /** Creates and replaces rows. */
  putMissing(): Promise<void>;
  /** Puts, then removes; at once where the table can. */
  writeAll(): Promise<void>;
  report(): TableReport;
}

export interface TableReconciler<Row> {
  /** Forgets that the known rows are true; the next plan lists the kernel. */
  invalidate(cause: InvalidationCause): void;
  /** Compares the kernel with `desired`. Does not throw: a table that cannot be listed reports it and writes nothing. */
  plan(desired: readonly Row[]): Promise<TablePass>;
}

interface TableMemory<Row extends object> {
  /** What the kernel held when we last looked or wrote; undefined before the first look. */
  known: KnownRows<Row> | undefined;
  /** Set while the known rows may be wrong. */
  mistrust: InvalidationCause | undefined;
}

export function createTableReconciler<Row extends object>(table: KernelTable<Row>): TableReconciler<Row> {
  const memory: TableMemory<Row> = { known: undefined, mistrust: "outside" };
  return {
    invalidate(cause) {
      // Our own doing explains every difference, also those of an earlier mistrust.
      memory.mistrust = cause === "ourselves" ? cause : (memory.mistrust ?? cause);
    },
    plan: (desired) => planTablePass(table, memory, desired),
  };
}

/** Compares with the known rows if they can be trusted, else with the kernel's, which then are the known ones. */
async function compareRows<Row extends object>(
  table: KernelTable<Row>,
  memory: TableMemory<Row>,
  desired: readonly Row[],
): Promise<Diff<Row>> {
  if (memory.mistrust === undefined && memory.known !== undefined) {
    return diffKnownRows(memory.known, desired, table);
  }
  // Cleared first: an invalidation that arrives while the kernel answers must survive the listing.
  memory.mistrust = undefined;
  const diff = diffRows(await table.list(), desired, table);
  memory.known = new KnownRows(
    [...diff.remove, ...diff.unchanged].map((row) => [table.key(row), row] as const),
  );
  return diff;
}

/** Collects the failures of one pass; any of them makes the known rows doubtful. */
function createFailureLog(memory: Pick<TableMemory<object>, "mistrust">) {
  const failed: RowFailure[] = [];
  function add(failures: readonly RowFailure[]): void {
    failed.push(...failures);
    if (failures.length > 0) memory.mistrust ??= "outside";
  }
  function addError(error: unknown): void {
    add([{ key: WHOLE_TABLE, reason: error instanceof Error ? error.message : String(error) }]);
  }
  return { failed, add, addError };
}

async function planTablePass<Row extends object>(
  table: KernelTable<Row>,
  memory: TableMemory<Row>,
  desired: readonly Row[],
): Promise<TablePass> {
  const { failed, add, addError } = createFailureLog(memory);
  const done = { created: 0, replaced: 0, removed: 0 };
  const repaired = { created: 0, replaced: 0, removed: 0 };
  const cause = memory.mistrust;
  /** What we would have found, had nobody interfered; undefined if differences need not be anybody's interference. */
  const expected = cause === "outside" ? memory.known : undefined;
  let diff: Diff<Row> = { create: [], replace: [], remove: [], unchanged: [] };
  try {
    diff = await compareRows(table, memory, desired);
  } catch (error) {
    addError(error);
  }
  const known = memory.known ?? new KnownRows<Row>();

  const puts = [...diff.create, ...diff.replace];

  /** Rows that the kernel took. */
  async function write(operation: "put" | "remove", rows: readonly Row[]): Promise<readonly Row[]> {
    if (rows.length === 0) return [];
    try {
      return taken(rows, await table[operation](rows));
    } catch (error) {
      addError(error);
      return [];
    }
  }

  function taken(rows: readonly Row[], failures: readonly RowFailure[]): readonly Row[] {
    add(failures);
    const refused = new Set(failures.map((failure) => failure.key));
    return refused.size === 0 ? rows : rows.filter((row) => !refused.has(table.key(row)));
  }

  function notePut(rows: readonly Row[]): void {
    const created = new Set(diff.create);
    for (const row of rows) {
      const key = table.key(row);
      const before = expected?.get(key);
      const kind = created.has(row) ? "created" : "replaced";
      done[kind] += 1;
      if (before !== undefined && table.equal(before, row)) repaired[kind] += 1;
      known.set(key, row);
    }
  }

  function noteRemoved(rows: readonly Row[]): void {
    for (const row of rows) {
      const key = table.key(row);
      done.removed += 1;
      // Of several rows under one key the right one is the known one, and stays.
      const isSurplus = known.get(key) !== row;
      if (expected !== undefined && (isSurplus || expected.get(key) === undefined)) repaired.removed += 1;
      if (!isSurplus) known.delete(key);
    }
  }

  const removeStale = async (): Promise<void> => noteRemoved(await write("remove", diff.remove));
  /** One batch: new rows and changed ones may need each other, as chains do. */
  const putMissing = async (): Promise<void> => notePut(await write("put", puts));

  return {
    removeStale,
    putMissing,
    async writeAll() {
      if (table.change === undefined || puts.length === 0 || diff.remove.length === 0) {
        await putMissing();
        await removeStale();
        return;
      }
      try {
        const failures = await table.change(puts, diff.remove);
        const removed = taken(diff.remove, failures.remove);
        notePut(taken(puts, failures.put));
        noteRemoved(removed);
      } catch (error) {
        addError(error);
      }
    },
    report: () => ({
      table: table.name,
      listed: cause !== undefined,
      desired: desired.length,
      ...done,
      repaired,
      failed,
    }),
  };
}
