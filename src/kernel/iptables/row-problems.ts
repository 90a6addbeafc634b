// What is wrong with a row before anyone asks the kernel; pure.
import type { RowFailure } from "../../host/kernel-table.ts";
import type { FirewallRow, Jump } from "../../host/state.ts";
import { targetOf } from "./save-codec.ts";
import type { SavedRules } from "./save-codec.ts";
import { firewallKey } from "./saved-rows.ts";
import { ruleProblem } from "./tokens-codec.ts";

/** XT_EXTENSION_MAXNAMELEN - 1. */
const MAX_CHAIN_NAME_LENGTH = 28;
const CHAIN_NAME = /^[A-Za-z_][\w.-]*$/;

/** The failures of the rows that `problemOf` objects to. */
export function failRows(
  rows: readonly FirewallRow[],
  problemOf: (row: FirewallRow) => string | undefined,
): readonly RowFailure[] {
  return rows.flatMap((row) => {
    const reason = problemOf(row);
    return reason === undefined ? [] : [{ key: firewallKey(row), reason }];
  });
}

/** Why the row cannot be written, or would not be recognised as ours once it is. */
export function putProblem(
  row: FirewallRow,
  batch: readonly FirewallRow[],
  chainPrefix: string,
): string | undefined {
  const name = row.kind === "chain" ? row.name : row.from;
  if (!CHAIN_NAME.test(name) || name.length > MAX_CHAIN_NAME_LENGTH) {
    return `${JSON.stringify(name)} cannot be a chain's name: letters, digits, "-", "_", ".", at most ${MAX_CHAIN_NAME_LENGTH}`;
  }
  if (row.kind === "chain") {
    if (!name.startsWith(chainPrefix))
      return `chain ${name} is not ours: its name does not begin with ${chainPrefix}`;
    return row.rules.map(ruleProblem).find((problem) => problem !== undefined);
  }
  return ruleProblem(row.rule) ?? jumpProblem(row, batch, chainPrefix);
}

function jumpProblem(jump: Jump, batch: readonly FirewallRow[], chainPrefix: string): string | undefined {
  if (jump.from.startsWith(chainPrefix)) return `${jump.from} is ours: put the rule into its chain row`;
  if (targetOf(jump.rule)?.startsWith(chainPrefix) !== true)
    return `a rule in ${jump.from} must lead to a chain of ours (-j ${chainPrefix}...), or it is not recognised again`;
  if (jump.position !== "first") return undefined;
  const winner = batch.find(
    (other) =>
      other.kind === "jump" &&
      other.position === "first" &&
      other.table === jump.table &&
      other.from === jump.from,
  );
  if (winner === undefined || winner === jump) return undefined;
  return `only one rule can be first in ${jump.from}; ${firewallKey(winner)} wants to be, too`;
}

/** Why the chain cannot be removed: a rule that stays leads to it. */
export function removeProblem(
  row: FirewallRow,
  batch: readonly FirewallRow[],
  actual: SavedRules,
): string | undefined {
  if (row.kind === "jump") return undefined;
  const removed = new Set(batch.map(firewallKey));
  for (const [name, rules] of actual.tables.get(row.table)?.chains ?? []) {
    if (removed.has(firewallKey({ ...row, name }))) continue;
    const user = rules.find(
      (rule) =>
        targetOf(rule) === row.name &&
        !removed.has(
          firewallKey({
            kind: "jump",
            family: row.family,
            table: row.table,
            from: name,
            position: "append",
            rule,
          }),
        ),
    );
    if (user !== undefined) return `still used in ${name}: ${user.join(" ")}`;
  }
  return undefined;
}
