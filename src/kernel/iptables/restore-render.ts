// The input of iptables-restore --noflush that turns what is there into what is wanted, for a set of rows.
import type { Chain, FirewallRow, FirewallTable, Jump } from "../../host/state.ts";
import { canonicalRule } from "./canonical-rule.ts";
import type { SavedRules } from "./save-codec.ts";
import { targetOf } from "./save-codec.ts";
import { formatTokens, quoteToken } from "./tokens-codec.ts";

/** What iptables-restore is to read, and which row each line is there for. */
export interface RestoreInput {
  readonly text: string;
  /** Rows per line, the first line first; a line that serves a whole table names all of its rows. */
  readonly rowsOfLine: readonly (readonly FirewallRow[])[];
}

interface Lines {
  readonly text: string[];
  readonly rows: (readonly FirewallRow[])[];
}

/**
 * Renders the creation or replacement of `rows`, all of one family. Chains are declared (which flushes them), then filled,
 * then jumps are put in place: one transaction per table. `actual` is needed only if there are jumps among the rows.
 * @throws {InvalidValueError} if a token cannot be expressed
 */
export function renderPut(rows: readonly FirewallRow[], actual: SavedRules | undefined): RestoreInput {
  return renderTables(rows, (tableRows, lines) => {
    const chains = tableRows.filter((row) => row.kind === "chain");
    for (const chain of chains) addLine(lines, declareChain(chain.name), chain);
    for (const chain of chains) addRules(lines, chain);
    const jumps = tableRows.filter((row) => row.kind === "jump");
    const moved = jumps.filter((jump) => !isInPlace(jump, copiesOf(actual, jump)));
    for (const jump of moved) addDeletions(lines, jump, actual);
    for (const jump of moved) {
      const where =
        jump.position === "first" ? `-I ${quoteToken(jump.from)} 1` : `-A ${quoteToken(jump.from)}`;
      addLine(lines, `${where} ${formatTokens(jump.rule)}`, jump);
    }
  });
}

/** Renders the removal of `rows`, all of one family: every copy of a jump, then the chains. Absent ones do no harm. */
export function renderRemove(rows: readonly FirewallRow[], actual: SavedRules): RestoreInput {
  return renderTables(rows, (tableRows, lines) => {
    for (const row of tableRows) {
      if (row.kind === "jump") addDeletions(lines, row, actual);
    }
    const chains = tableRows.filter(
      (row) => row.kind === "chain" && actual.tables.get(row.table)?.chains.has(row.name) === true,
    );
    for (const chain of chains) addLine(lines, declareChain(chainName(chain)), chain);
    for (const chain of chains) addLine(lines, `-X ${chainName(chain)}`, chain);
  });
}

/**
 * Renders the creation or replacement of chains and the removal of others, that no rule leads to when the former are in
 * place. Needs no look at what is there: a chain that has gone already is made and removed.
 */
export function renderExchange(put: readonly Chain[], remove: readonly Chain[]): RestoreInput {
  const going = new Set<FirewallRow>(remove);
  return renderTables([...put, ...remove], (tableRows, lines) => {
    const chains = tableRows.filter((row) => row.kind === "chain");
    for (const chain of chains) addLine(lines, declareChain(chain.name), chain);
    for (const chain of chains) if (!going.has(chain)) addRules(lines, chain);
    for (const chain of chains) if (going.has(chain)) addLine(lines, `-X ${chain.name}`, chain);
  });
}

/** Callees before callers, so that the first half of a list never needs the second. */
export function sortByDependency(rows: readonly FirewallRow[]): readonly FirewallRow[] {
  const chains = new Map<string, FirewallRow>();
  for (const row of rows) if (row.kind === "chain") chains.set(`${row.table} ${row.name}`, row);
  const sorted = new Set<FirewallRow>();
  const visiting = new Set<FirewallRow>();
  const visit = (row: FirewallRow): void => {
    if (sorted.has(row) || visiting.has(row)) return;
    visiting.add(row);
    for (const target of targetsOfRow(row)) {
      const callee = chains.get(`${row.table} ${target}`);
      if (callee !== undefined) visit(callee);
    }
    sorted.add(row);
  };
  for (const row of rows) if (row.kind === "chain") visit(row);
  for (const row of rows) visit(row);
  return [...sorted];
}

/** Chains and built-in targets that a row's rules lead to. */
export function targetsOfRow(row: FirewallRow): readonly string[] {
  const rules = row.kind === "chain" ? row.rules : [row.rule];
  return rules.flatMap((rule) => targetOf(rule) ?? []);
}

function renderTables(
  rows: readonly FirewallRow[],
  render: (tableRows: readonly FirewallRow[], lines: Lines) => void,
): RestoreInput {
  const tables = new Map<FirewallTable, FirewallRow[]>();
  for (const row of rows) {
    const tableRows = tables.get(row.table);
    if (tableRows === undefined) tables.set(row.table, [row]);
    else tableRows.push(row);
  }
  const text: string[] = [];
  const rowsOfLine: (readonly FirewallRow[])[] = [];
  for (const [table, tableRows] of tables) {
    const lines: Lines = { text: [], rows: [] };
    render(tableRows, lines);
    if (lines.text.length === 0) continue;
    text.push(`*${table}`, ...lines.text, "COMMIT");
    // A refusal of the COMMIT does not say which row it means, a refusal of the table means all.
    rowsOfLine.push(tableRows, ...lines.rows, []);
  }
  return { text: text.map((line) => `${line}\n`).join(""), rowsOfLine };
}

function addRules(lines: Lines, chain: Chain): void {
  for (const rule of chain.rules) addLine(lines, `-A ${chain.name} ${formatTokens(rule)}`, chain);
}

function addLine(lines: Lines, line: string, row: FirewallRow): void {
  lines.text.push(line);
  lines.rows.push([row]);
}

/** Creates the chain or, with --noflush too, empties it. */
function declareChain(name: string): string {
  return `:${name} - [0:0]`;
}

function chainName(row: FirewallRow): string {
  return row.kind === "chain" ? row.name : row.from;
}

interface Copy {
  /** Place in the chain, 0 is first. */
  readonly index: number;
  /** As listed, which is how it must be deleted. */
  readonly rule: readonly string[];
}

function copiesOf(actual: SavedRules | undefined, jump: Jump): readonly Copy[] {
  const rules = actual?.tables.get(jump.table)?.chains.get(jump.from) ?? [];
  const target = targetOf(jump.rule);
  const wanted = canonicalRule(jump.family, jump.rule);
  return rules.flatMap((rule, index) =>
    targetOf(rule) === target && canonicalRule(jump.family, rule) === wanted ? [{ index, rule }] : [],
  );
}

function isInPlace(jump: Jump, copies: readonly Copy[]): boolean {
  return copies.length === 1 && (jump.position !== "first" || copies[0]?.index === 0);
}

function addDeletions(lines: Lines, jump: Jump, actual: SavedRules | undefined): void {
  for (const { rule } of copiesOf(actual, jump)) {
    addLine(lines, `-D ${quoteToken(jump.from)} ${formatTokens(rule)}`, jump);
  }
}
