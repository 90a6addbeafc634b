// Holds back the firewall rows of an address family whose sets are not ready, so that the last good rules stay in force.
import type { Family } from "../net/ip.ts";
import { FAMILIES } from "../net/ip.ts";
import type { ChangeFailures, KernelTable, RowFailure } from "./kernel-table.ts";
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

  /** The rows that pass, and failures of the others. */
  function sift(
    rows: readonly FirewallRow[],
    reasonAgainst: (row: FirewallRow) => string | undefined,
  ): { readonly open: readonly FirewallRow[]; readonly heldBack: readonly RowFailure[] } {
    const heldBack: RowFailure[] = [];
    const open = rows.filter((row) => {
      const reason = reasonAgainst(row);
      if (reason !== undefined) heldBack.push(holdBack(row, reason));
      return reason === undefined;
    });
    return { open, heldBack };
  }
  const whyClosed = (row: FirewallRow): string | undefined => closed.get(row.family);
  const whyKept = (row: FirewallRow): string | undefined =>
    whyClosed(row) ?? (behind.has(row.family) ? "newer rules were refused" : undefined);

  /** Families are behind until it is known to have gone well; a throw leaves them so. */
  async function putOpen<Failures>(
    open: readonly FirewallRow[],
    put: () => Promise<Failures>,
    failuresOf: (failures: Failures) => readonly RowFailure[],
  ): Promise<Failures> {
    for (const { family } of open) behind.add(family);
    const failures = await put();
    const refused = new Set(failuresOf(failures).map(({ key }) => key));
    const refusing = new Set(
      open.filter((row) => refused.has(firewall.key(row))).map(({ family }) => family),
    );
    for (const { family } of open) if (!refusing.has(family)) behind.delete(family);
    return failures;
  }

  async function put(rows: readonly FirewallRow[]): Promise<readonly RowFailure[]> {
    const { open, heldBack } = sift(rows, whyClosed);
    if (open.length === 0) return heldBack;
    return [
      ...heldBack,
      ...(await putOpen(
        open,
        () => firewall.put(open),
        (failures) => failures,
      )),
    ];
  }

  async function remove(rows: readonly FirewallRow[]): Promise<readonly RowFailure[]> {
    const { open, heldBack } = sift(rows, whyKept);
    return open.length === 0 ? heldBack : [...heldBack, ...(await firewall.remove(open))];
  }

  async function change(
    puts: readonly FirewallRow[],
    removals: readonly FirewallRow[],
  ): Promise<ChangeFailures> {
    const [coming, going] = [sift(puts, whyClosed), sift(removals, whyKept)];
    if (firewall.change === undefined || coming.open.length === 0 || going.open.length === 0) {
      const refused = await put(puts);
      return { put: refused, remove: await remove(removals) };
    }
    const atOnce = firewall.change.bind(firewall);
    const failures = await putOpen(
      coming.open,
      () => atOnce(coming.open, going.open),
      (all) => all.put,
    );
    return {
      put: [...coming.heldBack, ...failures.put],
      remove: [...going.heldBack, ...failures.remove],
    };
  }

  return {
    table: {
      name: firewall.name,
      key: (row) => firewall.key(row),
      // Rows that did not change are the same objects: comparing their rules would cost more than all the rest.
      equal: (actual, desired) => actual === desired || firewall.equal(actual, desired),
      list: () => firewall.list(),
      put,
      remove,
      change,
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
