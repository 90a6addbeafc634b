// JSON as Go's encoding/json reads it: keys match in any case, the last one wins; typed readers with helpful errors.
import { InvalidValueError } from "./errors.ts";

/** A JSON object whose keys are unique also when case is ignored, as `parseGoJson` makes them. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Go folds letter case, and two further characters fold to ASCII letters (the Kelvin sign, which `toLowerCase` knows, and
 * the long s): encoding/json, foldName.
 */
function foldKey(key: string): string {
  return key.toLowerCase().replaceAll("\u017f", "s");
}

/** Deeper nesting is nobody's configuration; the limit keeps the recursion below the stack's end (Go stops at 10,000). */
const MAX_DEPTH = 200;

/** Tokens of a text that is known to be JSON. Between them lies only white space. */
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/**
 * Parses JSON text. Of keys that differ only in case, the last in document order stays, as in Go, where all of them set
 * the same field. `JSON.parse` cannot tell: `{"A":1,"a":2,"A":3}` loses the position of the last one.
 * @throws {InvalidValueError} on text that is not JSON
 */
export function parseGoJson(text: string): unknown {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new InvalidValueError(`not valid JSON: ${(error as SyntaxError).message}`, { cause: error });
  }
  const tokens = text.match(TOKEN) ?? [];
  let position = 0;

  const readValue = (depth: number): unknown => {
    if (depth > MAX_DEPTH) throw new InvalidValueError(`JSON is nested more than ${MAX_DEPTH} levels deep`);
    const token = tokens[position++];
    if (token === "{") return readObject(depth + 1);
    if (token === "[") return readArray(depth + 1);
    return JSON.parse(token ?? "null");
  };
  const readObject = (depth: number): JsonObject => {
    const members = new Map<string, readonly [string, unknown]>();
    while (tokens[position] !== "}") {
      if (tokens[position] === ",") position++;
      const key = JSON.parse(tokens[position] ?? '""') as string;
      position += 2; // the key and its colon
      members.set(foldKey(key), [key, readValue(depth)]);
    }
    position++;
    return Object.fromEntries(members.values());
  };
  const readArray = (depth: number): readonly unknown[] => {
    const elements: unknown[] = [];
    while (tokens[position] !== "]") {
      if (tokens[position] === ",") position++;
      else elements.push(readValue(depth));
    }
    position++;
    return elements;
  };
  return readValue(0);
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Says what a value is, for "is X, but must be Y". Long values are cut. */
export function describeJson(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  const short = text.length > 80 ? `${text.slice(0, 77)}...` : text;
  if (value === null) return short;
  if (Array.isArray(value)) return `${short} (a list)`;
  return `${short} (${typeof value === "object" ? "an object" : `a ${typeof value}`})`;
}

/** The value under `key` in any case; undefined when absent. `null` is a value. */
export function lookupOption(options: JsonObject, key: string): unknown {
  if (Object.hasOwn(options, key)) return options[key];
  const folded = foldKey(key);
  return Object.entries(options).findLast(([name]) => foldKey(name) === folded)?.[1];
}

interface ReadOptions<T> {
  /** Value when the key is absent or null: Go leaves the field alone then. */
  readonly default: T;
  /** What the key stands in, for the message. Default: `Backend.`, as backends read most. */
  readonly path?: string;
}

function wrongOption(options: JsonObject, key: string, path = "Backend.", right: string): InvalidValueError {
  return new InvalidValueError(
    `${path}${key} is ${describeJson(lookupOption(options, key))}, but must be ${right}`,
  );
}

/** Reads a whole number from `min` to `max`, both inclusive. @throws {InvalidValueError} naming key, value and range */
export function readNumberOption(
  options: JsonObject,
  key: string,
  read: ReadOptions<number> & { readonly min: number; readonly max: number },
): number {
  const value = lookupOption(options, key) ?? read.default;
  if (value === read.default) return read.default;
  if (typeof value === "number" && Number.isInteger(value) && value >= read.min && value <= read.max)
    return value;
  throw wrongOption(options, key, read.path, `a whole number from ${read.min} to ${read.max}`);
}

/** Reads true or false. @throws {InvalidValueError} naming key and value */
export function readBooleanOption(options: JsonObject, key: string, read: ReadOptions<boolean>): boolean {
  const value = lookupOption(options, key) ?? read.default;
  if (typeof value === "boolean") return value;
  throw wrongOption(options, key, read.path, "true or false (without quotes)");
}

/** Reads a text; with `oneOf`, one of those. @throws {InvalidValueError} naming key, value and what is right */
export function readStringOption(
  options: JsonObject,
  key: string,
  read: ReadOptions<string> & { readonly oneOf?: readonly string[] },
): string {
  const value = lookupOption(options, key) ?? read.default;
  if (value === read.default) return read.default;
  if (typeof value !== "string") throw wrongOption(options, key, read.path, "a text in quotes");
  if (read.oneOf === undefined || read.oneOf.includes(value)) return value;
  throw wrongOption(options, key, read.path, `one of ${read.oneOf.map((name) => `"${name}"`).join(", ")}`);
}
