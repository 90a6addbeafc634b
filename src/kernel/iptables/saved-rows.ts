// Which of the saved rules are ours, as rows; pure. Also what keys rows and when a listed row is right.
import type { FirewallRow, FirewallTable, Jump } from "../../host/state.ts";
import type { Family } from "../../net/ip.ts";
import { canonicalRule, rulesEqual } from "./canonical-rule.ts";
import { targetOf } from "./save-codec.ts";
import type { SavedRules } from "./save-codec.ts";

export const FIREWALL_TABLES: readonly FirewallTable[] = ["nat", "filter"];

/** Chains by prefix, and rules of other chains that lead to one. Built-in targets never have the prefix. */
export function rowsOfSave(family: Family, saved: SavedRules, chainPrefix: string): readonly FirewallRow[] {
  const rows: FirewallRow[] = [];
  for (const table of FIREWALL_TABLES) {
    for (const [name, rules] of saved.tables.get(table)?.chains ?? []) {
      if (name.startsWith(chainPrefix)) rows.push({ kind: "chain", family, table, name, rules });
      else rows.push(...jumpsOfChain(family, table, name, rules, chainPrefix));
    }
  }
  return rows;
}

function jumpsOfChain(
  family: Family,
  table: FirewallTable,
  from: string,
  rules: readonly (readonly string[])[],
  chainPrefix: string,
): readonly Jump[] {
  const jumps = new Map<string, Jump>();
  for (const [index, rule] of rules.entries()) {
    if (targetOf(rule)?.startsWith(chainPrefix) !== true) continue;
    const text = canonicalRule(family, rule);
    const position = jumps.has(text) ? "misplaced" : index === 0 ? "first" : "append";
    jumps.set(text, { kind: "jump", family, table, from, position, rule });
  }
  return [...jumps.values()];
}

/** A chain by its name, a jump by where it is and what it says; both readable, since failures are reported under it. */
export function firewallKey(row: FirewallRow): string {
  const place = `ipv${row.family} ${row.table}`;
  return row.kind === "chain"
    ? `${place} chain ${row.name}`
    : `${place} ${row.from} ${canonicalRule(row.family, row.rule)}`;
}

export function firewallRowsEqual(actual: FirewallRow, desired: FirewallRow): boolean {
  if (actual.family !== desired.family || actual.table !== desired.table) return false;
  if (actual.kind === "chain") {
    return (
      desired.kind === "chain" &&
      actual.name === desired.name &&
      actual.rules.length === desired.rules.length &&
      actual.rules.every((rule, index) => rulesEqual(actual.family, rule, desired.rules[index] ?? []))
    );
  }
  return (
    desired.kind === "jump" &&
    actual.from === desired.from &&
    rulesEqual(actual.family, actual.rule, desired.rule) &&
    isRightPosition(actual.position, desired.position)
  );
}

/** An appended jump is right wherever others have put theirs since, so that two programs that append do not fight. */
function isRightPosition(actual: Jump["position"], desired: Jump["position"]): boolean {
  return actual !== "misplaced" && (desired !== "first" || actual === "first");
}
