// Reads what `ip -j` and `bridge -j` print. Pure.

export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * The array of objects that iproute2 prints with `-j`. It prints nothing for nothing, and `{}` for a row that a filter
 * left out. @throws {Error} if it is no JSON array: an iproute2 without `-j` (before 4.13) or a broken one
 */
export function parseJsonRows(stdout: string, command: string): readonly JsonObject[] {
  if (stdout.trim() === "") return [];
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch (error) {
    throw new Error(`${command}: did not print JSON; iproute2 5.3 or newer is needed`, { cause: error });
  }
  if (!Array.isArray(value)) throw new Error(`${command}: printed JSON that is no array`);
  return value.filter((row): row is JsonObject => isObject(row) && Object.keys(row).length > 0);
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
