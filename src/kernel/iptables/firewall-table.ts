// Kernel table of the firewall: our iptables chains, and the rules of other chains that lead to them.
import type { ChangeFailures, KernelTable, RowFailure } from "../../host/kernel-table.ts";
import { CHAIN_PREFIX } from "../../host/ownership.ts";
import type { Chain, FirewallRow } from "../../host/state.ts";
import { FAMILIES } from "../../net/ip.ts";
import type { Family } from "../../net/ip.ts";
import { ExecError } from "../exec.ts";
import type { Exec } from "../exec.ts";
import { applyIsolated } from "./isolate.ts";
import { unreadableTables } from "./restore-failure.ts";
import type { RestoreFailure } from "./restore-failure.ts";
import { renderExchange, renderPut, renderRemove, sortByDependency } from "./restore-render.ts";
import type { RestoreInput } from "./restore-render.ts";
import { createRestoreTool } from "./restore-tool.ts";
import type { RestoreTool } from "./restore-tool.ts";
import { failRows, putProblem, removeProblem } from "./row-problems.ts";
import type { SavedRules } from "./save-codec.ts";
import { firewallKey, firewallRowsEqual, rowsOfSave } from "./saved-rows.ts";
import type { IptablesVariant } from "./variant.ts";

export interface FirewallTableOptions {
  readonly variant: IptablesVariant;
  /** Families to list. */
  readonly families: readonly Family[];
  /** Chains with this beginning are ours. Default: `CHAIN_PREFIX`. */
  readonly chainPrefix?: string;
}

/**
 * One `iptables-save` per family lists; one `iptables-restore --noflush` per family puts or removes, after one
 * `iptables-save` if there are jumps, whose copies must be known. All changes to one iptables table are one transaction.
 */
export function createFirewallTable(
  options: FirewallTableOptions,
  modules: { readonly exec: Exec },
): KernelTable<FirewallRow> {
  const chainPrefix = options.chainPrefix ?? CHAIN_PREFIX;
  const tool = createRestoreTool(options.variant, modules.exec);
  return {
    name: "firewall",
    key: firewallKey,
    equal: firewallRowsEqual,
    list: () => listRows(tool, options.families, chainPrefix),
    put: (rows) => perFamily(rows, (family, some) => putRows(tool, family, some, chainPrefix)),
    remove: (rows) => perFamily(rows, (family, some) => removeRows(tool, family, some)),
    change: (put, remove) => changeRows(tool, put, remove, chainPrefix),
  };
}

async function listRows(
  tool: RestoreTool,
  families: readonly Family[],
  chainPrefix: string,
): Promise<readonly FirewallRow[]> {
  const results = await Promise.allSettled(
    families.map(async (family) => rowsOfSave(family, await tool.save(family), chainPrefix)),
  );
  const listed = results.filter((result) => result.status === "fulfilled");
  const failed = results.find((result) => result.status === "rejected");
  // A family that cannot be read must not stop the other: what is wanted of it fails in `put`, with the reason.
  if (failed !== undefined && listed.length === 0) throw failed.reason;
  return listed.flatMap(({ value }) => value);
}

async function putRows(
  tool: RestoreTool,
  family: Family,
  rows: readonly FirewallRow[],
  chainPrefix: string,
): Promise<readonly RowFailure[]> {
  const problems = failRows(rows, (row) => putProblem(row, rows, chainPrefix));
  const sound = sortByDependency(withoutFailed(rows, problems));
  const refused = await applyIsolated(sound, (some) =>
    restoreFresh(tool, family, some, some.some(needsLook), (actual) => renderPut(some, actual)),
  );
  return [...problems, ...refused];
}

/** A chain is written as a whole; a jump depends on the copies that are there. */
function needsLook(row: FirewallRow): boolean {
  return row.kind === "jump";
}

