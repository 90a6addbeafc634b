// Text of iptables-save as tables, chains and rules.
import { readLine, TEXT_OPTIONS } from "./tokens-codec.ts";

export interface SavedTable {
  /** Rules per chain in order, each without its `-A CHAIN` and counters. Chains in the order listed. */
  readonly chains: ReadonlyMap<string, readonly (readonly string[])[]>;
}

export interface SavedRules {
  readonly tables: ReadonlyMap<string, SavedTable>;
  /** Tables that exist but that this tool cannot express: somebody wrote to them with `nft` itself. */
  readonly unreadable: ReadonlySet<string>;
}

/** iptables-nft-save, in place of a table: "# Table `filter' is incompatible, use 'nft' tool." */
const UNREADABLE_TABLE = /^# Table `([^']+)' is incompatible/;

/** `[packets:bytes]` before a rule, with `iptables-save -c`. */
const COUNTERS = /^\[\d+:\d+\]$/;

/** Parses the output of iptables-save or ip6tables-save, in either mode. Unknown lines are skipped. */
export function parseIptablesSave(text: string): SavedRules {
  const tables = new Map<string, { chains: Map<string, (readonly string[])[]> }>();
  const unreadable = new Set<string>();
  let chains = new Map<string, (readonly string[])[]>();
  let at = 0;
  while (at < text.length) {
    if (text[at] === "#") {
      const newline = text.indexOf("\n", at);
      const end = newline < 0 ? text.length : newline;
      const table = UNREADABLE_TABLE.exec(text.slice(at, end))?.[1];
      if (table !== undefined) unreadable.add(table);
      at = end + 1;
      continue;
    }
    const line = readLine(text, at);
    at = line.end;
    const [first = ""] = line.tokens;
    if (first.startsWith("*")) {
      chains = new Map();
      tables.set(first.slice(1), { chains });
    } else if (first.startsWith(":")) {
      chains.set(first.slice(1), []);
    } else {
      addRule(chains, line.tokens);
    }
  }
  return { tables, unreadable };
}

function addRule(chains: Map<string, (readonly string[])[]>, tokens: readonly string[]): void {
  const start = COUNTERS.test(tokens[0] ?? "") ? 1 : 0;
  const chain = tokens[start + 1];
  if (tokens[start] !== "-A" || chain === undefined) return;
  const rules = chains.get(chain);
  const rule = tokens.slice(start + 2);
  if (rules === undefined) chains.set(chain, [rule]);
  else rules.push(rule);
}

const JUMPS: ReadonlySet<string> = new Set(["-j", "-g", "--jump", "--goto"]);

/** The chain that a rule jumps or goes to, or its built-in target; undefined for a rule that only counts. */
export function targetOf(rule: readonly string[]): string | undefined {
  for (let index = rule.length - 2; index >= 0; index -= 1) {
    if (JUMPS.has(rule[index] ?? "") && !TEXT_OPTIONS.has(rule[index - 1] ?? "")) return rule[index + 1];
  }
  return undefined;
}
