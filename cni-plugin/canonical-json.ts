// JSON text as Go's encoding/json writes maps: keys sorted, no spaces, HTML characters escaped. Pure.

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonMap;
export interface JsonMap {
  readonly [key: string]: JsonValue;
}

/** Go's decoder refuses nesting beyond 10000 (encoding/json, maxNestingDepth); our stack is smaller. */
const MAX_DEPTH = 1000;

/**
 * The bytes that flannel's plugin would write for this value, so that state files can be compared and exchanged.
 * @throws {RangeError} on values nested deeper than 1000
 */
export function formatCanonicalJson(value: JsonValue, depth = 0): string {
  if (depth > MAX_DEPTH) throw new RangeError(`JSON nested deeper than ${MAX_DEPTH}`);
  if (typeof value === "string") return formatString(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (isList(value)) return `[${value.map((element) => formatCanonicalJson(element, depth + 1)).join(",")}]`;
  const members = Object.keys(value)
    .sort()
    .map((key) => `${formatString(key)}:${formatCanonicalJson(value[key] ?? null, depth + 1)}`);
  return `{${members.join(",")}}`;
}

function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

const ESCAPED = /[<>&\u2028\u2029]/g;

function formatString(text: string): string {
  return JSON.stringify(text.toWellFormed()).replace(
    ESCAPED,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
