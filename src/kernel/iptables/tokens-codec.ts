// Rule arguments as text: quoting for iptables-restore, splitting lines of iptables-save, and what must not be written.
import { InvalidValueError } from "../../net/errors.ts";

/** One token fills `char buffer[1024]` in iptables' xshared.c; one byte is the terminator. */
const MAX_TOKEN_BYTES = 1023;

/** iptables-restore reads lines into `char buffer[10240]` and takes the rest for a new line. */
export const MAX_LINE_BYTES = 10_239;

/** Characters that need no quotes in iptables-restore. It treats only blanks and double quotes specially. */
const PLAIN_TOKEN = /^[\w.:,/+!=@%-]+$/;

// oxlint-disable-next-line no-control-regex -- control characters are the very thing that is refused
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f]/;

/** An option of a match or target: `-j`, `--ctstate`. Anything else with a leading dash is a value out of place. */
const OPTION = /^(-[a-zA-Z]|--[a-z\d][a-z\d-]*)$/;

/** Short options that belong into a rule; the others (-A, -F, -t, ...) are commands or change the table. */
const RULE_OPTIONS = new Set(["-s", "-d", "-p", "-i", "-o", "-f", "-m", "-j", "-g"]);

/** Long options of iptables that are not part of a rule (man iptables, COMMANDS and OTHER OPTIONS). */
const COMMANDS = [
  "--append", "--check", "--delete", "--delete-chain", "--exact", "--flush", "--help", "--insert", "--list",
  "--list-rules", "--modprobe", "--new-chain", "--policy", "--rename-chain", "--replace", "--set-counters", "--table",
  "--verbose", "--version", "--wait", "--wait-interval", "--zero",
]; // prettier-ignore

/** Options whose one value is free text, which may look like anything. */
export const TEXT_OPTIONS: ReadonlySet<string> = new Set([
  "--comment",
  "--log-prefix",
  "--nflog-prefix",
  "--string",
  "--hex-string",
]);

/** The token as iptables-restore reads it back, quoted where needed. @throws {InvalidValueError} if it cannot be expressed */
export function quoteToken(token: string): string {
  if (PLAIN_TOKEN.test(token)) return token;
  const problem = tokenProblem(token);
  if (problem !== undefined) throw new InvalidValueError(problem);
  return `"${token.replace(/["\\]/g, "\\$&")}"`;
}

/** Tokens joined to one line. @throws {InvalidValueError} if a token cannot be expressed */
export function formatTokens(tokens: readonly string[]): string {
  return tokens.map(quoteToken).join(" ");
}

function tokenProblem(token: string): string | undefined {
  if (token === "") return "a firewall rule has an empty argument";
  if (CONTROL_CHARACTER.test(token))
    return `firewall rule argument ${JSON.stringify(token)} has a control character, which iptables-restore cannot carry`;
  if (!token.isWellFormed()) return `firewall rule argument ${JSON.stringify(token)} is not valid Unicode`;
  if (Buffer.byteLength(token) > MAX_TOKEN_BYTES)
    return `firewall rule argument "${token.slice(0, 40)}..." has more than ${MAX_TOKEN_BYTES} bytes`;
  return undefined;
}

/**
 * Why the arguments cannot be written as one rule, or undefined. Values can come from anyone who may create an object in
 * the cluster, so nothing that iptables could read as a command or as another option passes as a value.
 */
export function ruleProblem(rule: readonly string[]): string | undefined {
  let bytes = 0;
  for (const [index, token] of rule.entries()) {
    const previous = rule[index - 1] ?? "";
    const problem = tokenProblem(token) ?? optionProblem(token, previous);
    if (problem !== undefined) return problem;
    bytes += Buffer.byteLength(quoteToken(token)) + 1;
  }
  // Room for "-A CHAIN " with a chain name of 28 bytes.
  if (bytes > MAX_LINE_BYTES - 64)
    return `a firewall rule has ${bytes} bytes; iptables-restore takes lines of 10 KiB`;
  return undefined;
}

function optionProblem(token: string, previous: string): string | undefined {
  if (TEXT_OPTIONS.has(previous)) {
    if (token.startsWith("-") || token === "!")
      return `the text ${JSON.stringify(token)} after ${previous} must not begin with a dash or be "!"`;
    return undefined;
  }
  if ((previous === "-s" || previous === "-d") && !/^[\da-fA-F.:]+(\/[\da-fA-F.:]+)?$/.test(token))
    return `${JSON.stringify(token)} after ${previous} is not one address or prefix`;
  if (!token.startsWith("-")) return undefined;
  if (!OPTION.test(token))
    return `firewall rule argument ${JSON.stringify(token)} begins with a dash but is no option`;
  const command = token.startsWith("--")
    ? COMMANDS.some((name) => name.startsWith(token)) && !RULE_LONG_OPTIONS.has(token)
    : !RULE_OPTIONS.has(token);
  return command
    ? `firewall rule argument "${token}" is a command of iptables, not part of a rule`
    : undefined;
}

/** Options of matches and targets that are also the beginning of a command's name. */
const RULE_LONG_OPTIONS = new Set(["--set", "--mode"]);

export interface Line {
  readonly tokens: readonly string[];
  /** Index behind the line's newline. */
  readonly end: number;
}

/**
 * Reads one line of iptables-save at `start`. A quote opens only at the start of a token (xtables_save_string), where a
 * backslash escapes; quoted text may contain newlines, which iptables-save does not escape.
 */
export function readLine(text: string, start: number): Line {
  const newline = text.indexOf("\n", start);
  const end = newline < 0 ? text.length : newline;
  const quote = text.indexOf('"', start);
  if (quote < 0 || quote > end) {
    return { tokens: text.slice(start, end).split(" ").filter(Boolean), end: end + 1 };
  }
  const tokens: string[] = [];
  let at = start;
  while (at < text.length && text[at] !== "\n") {
    if (text[at] === " ") {
      at += 1;
      continue;
    }
    const read = text[at] === '"' ? readQuoted(text, at) : readPlain(text, at);
    tokens.push(read.token);
    at = read.end;
  }
  return { tokens, end: at + 1 };
}

function readPlain(text: string, start: number): { token: string; end: number } {
  let end = start;
  while (end < text.length && text[end] !== " " && text[end] !== "\n") end += 1;
  return { token: text.slice(start, end), end };
}

function readQuoted(text: string, start: number): { token: string; end: number } {
  let token = "";
  let at = start + 1;
  while (at < text.length && text[at] !== '"') {
    if (text[at] === "\\" && at + 1 < text.length) at += 1;
    token += text[at];
    at += 1;
  }
  return { token, end: at + 1 };
}