async function removeRows(
  tool: RestoreTool,
  family: Family,
  rows: readonly FirewallRow[],
): Promise<readonly RowFailure[]> {
  const actual = await tool.save(family);
  const problems = failRows(rows, (row) => removeProblem(row, rows, actual));
  let look: SavedRules | undefined = actual;
  const refused = await applyIsolated(withoutFailed(rows, problems), (some) => {
    const known = look;
    look = undefined;
    return restoreFresh(tool, family, some, true, (current) => renderRemove(some, current), known);
  });
  return [...problems, ...refused];
}

async function changeRows(
  tool: RestoreTool,
  put: readonly FirewallRow[],
  remove: readonly FirewallRow[],
  chainPrefix: string,
): Promise<ChangeFailures> {
  const failures: Record<keyof ChangeFailures, RowFailure[]> = { put: [], remove: [] };
  await Promise.all(
    FAMILIES.map(async (family) => {
      const [puts, removals] = [put, remove].map((rows) => rows.filter((row) => row.family === family)) as [
        FirewallRow[],
        FirewallRow[],
      ];
      if (await exchangeChains(tool, family, puts, removals, chainPrefix)) return;
      const refused = await perFamily(puts, (_, rows) => putRows(tool, family, rows, chainPrefix));
      failures.put.push(...refused);
      failures.remove.push(
        ...(refused.length > 0
          ? failRows(removals, () => "kept, since newer rules were refused")
          : await perFamily(removals, (_, rows) => removeRows(tool, family, rows))),
      );
    }),
  );
  return failures;
}

/** One `iptables-restore` for all, if only chains are concerned and nothing is wrong; false if nothing was done. */
async function exchangeChains(
  tool: RestoreTool,
  family: Family,
  puts: readonly FirewallRow[],
  removals: readonly FirewallRow[],
  chainPrefix: string,
): Promise<boolean> {
  const rows = [...puts, ...removals];
  const [made, gone] = [puts, removals].map((some) => some.filter((row) => row.kind === "chain")) as [
    Chain[],
    Chain[],
  ];
  if (made.length + gone.length < rows.length) return false;
  if (failRows(rows, (row) => putProblem(row, rows, chainPrefix)).length > 0) return false;
  if (unreadableTables(rows, tool.unreadable(family)) !== undefined) return false;
  try {
    return (await tool.restore(family, rows, renderExchange(made, gone))) === undefined;
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return false;
  }
}

/** One transaction on fresh knowledge; once more if what it was to delete has gone in between. */
async function restoreFresh(
  tool: RestoreTool,
  family: Family,
  rows: readonly FirewallRow[],
  look: boolean,
  render: (actual: SavedRules) => RestoreInput,
  known?: SavedRules,
): Promise<RestoreFailure | undefined> {
  let failure: RestoreFailure | undefined;
  for (let actual = known, attempt = 0; attempt < 2; attempt += 1, actual = undefined) {
    actual ??= look ? await tool.save(family) : NOTHING_SAVED;
    failure =
      unreadableTables(rows, tool.unreadable(family)) ?? (await tool.restore(family, rows, render(actual)));
    if (!failure?.stale) return failure;
  }
  return failure;
}

const NOTHING_SAVED: SavedRules = { tables: new Map(), unreadable: new Set() };

function withoutFailed(
  rows: readonly FirewallRow[],
  failures: readonly RowFailure[],
): readonly FirewallRow[] {
  const failed = new Set(failures.map(({ key }) => key));
  const sound = new Map(rows.map((row) => [firewallKey(row), row]));
  for (const key of failed) sound.delete(key);
  return [...sound.values()];
}

async function perFamily(
  rows: readonly FirewallRow[],
  act: (family: Family, rows: readonly FirewallRow[]) => Promise<readonly RowFailure[]>,
): Promise<readonly RowFailure[]> {
  const families = [...new Set(rows.map(({ family }) => family))];
  const failures = families.map(async (family) => {
    const some = rows.filter((row) => row.family === family);
    try {
      return await act(family, some);
    } catch (error) {
      if (!(error instanceof ExecError)) throw error;
      return some.map((row) => ({ key: firewallKey(row), reason: error.message }));
    }
  });
  return (await Promise.all(failures)).flat();
}
