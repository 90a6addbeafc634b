// Reads what `ip -j` and `bridge -j` print. Pure.

export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Characters that are parsed at once. V8 puts what comes of a text of 100 kB or more where only a full collection looks: the
 * rows of a few thousand peers would stay in memory for a minute, each time they are listed.
 */
const PIECE_LENGTH = 32 * 1024;

/**
 * The array of objects that iproute2 prints with `-j`. It prints nothing for nothing, and `{}` for a row that a filter
 * left out. @throws {Error} if it is no JSON array: an iproute2 without `-j` (before 4.13) or a broken one
 */
export function parseJsonRows(stdout: string, command: string): readonly JsonObject[] {
  return mapJsonRows(stdout, command, (row) => row);
}

/** What `map` makes of each row, but undefined; rows of a long list are garbage before the next ones are read. @throws {Error} */
export function mapJsonRows<T>(
  stdout: string,
  command: string,
  map: (row: JsonObject) => T | undefined,
  pieceLength = PIECE_LENGTH,
): readonly T[] {
  const mapped: T[] = [];
  for (const piece of splitArray(stdout, pieceLength)) {
    for (const row of parsePiece(piece, command)) {
      if (!isObject(row) || Object.keys(row).length === 0) continue;
      const value = map(row);
      if (value !== undefined) mapped.push(value);
    }
  }
  return mapped;
}

function parsePiece(piece: string, command: string): readonly unknown[] {
  let value: unknown;
  try {
    value = JSON.parse(piece);
  } catch (error) {
    throw new Error(`${command}: did not print JSON; iproute2 5.3 or newer is needed`, { cause: error });
  }
  if (!Array.isArray(value)) throw new Error(`${command}: printed JSON that is no array`);
  return value as readonly unknown[];
}

/** The text of an array as texts of shorter arrays. What is no array, or broken, comes so that it does not parse either. */
function* splitArray(text: string, pieceLength: number): Iterable<string> {
  const array = text.trim();
  if (array === "") return;
  if (array.length <= pieceLength || !array.startsWith("[") || !array.endsWith("]")) {
    yield array;
    return;
  }
  const end = array.length - 1;
  let from = 1;
  for (const comma of topCommas(array, end)) {
    if (comma - from < pieceLength) continue;
    yield arrayOfElements(array.slice(from, comma));
    from = comma + 1;
  }
  yield from === 1 ? array : arrayOfElements(array.slice(from, end));
}

/** Beside a comma there must be an element; without one the whole is broken, and so is the piece. */
function arrayOfElements(elements: string): string {
  return elements.trim() === "" ? "," : `[${elements}]`;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;

/** Where commas part the elements of the array that `text` is. */
function* topCommas(text: string, end: number): Iterable<number> {
  let depth = 0;
  for (let at = 1; at < end; at += 1) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at);
        break;
      case 0x5b:
      case 0x7b:
        depth += 1;
        break;
      case 0x5d:
      case 0x7d:
        depth -= 1;
        break;
      case COMMA:
        if (depth === 0) yield at;
        break;
      default:
        break;
    }
  }
}

/** Index of the closing quote, or the end of a text without one. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === BACKSLASH) at += 1;
    else if (code === QUOTE) return at;
  }
  return text.length;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

export function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

export function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

export function arrayOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
