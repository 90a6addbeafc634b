// One spelling for all the ways in which iptables can write the same rule, so that comparing rules is comparing text.
import type { Family } from "../../net/ip.ts";
import {
  addressPrefix,
  canonicalOption,
  defaultOptions,
  isEverything,
  OPTION_NAMES,
  protocolName,
} from "./rule-values.ts";
import type { Option } from "./rule-values.ts";
import { TEXT_OPTIONS } from "./tokens-codec.ts";

/** Options before any match: addresses, interfaces, protocol. */
const HEADER = "";
const HEADER_OPTIONS: ReadonlySet<string> = new Set(["-s", "-d", "-p", "-i", "-o", "-f"]);

/** Options that only the match of a protocol has. */
const PROTOCOL_OPTIONS: ReadonlySet<string> = new Set([
  "--dport",
  "--sport",
  "--syn",
  "--tcp-flags",
  "--icmp-type",
  "--icmpv6-type",
]);

/** A match (`-m NAME`), the target (`-j NAME`), or the header, with its options. */
interface Group {
  readonly title: string;
  readonly options: Option[];
}

const memo = new WeakMap<readonly string[], string>();

/**
 * Text that is equal for two rules exactly if they are the same rule. Order and spelling do not count where iptables does
 * not keep them: header options, place of the comment, order of matches, number bases, /32, names of options. Values of
 * matches not known here must be written as iptables-save prints them.
 */
export function canonicalRule(family: Family, rule: readonly string[]): string {
  const known = memo.get(rule);
  if (known !== undefined) return known;
  const text = canonicalText(family, rule);
  memo.set(rule, text);
  return text;
}

export function rulesEqual(family: Family, a: readonly string[], b: readonly string[]): boolean {
  if (a.length === b.length && a.every((token, index) => token === b[index])) return true;
  return canonicalRule(family, a) === canonicalRule(family, b);
}

function canonicalText(family: Family, rule: readonly string[]): string {
  const groups = readGroups(rule);
  const protocol = groups[0]?.options.find(({ name, negated }) => name === "-p" && !negated)?.values[0];
  const parts: string[][] = [];
  for (const { title, options } of groups) {
    const kept = [...options, ...defaultOptions(family, title, options)].flatMap(
      (option) =>
        (title === HEADER ? headerOption(family, option) : canonicalOption(title.slice(3), option)) ?? [],
    );
    // `-p tcp -m tcp` without an option says nothing that `-p tcp` does not, and iptables-nft drops it.
    if (kept.length === 0 && title === `-m ${matchName(protocol ?? "")}`) continue;
    parts.push([title, ...kept.map(optionText).sort()]);
  }
  const [header, ...rest] = parts.map((part) => part.join(" ").trim());
  return [header, ...rest.sort(byTargetLast)].join(" ").trim();
}

function optionText({ negated, name, values }: Option): string {
  return [...(negated ? ["!"] : []), name, ...values.map(valueText)].join(" ");
}

/** Values that could be taken for an option, or for two values, are quoted. */
function valueText(value: string): string {
  return /^[\w.:/,+=@%][\w.:/,+=@%-]*$/.test(value) ? value : JSON.stringify(value);
}

function byTargetLast(a: string, b: string): number {
  return Number(isTarget(a)) - Number(isTarget(b)) || (a < b ? -1 : Number(a > b));
}

function isTarget(group: string): boolean {
  return group.startsWith("-j ") || group.startsWith("-g ");
}

function readGroups(rule: readonly string[]): readonly Group[] {
  const header: Group = { title: HEADER, options: [] };
  const groups = [header];
  let current = header;
  let negated = false;
  let at = 0;
  while (at < rule.length) {
    const token = rule[at] ?? "";
    const name = OPTION_NAMES[token] ?? token;
    at += 1;
    if (name === "!") {
      negated = true;
    } else if (name === "-m" || name === "-j" || name === "-g") {
      const value = rule[at] ?? "";
      current = { title: `${name} ${valueText(name === "-m" ? matchName(value) : value)}`, options: [] };
      groups.push(current);
      at += 1;
    } else {
      const values = readValues(rule, at, name);
      at = values.end;
      const option = { name, negated: negated || values.negated, values: values.values };
      (HEADER_OPTIONS.has(name) ? header : ownerOf(name, groups, current, header)).options.push(option);
      negated = false;
    }
  }
  return groups;
}

/**
 * Options of the protocol's own match, which iptables loads by itself, may stand right after the header, and some also
 * after any other match: `-p tcp -m comment --comment x --dport 80`.
 */
function ownerOf(name: string, groups: Group[], current: Group, header: Group): Group {
  const protocol = header.options.find((option) => option.name === "-p")?.values[0];
  const isOwn = PROTOCOL_OPTIONS.has(name)
    ? current.title === `-m ${matchName(protocol ?? "")}`
    : current !== header;
  if (isOwn || protocol === undefined) return current;
  const title = `-m ${matchName(protocol)}`;
  let group = groups.find((candidate) => candidate.title === title);
  if (group === undefined) {
    group = { title, options: [] };
    groups.push(group);
  }
  return group;
}

/** Protocol and match differ in one name: `-p ipv6-icmp -m icmp6`. */
function matchName(name: string): string {
  const protocol = protocolName(name);
  return protocol === "ipv6-icmp" ? "icmp6" : protocol;
}

interface Values {
  readonly values: readonly string[];
  /** The old spelling of a negation: `--dport ! 80`. */
  readonly negated: boolean;
  readonly end: number;
}

function readValues(rule: readonly string[], start: number, option: string): Values {
  if (TEXT_OPTIONS.has(option))
    return { values: rule.slice(start, start + 1), negated: false, end: start + 1 };
  const negated = rule[start] === "!" && rule[start + 1]?.startsWith("-") === false;
  let end = negated ? start + 1 : start;
  const first = end;
  while (end < rule.length && rule[end] !== "!" && !rule[end]?.startsWith("-")) end += 1;
  return { values: rule.slice(first, end), negated, end };
}

function headerOption(family: Family, option: Option): Option | undefined {
  const [value = ""] = option.values;
  switch (option.name) {
    case "-s":
    case "-d": {
      const prefix = addressPrefix(family, value);
      return isEverything(prefix) && !option.negated ? undefined : { ...option, values: [prefix] };
    }
    case "-p": {
      const protocol = protocolName(value);
      return protocol === "all" && !option.negated ? undefined : { ...option, values: [protocol] };
    }
    case "-i":
    case "-o":
      return value === "+" && !option.negated ? undefined : option;
    default:
      return option;
  }
}
