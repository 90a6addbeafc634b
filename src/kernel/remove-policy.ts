// Takes all chains, jumps and sets of network policy away: for `cleanup`, and for a start without policy.
import type { KernelTable, RowFailure } from "../host/kernel-table.ts";
import type { SetTable, SetWrite } from "../host/set-table.ts";
import type { FirewallRow } from "../host/state.ts";
import { FAMILIES } from "../net/ip.ts";
import { ExecError } from "./exec.ts";
import type { Exec } from "./exec.ts";
import { createSetTable } from "./ipset/set-table.ts";
import { createFirewallTable } from "./iptables/firewall-table.ts";
import type { IptablesVariant } from "./iptables/variant.ts";

export interface RemovePolicyOptions {
  /** All modes of iptables that the host has (`listIptablesVariants`): an earlier daemon may have used another one. */
  readonly variants: readonly IptablesVariant[];
  /** Begins the names of chains and sets. */
  readonly prefix: string;
}

export interface PolicyRemoval {
  /** Chains and jumps that were removed. */
  readonly firewallRows: number;
  readonly sets: number;
  /** What is still there, and why: key of a row or a set's name. */
  readonly failed: readonly RowFailure[];
}

/** Rules first, since a set that a rule names cannot go. Removing what is not there is success. Never throws. */
export async function removePolicy(
  { variants, prefix }: RemovePolicyOptions,
  modules: { readonly exec: Exec },
): Promise<PolicyRemoval> {
  const failed: RowFailure[] = [];
  let firewallRows = 0;
  for (const variant of variants) {
    const families = FAMILIES.filter((family) => variant.binaries[family] !== undefined);
    const table = createFirewallTable({ variant, families, chainPrefix: prefix }, modules);
    firewallRows += await attempt(failed, `iptables (${variant.mode})`, () => removeRules(table));
  }
  const sets = await attempt(failed, "ipset", () => removeSets(createSetTable({ prefix }, modules)));
  return { firewallRows, sets, failed };
}

interface Removed {
  readonly count: number;
  readonly failures: readonly RowFailure[];
}

async function removeRules(table: KernelTable<FirewallRow>): Promise<Removed> {
  const rows = await table.list();
  const failures = rows.length === 0 ? [] : await table.remove(rows);
  return { count: rows.length - failures.length, failures };
}

async function removeSets(table: SetTable): Promise<Removed> {
  const sets = await listSets(table);
  const writes = sets.map((set): SetWrite => ({ kind: "destroy", set }));
  const failures = writes.length === 0 ? [] : await table.write(writes);
  return { count: writes.length - failures.length, failures };
}

/** Where there is no ipset, nobody has made a set. */
async function listSets(table: SetTable): ReturnType<SetTable["list"]> {
  try {
    return await table.list();
  } catch (error) {
    if (error instanceof ExecError && error.message.startsWith("ipset: not found")) return [];
    throw error;
  }
}

async function attempt(failed: RowFailure[], what: string, remove: () => Promise<Removed>): Promise<number> {
  try {
    const { count, failures } = await remove();
    failed.push(...failures);
    return count;
  } catch (error) {
    failed.push({ key: what, reason: error instanceof Error ? error.message : String(error) });
    return 0;
  }
}
