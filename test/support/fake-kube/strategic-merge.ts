// Strategic merge patch: lists merged by the key that the API's Go types declare, with the $patch directives.
import { ApiError, badRequest } from "./api-error.ts";
import { isEqualJson, isJsonObject } from "./objects.ts";
import type { JsonObject } from "./objects.ts";

/** What `patchStrategy` and `patchMergeKey` of the Go types say (k8s.io/api core/v1): lists not named are replaced. */
const MERGED_LISTS: Readonly<Record<string, string | null>> = {
  // null: a list of plain values, merged as a set.
  "metadata.finalizers": null,
  "metadata.ownerReferences": "uid",
  "spec.podCIDRs": null,
  "spec.finalizers": null,
  "status.conditions": "type",
  "status.addresses": "type",
  "status.podIPs": "ip",
  "spec.containers": "name",
  "spec.initContainers": "name",
  "spec.volumes": "name",
  "spec.imagePullSecrets": "name",
  "spec.hostAliases": "ip",
  "spec.containers.ports": "containerPort",
  "spec.containers.env": "name",
  "spec.containers.volumeMounts": "mountPath",
  "spec.initContainers.env": "name",
  "spec.initContainers.volumeMounts": "mountPath",
  "spec.ports": "port",
};

/** @throws {ApiError} 400 for a directive that makes no sense, 422 for an item without its merge key */
export function applyStrategicMerge(target: unknown, patch: JsonObject, path = ""): unknown {
  switch (patch["$patch"]) {
    case "replace": {
      const { $patch: _, ...replacement } = patch;
      return replacement;
    }
    case "delete":
      return {};
    default:
      return mergeObject(isJsonObject(target) ? target : {}, patch, path);
  }
}

function mergeObject(target: JsonObject, patch: JsonObject, path: string): JsonObject {
  const merged: Record<string, unknown> = { ...target };
  const retained = patch["$retainKeys"];
  if (Array.isArray(retained)) {
    for (const field of Object.keys(merged)) if (!retained.includes(field)) delete merged[field];
  }
  for (const [field, value] of Object.entries(patch)) {
    if (field === "$deleteFromPrimitiveList") {
      throw badRequest("invalid patch format of primitive list");
    } else if (field.startsWith("$deleteFromPrimitiveList/")) {
      const list = field.slice("$deleteFromPrimitiveList/".length);
      merged[list] = listOf(merged[list]).filter((item) => !listOf(value).includes(item));
    } else if (field.startsWith("$setElementOrder/")) {
      // Applied below, when the list is merged.
    } else if (field === "$patch" || field === "$retainKeys") {
      // Directives, not fields.
    } else if (value === null) {
      delete merged[field];
    } else if (!(field in target)) {
      // Taken as it is, whatever directives or missing keys are in it.
      merged[field] = withoutDirectives(value);
    } else {
      merged[field] = mergeField(merged[field], value, path === "" ? field : `${path}.${field}`);
    }
  }
  for (const [field, order] of Object.entries(patch)) {
    const list = field.startsWith("$setElementOrder/") ? field.slice("$setElementOrder/".length) : undefined;
    if (list !== undefined && Array.isArray(merged[list])) {
      merged[list] = sortByOrder(
        merged[list],
        listOf(order),
        MERGED_LISTS[path === "" ? list : `${path}.${list}`],
      );
    }
  }
  return merged;
}

function mergeField(target: unknown, value: unknown, path: string): unknown {
  if (isJsonObject(value)) return applyStrategicMerge(target, value, path);
  if (!Array.isArray(value)) return value;
  const mergeKey = MERGED_LISTS[path];
  if (mergeKey === undefined) return value;
  if (mergeKey === null) return [...new Set([...(value as unknown[]), ...listOf(target)])];
  return mergeList(listOf(target), value, mergeKey, path);
}

/** The types know no such fields, so that the server drops them. */
function withoutDirectives(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutDirectives(item));
  if (!isJsonObject(value)) return value;
  const fields = Object.entries(value).filter(([field]) => !field.startsWith("$"));
  return Object.fromEntries(fields.map(([field, child]) => [field, withoutDirectives(child)]));
}

function mergeList(
  target: readonly unknown[],
  patch: readonly unknown[],
  mergeKey: string,
  path: string,
): unknown[] {
  if (patch.some((item) => isJsonObject(item) && item["$patch"] === "replace")) {
    return patch.filter((item) => !isJsonObject(item) || item["$patch"] !== "replace");
  }
  const merged = [...target];
  for (const item of patch) {
    if (!isJsonObject(item) || !(mergeKey in item)) throw missingMergeKey(item, mergeKey);
    const at = merged.findIndex(
      (other) => isJsonObject(other) && isEqualJson(other[mergeKey], item[mergeKey]),
    );
    if (item["$patch"] === "delete") {
      if (at >= 0) merged.splice(at, 1);
    } else if (at >= 0) {
      merged[at] = applyStrategicMerge(merged[at], item, path);
    } else {
      merged.push(applyStrategicMerge({}, item, path));
    }
  }
  return merged;
}

function missingMergeKey(item: unknown, mergeKey: string): ApiError {
  const fields = isJsonObject(item)
    ? Object.entries(item).map(([field, value]) => `${field}:${String(value)}`)
    : [];
  return new ApiError(
    500,
    "",
    `map: map[${fields.join(" ")}] does not contain declared merge key: ${mergeKey}`,
  );
}

function sortByOrder(
  list: readonly unknown[],
  order: readonly unknown[],
  mergeKey: string | null | undefined,
): unknown[] {
  const keyOf = (item: unknown): unknown =>
    typeof mergeKey === "string" && isJsonObject(item) ? item[mergeKey] : item;
  const rank = new Map(order.map((item, i) => [keyOf(item), i]));
  return list.toSorted((a, b) => (rank.get(keyOf(a)) ?? order.length) - (rank.get(keyOf(b)) ?? order.length));
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
