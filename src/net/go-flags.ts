// Parses a command line as Go's `flag` package does, with values from the environment. Pure.
import { InvalidValueError } from "./errors.ts";

interface FlagBase {
  readonly name: string;
  /** Heading in `--help`. */
  readonly group: string;
  /** One sentence for `--help`, without the default. */
  readonly help: string;
  /** Never shown in a log. */
  readonly secret?: boolean;
  /** False: has no environment form. */
  readonly fromEnvironment?: boolean;
}

/** One flag. `list` flags may be repeated; of the others the last one counts, as in Go. */
export type FlagSpec =
  | (FlagBase & { readonly kind: "text"; readonly default: string; readonly valueName?: string })
  | (FlagBase & { readonly kind: "list"; readonly default: readonly string[]; readonly valueName?: string })
  | (FlagBase & { readonly kind: "integer"; readonly default: number; readonly valueName?: string })
  | (FlagBase & { readonly kind: "boolean"; readonly default: boolean });

export type FlagValue = string | number | boolean | readonly string[];

export interface ParsedFlags {
  /** Flags that were given on the command line or in the environment. */
  readonly given: ReadonlyMap<string, FlagValue>;
  /** Words that are no flags, in order. */
  readonly positionals: readonly string[];
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface ParseFlagsOptions {
  readonly specs: readonly FlagSpec[];
  /** Words after the program's name. */
  readonly argv: readonly string[];
  readonly env: Environment;
  /** `FLANNELD_` */
  readonly envPrefix: string;
  /** Accept flags after positionals too, which Go's `flag` does not: for commands such as `config get`. */
  readonly interspersed?: boolean;
  /** Says more about an unknown flag than its nearest neighbour, e.g. that it was removed. */
  readonly explainUnknown?: (name: string) => string | undefined;
}

/** Parses words, then fills flags that were not given from the environment. @throws {InvalidValueError} */
export function parseFlags(options: ParseFlagsOptions): ParsedFlags {
  const specs = new Map(options.specs.map((spec) => [spec.name, spec]));
  const given = new Map<string, FlagValue>();
  const positionals: string[] = [];
  const words = [...options.argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "--") break;
    // An empty word is what `"$OPTIONS"` leaves behind in shells and units; it means nothing.
    if (word === "") continue;
    if (!isFlagWord(word)) {
      positionals.push(word);
      if (options.interspersed) continue;
      break;
    }
    const { name, value } = splitFlagWord(word);
    const spec = specs.get(name);
    if (spec === undefined) throw new InvalidValueError(describeUnknownFlag(name, options));
    remember(given, spec, value ?? nextValue(spec, words, specs), `--${name}`);
  }
  positionals.push(...words.filter((word) => word !== ""));
  fillFromEnvironment(given, options);
  return { given, positionals };
}

/** The environment form of a flag: `etcd-prefix` is `FLANNELD_ETCD_PREFIX`. */
export function environmentName(prefix: string, flag: string): string {
  return prefix + flag.toUpperCase().replaceAll("-", "_");
}

function isFlagWord(word: string): boolean {
  return word.length > 1 && word.startsWith("-");
}

function splitFlagWord(word: string): { name: string; value: string | undefined } {
  const body = word.slice(word.startsWith("--") ? 2 : 1);
  if (body === "" || body.startsWith("-") || body.startsWith("=")) {
    throw new InvalidValueError(`"${word}" is not a flag; flags look like --name or --name=value`);
  }
  const equals = body.indexOf("=");
  return equals < 0
    ? { name: body, value: undefined }
    : { name: body.slice(0, equals), value: body.slice(equals + 1) };
}

function nextValue(spec: FlagSpec, words: string[], specs: ReadonlyMap<string, FlagSpec>): string {
  if (spec.kind === "boolean") return "true";
  const next = words.shift();
  if (next === undefined) throw new InvalidValueError(`--${spec.name} needs a value: --${spec.name}=VALUE`);
  // Go would take the flag as the value; nobody means that.
  if (isFlagWord(next) && specs.has(next.replace(/^--?/, "").replace(/=.*$/s, ""))) {
    throw new InvalidValueError(
      `--${spec.name} needs a value, but the flag ${next} follows: write --${spec.name}=VALUE`,
    );
  }
  return next;
}

function remember(given: Map<string, FlagValue>, spec: FlagSpec, text: string, where: string): void {
  if (spec.kind === "list") {
    const before = given.get(spec.name);
    given.set(spec.name, [...(Array.isArray(before) ? (before as readonly string[]) : []), text]);
    return;
  }
  given.set(spec.name, parseFlagValue(spec, text, where));
}

function parseFlagValue(
  spec: Exclude<FlagSpec, { kind: "list" }>,
  text: string,
  where: string,
): string | number | boolean {
  switch (spec.kind) {
    case "text":
      return text;
    case "integer": {
      const value = parseGoInteger(text);
      if (value === undefined)
        throw new InvalidValueError(`${where}: "${text}" is not a whole number (default ${spec.default})`);
      return value;
    }
    case "boolean": {
      const value = parseGoBoolean(text);
      if (value === undefined)
        throw new InvalidValueError(
          `${where}: "${text}" is neither true nor false (default ${spec.default})`,
        );
      return value;
    }
  }
}

/** The words of Go's strconv.ParseBool. */
export function parseGoBoolean(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

/** Go's strconv.ParseInt with base 0: decimal, 0x, 0o, 0b, and a leading 0 for octal. */
export function parseGoInteger(text: string): number | undefined {
  const match = /^([+-]?)(0x[0-9a-f]+|0o?[0-7]+|0b[01]+|0|[1-9]\d*)$/i.exec(text);
  if (!match) return undefined;
  const [, sign, digits = ""] = match;
  const value = /^0[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
  if (!Number.isSafeInteger(value)) return undefined;
  return sign === "-" && value !== 0 ? -value : value;
}

function fillFromEnvironment(given: Map<string, FlagValue>, options: ParseFlagsOptions): void {
  for (const spec of options.specs) {
    if (given.has(spec.name) || spec.fromEnvironment === false) continue;
    const variable = environmentName(options.envPrefix, spec.name);
    const text = options.env[variable];
    if (text === undefined || text === "") continue;
    remember(given, spec, text, `environment variable ${variable}`);
  }
}

function describeUnknownFlag(name: string, { specs, explainUnknown }: ParseFlagsOptions): string {
  const explained = explainUnknown?.(name);
  if (explained !== undefined) return `unknown flag --${name}: ${explained}`;
  const near = nearestWord(
    name,
    specs.map((spec) => spec.name),
  );
  return `unknown flag --${name}${near === undefined ? "" : `; did you mean --${near}?`} (--help lists all flags)`;
}

/** The candidate with the least edits, or undefined if none is alike (more than half of the letters differ). */
export function nearestWord(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  if (best !== undefined && bestDistance <= Math.max(2, Math.max(word.length, best.length) / 2)) return best;
  return candidates.find((candidate) => candidate.startsWith(word) || word.startsWith(candidate));
}

/** Levenshtein distance. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitute, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
