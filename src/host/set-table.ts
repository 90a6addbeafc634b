// The contract between planned ipsets and the kernel. Sets have members, and members come and go in another order than rules.
import type { RowFailure } from "./kernel-table.ts";
import type { IpsetRow } from "./ipset-state.ts";

/** Members of one set that are to be added or removed. */
export interface SetChange {
  /** The set as it is wanted: its header, should it have to be created, and its members. */
  readonly set: IpsetRow;
  readonly members: readonly string[];
}

/**
 * The ipsets whose names begin with our prefix. Calls are batches in the order given: a thousand changes are one
 * `ipset restore`. A refused change does not stop the others; a throw means that ipset could not be used at all.
 */
export interface SetTable {
  /** All sets of ours with all members. */
  list(): Promise<readonly IpsetRow[]>;
  /** Creates the sets that are absent, then adds; what is there already is success. */
  add(changes: readonly SetChange[]): Promise<readonly RowFailure[]>;
  /** What is absent already is success. */
  remove(changes: readonly SetChange[]): Promise<readonly RowFailure[]>;
  /** Removes whole sets. One that a rule still names is a failure. */
  destroy(names: readonly string[]): Promise<readonly RowFailure[]>;
  /** Gives sets that exist with another type, family or counters the wanted header and members, while rules name them. */
  replace(sets: readonly IpsetRow[]): Promise<readonly RowFailure[]>;
}
