// The contract between planned ipsets and the kernel. Sets have members, and members come and go in another order than rules.
import type { RowFailure } from "./kernel-table.ts";
import type { IpsetRow, IpsetType } from "./ipset-state.ts";

/**
 * `allow`: members of the set are let through (peers, ports), so removing closes and adding opens. `isolate`: all others. Of
 * these the order matters, and what opens comes last in it.
 */
export type SetRole = "allow" | "isolate";

/** One change of one set. */
export type SetWrite =
  | {
      /** `create`: the set is absent. `add`: it is there; absence is a failure, since half a set would be worse than none. */
      readonly kind: "create" | "add" | "remove";
      readonly role: SetRole;
      /** The set as it is wanted. */
      readonly set: IpsetRow;
      /** What is added or removed; all members of a set that is created. */
      readonly members: readonly string[];
    }
  | { readonly kind: "destroy"; readonly set: Pick<IpsetRow, "name" | "family"> };

/** A set as the kernel has it: one of ours, or one that somebody has made under our name. */
export interface ActualSet extends Omit<IpsetRow, "type"> {
  /** `other`: none of the types that we make; its members are not listed then. */
  readonly type: IpsetType | "other";
  /** All further options are as we make them. A timeout, for example, would lose members. */
  readonly plain: boolean;
}

/**
 * The ipsets whose names begin with our prefix. A throw means that ipset could not be used at all; other failures are
 * returned and carry the name of the set as key.
 */
export interface SetTable {
  /** All sets of ours with all members, sorted. */
  list(): Promise<readonly ActualSet[]>;
  /**
   * One batch, in the order given: what one event changes is one `ipset restore`. Adding what is there already is success (but
   * resets its counters), and so are removing and destroying what is absent. A set that a rule names cannot be destroyed. A
   * refused change does not stop the others, except that a member which a set of role `isolate` refuses is withheld from
   * what follows and could open: a pod must not be known before its isolation is in force.
   */
  write(writes: readonly SetWrite[]): Promise<readonly RowFailure[]>;
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
