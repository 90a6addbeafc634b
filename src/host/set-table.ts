// The contract between planned ipsets and the kernel. Sets have members, and members come and go in another order than rules.
import type { RowFailure } from "./kernel-table.ts";
import type { IpsetRow, IpsetType } from "./ipset-state.ts";

/** Members of one set that are to be added or removed. */
export interface SetChange {
  /** The set as it is wanted: its header, should it have to be created, and its members. */
  readonly set: IpsetRow;
  readonly members: readonly string[];
}

export interface SetAddition extends SetChange {
  /** The set may be absent and is created. Otherwise absence is a failure: half of a set would be worse than none. */
  readonly create: boolean;
}

/** A set as the kernel has it: one of ours, or one that somebody has made under our name. */
export interface ActualSet extends Omit<IpsetRow, "type"> {
  /** `other`: none of the types that we make; its members are not listed then. */
  readonly type: IpsetType | "other";
  /** All further options are as we make them. A timeout, for example, would lose members. */
  readonly plain: boolean;
}

/**
 * The ipsets whose names begin with our prefix. Calls are batches in the order given: a thousand changes are one
 * `ipset restore`. A refused change does not stop the others; failures carry the name of the set as key. A throw means that
 * ipset could not be used at all.
 */
export interface SetTable {
  /** All sets of ours with all members, sorted. */
  list(): Promise<readonly ActualSet[]>;
  /**
   * What is there already is success (and loses its counters). A member that one set refuses is withheld from the sets
   * after it, which rely on it: a pod must not be known before its isolation is in force.
   */
  add(changes: readonly SetAddition[]): Promise<readonly RowFailure[]>;
  /** What is absent already is success. */
  remove(changes: readonly SetChange[]): Promise<readonly RowFailure[]>;
  /** Removes whole sets. One that a rule still names is a failure, one that is absent is success. */
  destroy(names: readonly string[]): Promise<readonly RowFailure[]>;
  /** Gives sets that exist with another type, family or options the wanted header and members, while rules name them. */
  replace(sets: readonly IpsetRow[]): Promise<readonly RowFailure[]>;
}

/** True if the set has all that cannot be changed without making it anew. */
export function headerFits(actual: ActualSet | IpsetRow, desired: IpsetRow): boolean {
  return (
    (!("plain" in actual) || actual.plain) &&
    actual.type === desired.type &&
    actual.family === desired.family &&
    actual.counters === desired.counters
  );
}
