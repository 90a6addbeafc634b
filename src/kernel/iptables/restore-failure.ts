// What a failed iptables-restore meant: the tool's words without decoration, and the rows it blames; pure.
import type { FirewallRow } from "../../host/state.ts";
import { targetsOfRow } from "./restore-render.ts";
import type { RestoreInput } from "./restore-render.ts";

export interface RestoreFailure {
  readonly reason: string;
  /** Rows that the tool points at; empty when it does not say. */
  readonly blamed: ReadonlySet<FirewallRow>;
  /** No row is at fault: the lock is taken, or the tool may not or cannot do anything at all. */
  readonly systemic: boolean;
  /** What was to be deleted is not there: somebody else was faster. */
  readonly stale: boolean;
}

/** Lines by which both modes name the input line: "Error occurred at line: 3", "line 4: RULE_APPEND failed", "line 2 failed". */
const LINE_NUMBER = /(?:\bat line: |\bline )(\d+)/;
/** iptables-nft checks targets at COMMIT: "Chain 'X' does not exist". */
const MISSING_CHAIN = /Chain '([^']+)' does not exist/;
const SYSTEMIC =
  /xtables lock|Permission denied|must be root|Operation not permitted|Cannot allocate|Protocol not supported/i;

export function explainRestoreFailure(
  stderr: string,
  rows: readonly FirewallRow[],
  input: RestoreInput,
): RestoreFailure {
  const lineNumber = Number(LINE_NUMBER.exec(stderr)?.[1] ?? 0);
  const line = input.text.split("\n")[lineNumber - 1];
  const missing = MISSING_CHAIN.exec(stderr)?.[1];
  const blamed = new Set(
    missing === undefined
      ? (input.rowsOfLine[lineNumber - 1] ?? [])
      : rows.filter((row) => targetsOfRow(row).includes(missing)),
  );
  const said = toolWords(stderr);
  const reason =
    missing === undefined && line !== undefined && line !== "COMMIT" ? `${said} (${line})` : said;
  return { reason, blamed, systemic: SYSTEMIC.test(stderr), stale: line?.startsWith("-D ") === true };
}

/** Drops the program's name and version, the usage hint and the line number, which means nothing to a reader. */
function toolWords(stderr: string): string {
  const words = stderr
    .split("\n")
    .map((line) => line.replace(/^ip6?tables[\w-]*( v[\d.]+( \([\w-]+\))?)?: */, "").trim())
    .filter((line) => line !== "" && !/^(Error occurred at line|Try `|# )/.test(line))
    .map((line) => line.replace(/^line \d+: /, ""));
  const text = words.join("; ") || "no message";
  return /^line \d+ failed\.?$/.test(text)
    ? "refused by the kernel, which gives no reason in legacy mode"
    : text;
}

/** The refusal to touch tables that cannot be read: their rules would be added again with every pass, unseen. */
export function unreadableTables(
  rows: readonly FirewallRow[],
  unreadable: ReadonlySet<string>,
): RestoreFailure | undefined {
  const blamed = new Set(rows.filter(({ table }) => unreadable.has(table)));
  const [row] = blamed;
  if (row === undefined) return undefined;
  const table = `${row.family === 4 ? "ip" : "ip6"} ${row.table}`;
  const reason =
    `iptables cannot read the nftables table "${table}", since another program has put rules into it with nft; ` +
    `move those into a table of their own (see: nft list table ${table})`;
  return { reason, blamed, systemic: false, stale: false };
}
