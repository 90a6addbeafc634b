// What one pass over policy rules and sets did: for the log, the metrics, and whoever waits until a pod's rules are in force.
import type { RowChanges } from "./table-reconciler.ts";

/** What the kernel or a tool refused, with its own words. */
export interface PolicyFailure {
  readonly part: "sets" | "firewall";
  /** Name of a set, key of a firewall row, or `*` for all of the part. */
  readonly key: string;
  readonly reason: string;
}

export interface SetChanges {
  readonly created: number;
  /** Made anew, since their header was another one. */
  readonly replaced: number;
  readonly destroyed: number;
  readonly membersAdded: number;
  readonly membersRemoved: number;
}

export interface PolicyRepairs {
  /** Chains and jumps that somebody else had changed, removed or pushed behind other rules. */
  readonly firewall: RowChanges;
  /** Sets and members that somebody else had changed or removed. */
  readonly sets: SetChanges;
}

export interface PolicyApplyReport {
  /** The kernel was asked; otherwise what it holds was known. */
  readonly listed: boolean;
  /** Wanted: chains and jumps, sets, members of all sets. */
  readonly desired: { readonly firewallRows: number; readonly sets: number; readonly members: number };
  /** Written, repairs included. */
  readonly firewall: RowChanges;
  readonly sets: SetChanges;
  /** Of what was written, that which something else than us had undone: drift. */
  readonly repaired: PolicyRepairs;
  /** Empty: everything that is wanted is in force. Otherwise the next pass asks the kernel and tries again. */
  readonly failed: readonly PolicyFailure[];
}

export function isEverythingUnchanged({
  firewall,
  sets,
}: Pick<PolicyApplyReport, "firewall" | "sets">): boolean {
  return [...Object.values(firewall), ...Object.values(sets)].every((count) => count === 0);
}

/** Number of repaired rows, sets and members. */
export function countRepairs({ firewall, sets }: PolicyRepairs): number {
  return [...Object.values(firewall), ...Object.values(sets)].reduce((sum, count) => sum + count, 0);
}
