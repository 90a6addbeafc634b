// What is wrong with an object, field by field, and how untrusted JSON is read.

/** One wrong field. `path` is written as kubectl does: `spec.ingress[0].from[1].ipBlock.cidr`. */
export interface Problem {
  readonly path: string;
  /** What is wrong and what would be right. */
  readonly message: string;
}

export function formatProblem({ path, message }: Problem): string {
  return path === "" ? message : `${path}: ${message}`;
}

/** Collects problems while an object is read. */
export type Report = (path: string, message: string) => void;

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** JSON drops empty lists, Go writes them as null: absent and null are the same. */
export function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** The object at `path`; undefined if it is absent or null, or, with a problem, if it is something else. */
export function readObject(value: unknown, path: string, report: Report): JsonObject | undefined {
  if (!isGiven(value)) return undefined;
  if (isObject(value)) return value;
  report(path, `must be an object, not ${describeValue(value)}`);
  return undefined;
}

/** The list at `path`; empty if it is absent or null; undefined, with a problem, if it is something else. */
export function readList(value: unknown, path: string, report: Report): readonly unknown[] | undefined {
  if (!isGiven(value)) return [];
  if (Array.isArray(value)) return value;
  report(path, `must be a list, not ${describeValue(value)}`);
  return undefined;
}

const LONGEST_SHOWN = 60;

/** The value, short, for a message. */
export function describeValue(value: unknown): string {
  if (value === undefined) return "absent";
  if (Array.isArray(value)) return "a list";
  if (isObject(value)) return "an object";
  const text = JSON.stringify(value);
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}...` : text;
}
