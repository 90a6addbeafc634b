// Holds back the firewall rows of an address family whose sets are not ready, so that the last good rules stay in force.
import type { Family } from "../net/ip.ts";
import { FAMILIES } from "../net/ip.ts";
import type { KernelTable, RowFailure } from "./kernel-table.ts";
import type { FirewallRow } from "./state.ts";

export interface FamilyGate {
  /** The firewall through the gate: rows of a closed family fail unwritten. */
  readonly table: KernelTable<FirewallRow>;
  /** For a new pass: nothing is closed. */
  reset(): void;
  /** From now on rows of the family are held back. */
  close(family: Family, reason: string): void;
  /** No rules are as they should be, whatever the reason. */
  giveUp(): void;
  /** True if rules of the family were held back or refused: what the present ones rely on must stay. */
  isBehind(family: Family): boolean;
  /** Keys of rows that were held back; per family why. */
  withheld(): { readonly keys: ReadonlySet<string>; readonly reasons: ReadonlyMap<Family, string> };
}

export function createFamilyGate(firewall: KernelTable<FirewallRow>): FamilyGate {
  const closed = new Map<Family, string>();
  const behind = new Set<Family>();
  const keys = new Set<string>();
  const reasons = new Map<Family, string>();

  function holdBack(row: FirewallRow, reason: string): RowFailure {
    const key = firewall.key(row);
    behind.add(row.family);
    keys.add(key);
    reasons.set(row.family, reason);
    return { key, reason };
  }

  async function pass(
    rows: readonly FirewallRow[],
    reasonAgainst: (row: FirewallRow) => string | undefined,
    write: (rows: readonly FirewallRow[]) => Promise<readonly RowFailure[]>,
  ): Promise<readonly RowFailure[]> {
    const heldBack: RowFailure[] = [];
    const open = rows.filter((row) => {
      const reason = reasonAgainst(row);
      if (reason !== undefined) heldBack.push(holdBack(row, reason));
      return reason === undefined;
    });
    return [...heldBack, ...(open.length === 0 ? [] : await write(open))];
  }

  return {
    table: {
      name: firewall.name,
      key: (row) => firewall.key(row),
      // Rows that did not change are the same objects: comparing their rules would cost more than all the rest.
      equal: (actual, desired) => actual === desired || firewall.equal(actual, desired),
      list: () => firewall.list(),
      put: (rows) =>
        pass(
          rows,
          (row) => closed.get(row.family),
          async (open) => {
            // Until it is known to have gone well; a throw leaves it so.
            for (const { family } of open) behind.add(family);
            const failures = await firewall.put(open);
            const refused = new Set(failures.map(({ key }) => key));
            const refusing = new Set(
              open.filter((row) => refused.has(firewall.key(row))).map(({ family }) => family),
            );
            for (const { family } of open) if (!refusing.has(family)) behind.delete(family);
            return failures;
          },
        ),
      remove: (rows) =>
        pass(
          rows,
          ({ family }) =>
            behind.has(family) ? (closed.get(family) ?? "newer rules were refused") : closed.get(family),
          (open) => firewall.remove(open),
        ),
    },
    reset() {
      for (const collection of [closed, behind, keys, reasons]) collection.clear();
    },
    close: (family, reason) => void closed.set(family, reason),
    giveUp() {
      for (const family of FAMILIES) behind.add(family);
    },
    isBehind: (family) => behind.has(family),
    withheld: () => ({ keys, reasons }),
  };
}
