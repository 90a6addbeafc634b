// The contract between the plan and the kernel: what every kernel table must be able to do.
import type { Address, FdbEntry, FirewallRow, Link, Neighbor, Route, Sysctl } from "./state.ts";

/** The tables, in no particular order; `apply` knows the order. */
export type TableName = "links" | "addresses" | "sysctls" | "routes" | "neighbors" | "fdb" | "firewall";

/** A row that the kernel refused, with the kernel's own words. */
export interface RowFailure {
  /** `key(row)` of the row. */
  readonly key: string;
  /** What the kernel or the tool said, e.g. "RTNETLINK answers: Network is unreachable". */
  readonly reason: string;
}

/** Failures of `change`. */
export interface ChangeFailures {
  readonly put: readonly RowFailure[];
  readonly remove: readonly RowFailure[];
}

/**
 * One kind of kernel row. Calls are batches: a thousand routes are one process.
 * Contract, checked by one compliance suite on the fake and on the real kernel:
 * - `list` returns only rows that we own, and every one of them;
 * - `put` creates or replaces, and putting what is there already is success;
 * - `remove` of what is absent is success;
 * - a row that fails does not stop the others; failures are returned, not thrown;
 * - a throw means that the whole table could not be reached (tool missing, no permission).
 */
export interface KernelTable<Row> {
  readonly name: TableName;
  /**
   * Identity of a row: a plan has one row per key. The kernel may hold several (routes of different metric); then `list`
   * returns them all, and `remove` takes away exactly the one it is given.
   */
  key(row: Row): string;
  /** True if `actual`, as listed, needs no write to be `desired`. */
  equal(actual: Row, desired: Row): boolean;
  list(): Promise<readonly Row[]>;
  put(rows: readonly Row[]): Promise<readonly RowFailure[]>;
  remove(rows: readonly Row[]): Promise<readonly RowFailure[]>;
  /**
   * Where the kernel can do both at once: `put`, then `remove`. What others rely on stays if what is to take its place was
   * refused: rows of that family are then failures of `remove`.
   */
  change?(put: readonly Row[], remove: readonly Row[]): Promise<ChangeFailures>;
}

/** One table per kind of row of `HostState`. */
export interface KernelTables {
  readonly links: KernelTable<Link>;
  readonly addresses: KernelTable<Address>;
  readonly sysctls: KernelTable<Sysctl>;
  readonly routes: KernelTable<Route>;
  readonly neighbors: KernelTable<Neighbor>;
  readonly fdb: KernelTable<FdbEntry>;
  readonly firewall: KernelTable<FirewallRow>;
}
