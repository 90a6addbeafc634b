// JSON patch (RFC 6902) and JSON merge patch (RFC 7386).
import { rejectedPatch } from "./api-error.ts";
import { isEqualJson, isJsonObject } from "./objects.ts";

/** RFC 7386: objects are merged, null deletes, anything else replaces. */
export function applyMergePatch(target: unknown, patch: unknown): unknown {
  if (!isJsonObject(patch)) return patch;
  const merged: Record<string, unknown> = isJsonObject(target) ? { ...target } : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete merged[field];
    else merged[field] = applyMergePatch(merged[field], value);
  }
  return merged;
}

export interface JsonPatchOperation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** @throws {ApiError} 422 when an operation does not apply */
export function applyJsonPatch(target: unknown, operations: readonly JsonPatchOperation[]): unknown {
  return operations.reduce(applyOperation, structuredClone(target));
}

function applyOperation(document: unknown, operation: JsonPatchOperation): unknown {
  const { op, path, value } = operation;
  switch (op) {
    case "add":
      return place(document, parsePointer(path), value, "insert");
    case "replace":
      return place(document, parsePointer(path), value, "replace");
    case "remove":
      return take(document, parsePointer(path)).rest;
    case "test":
      if (!isEqualJson(take(document, parsePointer(path)).taken, value)) throw rejectedPatch();
      return document;
    case "move": {
      const { taken, rest } = take(document, parsePointer(operation.from ?? ""));
      return place(rest, parsePointer(path), taken, "insert");
    }
    case "copy":
      return place(
        document,
        parsePointer(path),
        take(document, parsePointer(operation.from ?? "")).taken,
        "insert",
      );
    default:
      throw rejectedPatch();
  }
}

function parsePointer(pointer: string): string[] {
  if (pointer === "") return [];
  if (!pointer.startsWith("/")) throw rejectedPatch();
  return pointer.slice(1).split("/").map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~")); // prettier-ignore
}

function place(
  parent: unknown,
  [step, ...rest]: string[],
  value: unknown,
  how: "insert" | "replace",
): unknown {
  if (step === undefined) return value;
  if (Array.isArray(parent)) {
    const index = indexOf(parent, step, how === "insert" && rest.length === 0);
    if (rest.length > 0) return parent.with(index, place(parent[index], rest, value, how));
    return how === "insert" ? parent.toSpliced(index, 0, value) : parent.with(index, value);
  }
  if (!isJsonObject(parent)) throw rejectedPatch();
  // The library of the real server takes "replace" of a member that is not there for "add".
  if (!(step in parent) && rest.length > 0) throw rejectedPatch();
  return { ...parent, [step]: place(parent[step], rest, value, how) };
}

function take(parent: unknown, [step, ...rest]: string[]): { taken: unknown; rest: unknown } {
  if (step === undefined) return { taken: parent, rest: undefined };
  if (Array.isArray(parent)) {
    const index = indexOf(parent, step, false);
    if (rest.length === 0) return { taken: parent[index], rest: parent.toSpliced(index, 1) };
    const below = take(parent[index], rest);
    return { taken: below.taken, rest: parent.with(index, below.rest) };
  }
  if (!isJsonObject(parent) || !(step in parent)) throw rejectedPatch();
  const { [step]: child, ...others } = parent;
  if (rest.length === 0) return { taken: child, rest: others };
  const below = take(child, rest);
  return { taken: below.taken, rest: { ...parent, [step]: below.rest } };
}

function indexOf(list: readonly unknown[], step: string, mayAppend: boolean): number {
  if (step === "-" && mayAppend) return list.length;
  const index = /^\d+$/.test(step) ? Number(step) : -1;
  if (index < 0 || index >= list.length + (mayAppend ? 1 : 0)) throw rejectedPatch();
  return index;
}
