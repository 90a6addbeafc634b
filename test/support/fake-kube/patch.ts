// Patch requests: the four content types, and which bodies the real server refuses for each.
import { parse as parseYaml } from "yaml";
import { badRequest, invalid, invalidOptions, unforeseen, unsupportedMediaType } from "./api-error.ts";
import type { ApiError } from "./api-error.ts";
import { applyJsonPatch, applyMergePatch } from "./json-patch.ts";
import type { JsonPatchOperation } from "./json-patch.ts";
import { isJsonObject } from "./objects.ts";
import type { JsonObject } from "./objects.ts";
import { apiVersionOf } from "./resources.ts";
import type { ResourceType } from "./resources.ts";
import { applyStrategicMerge } from "./strategic-merge.ts";

export const PATCH_TYPES = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  "application/apply-patch+yaml",
] as const;

export type PatchType = (typeof PATCH_TYPES)[number];

/** @throws {ApiError} 415 */
export function parsePatchType(contentType: string | undefined): PatchType {
  const bare = (contentType ?? "").split(";")[0]?.trim();
  const known = PATCH_TYPES.find((type) => type === bare);
  if (known === undefined) throw unsupportedMediaType();
  return known;
}

/** @throws {ApiError} 422 when an apply patch comes without its manager, or another patch with "force" */
export function checkPatchOptions(type: PatchType, query: URLSearchParams): void {
  if (type === "application/apply-patch+yaml") {
    if ((query.get("fieldManager") ?? "") !== "") return;
    const message = "Required value: is required for apply patch";
    throw invalidOptions("PatchOptions", [{ reason: "FieldValueRequired", message, field: "fieldManager" }]);
  }
  if (query.get("force") === null) return;
  const message = "Forbidden: may not be specified for non-apply patch";
  throw invalidOptions("PatchOptions", [{ reason: "FieldValueForbidden", message, field: "force" }]);
}

/** A patch whose body has been checked. */
export interface Patch {
  /** Gives the patched object. @throws {ApiError} 4xx when it does not apply */
  apply(target: JsonObject): unknown;
  /** What an apply patch makes of an object that is not there; others only change what is. */
  readonly created?: JsonObject;
  /** How a value of the wrong type is told: 422 for the patch, but for a JSON patch. */
  readonly type: PatchType;
}

/** @throws {ApiError} when the body is not what its content type promises: 400, 422 or 500 as the real server chose */
export function parsePatch(patchType: PatchType, body: string, type: ResourceType): Patch {
  switch (patchType) {
    case "application/json-patch+json": {
      const operations = parseBody(body);
      if (!Array.isArray(operations)) throw badRequest(cannotUnmarshal(operations, "jsonpatch.Patch"));
      return {
        type: patchType,
        apply: (target) => applyJsonPatch(target, operations as JsonPatchOperation[]),
      };
    }
    case "application/merge-patch+json": {
      const patch = parseMergePatch(body);
      return { type: patchType, apply: (target) => applyMergePatch(target, patch) };
    }
    case "application/strategic-merge-patch+json": {
      const patch = parseBody(body);
      if (!isJsonObject(patch)) throw badRequest(cannotUnmarshal(patch, "map[string]interface {}"));
      return { type: patchType, apply: (target) => applyStrategicMerge(target, patch) };
    }
    case "application/apply-patch+yaml": {
      // Without managedFields: nobody owns a field here, so that there are no conflicts and nothing is taken back.
      const patch = parseApplied(body, type);
      return { type: patchType, apply: (target) => applyStrategicMerge(target, patch), created: patch };
    }
  }
}

function parseBody(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw badRequest(`invalid character: ${String(error)}`);
  }
}

function parseMergePatch(body: string): JsonObject {
  let patch: unknown;
  try {
    patch = JSON.parse(body);
  } catch {
    throw unforeseen("Invalid JSON Patch");
  }
  if (isJsonObject(patch)) return patch;
  if (!Array.isArray(patch)) throw unforeseen("Invalid JSON Patch");
  throw invalidPatch(body, cannotUnmarshal(patch, "struct { APIVersion string; Kind string }"));
}

/** 422 for a patch whose result is no object of the type. */
export function invalidPatch(value: string, why: string): ApiError {
  const message = `Invalid value: ${JSON.stringify(value)}: ${why}`;
  return invalid({ kind: "", group: "" }, "", [{ reason: "FieldValueInvalid", message, field: "patch" }]);
}

function parseApplied(body: string, type: ResourceType): JsonObject {
  let applied: unknown;
  try {
    // The server reads YAML 1.1, in which y and no are booleans.
    applied = parseYaml(body, { version: "1.1" });
  } catch (error) {
    throw badRequest(`error decoding YAML: ${String(error)}`);
  }
  if (!isJsonObject(applied)) {
    const why = cannotUnmarshal(applied, "map[string]interface {}");
    throw badRequest(`error decoding YAML: error unmarshaling JSON: while decoding JSON: ${why}`);
  }
  const said = typeof applied["apiVersion"] === "string" ? applied["apiVersion"] : "";
  if (said !== apiVersionOf(type)) {
    throw badRequest(
      `Incorrect version specified in apply patch. Specified patch version: ${said}, expected: ${apiVersionOf(type)}`,
    );
  }
  return applied;
}

function cannotUnmarshal(value: unknown, into: string): string {
  const kind = Array.isArray(value) ? "array" : typeof value === "boolean" ? "bool" : typeof value;
  return `json: cannot unmarshal ${kind} into Go value of type ${into}`;
}
