// One pass of the firewall table as the daemon makes it after something may have changed: list, diff, put, remove.
import type { KernelTable } from "../../src/host/kernel-table.ts";
import type { FirewallRow } from "../../src/host/state.ts";
import { createTableReconciler } from "../../src/host/table-reconciler.ts";
import type { TableReport } from "../../src/host/table-reconciler.ts";

export async function reconcileFirewall(
  table: KernelTable<FirewallRow>,
  desired: readonly FirewallRow[],
): Promise<TableReport> {
  const pass = await createTableReconciler(table).plan(desired);
  await pass.putMissing();
  await pass.removeStale();
  return pass.report();
}

/** What a pass reports when everything was right already. */
export const NOTHING_WRITTEN = { created: 0, replaced: 0, removed: 0, failed: [] };
