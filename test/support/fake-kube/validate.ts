// What the server refuses to store: a few of its validation rules, those that a network daemon can run into.
import { invalid } from "./api-error.ts";
import type { FieldProblem } from "./api-error.ts";
import { isEqualJson, isJsonObject, valueAt } from "./objects.ts";
import type { JsonObject, KubeObject } from "./objects.ts";
import type { ResourceType } from "./resources.ts";

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED_NAME = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;

export interface WrongMapValue {
  /** E.g. "annotations.a". */
  readonly path: string;
  /** The field as the Go type spells it. */
  readonly goName: string;
  /** The first character of the value's JSON. */
  readonly found: string;
}

/** The first label or annotation that is no string. */
export function wrongMapValue(metadata: unknown): WrongMapValue | undefined {
  for (const [field, goName] of [
    ["labels", "Labels"],
    ["annotations", "Annotations"],
  ] as const) {
    const map = valueAt(metadata, field);
    if (!isJsonObject(map)) continue;
    for (const [key, value] of Object.entries(map)) {
      if (typeof value === "string" || value === null) continue;
      return { path: `${field}.${key}`, goName, found: JSON.stringify(value).slice(0, 1) };
    }
  }
  return undefined;
}

/** @throws {ApiError} 422 with every problem as a cause */
export function checkObject(type: ResourceType, object: KubeObject): void {
  const { name, labels = {}, annotations = {}, finalizers = [] } = object.metadata;
  const problems: FieldProblem[] = [];
  const report = (field: string, value: unknown, why: string): void => {
    const message = `Invalid value: ${JSON.stringify(value)}: ${why}`;
    problems.push({ reason: "FieldValueInvalid", message, field });
  };
  if (!SUBDOMAIN.test(name)) {
    report(
      "metadata.name",
      name,
      "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    );
  }
  for (const [field, map] of [
    ["labels", labels],
    ["annotations", annotations],
  ] as const) {
    for (const key of Object.keys(map)) {
      // The keys of annotations are compared in lower case.
      if (QUALIFIED_NAME.test(field === "labels" ? key : key.toLowerCase())) continue;
      const why =
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
      report(`metadata.${field}`, key, why);
    }
  }
  for (const value of Object.values(labels)) {
    if (value.length <= 63 && LABEL_VALUE.test(value)) continue;
    report(
      "metadata.labels",
      value,
      "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    );
  }
  for (const [i, finalizer] of finalizers.entries()) {
    if (finalizer.includes("/")) continue;
    const why = "name is neither a standard finalizer name nor is it fully qualified";
    report(`metadata.finalizers[${i}]`, finalizer, why);
  }
  if (type.resource === "events") checkEventNamespace(object, report);
  if (problems.length > 0) throw invalid(type, name, problems);
}

/** An event lives where its object does; one about a node, which has no namespace, in default. */
function checkEventNamespace(
  event: KubeObject,
  report: (field: string, value: unknown, why: string) => void,
): void {
  const { namespace } = event.metadata;
  const involved = valueAt(event, "involvedObject.namespace") ?? "";
  const wanted = involved === "" ? "default" : involved;
  if (namespace !== wanted) report("involvedObject.namespace", involved, "does not match event.namespace");
}

/** What may not change. @throws {ApiError} 422 */
export function checkUpdate(type: ResourceType, current: KubeObject, updated: KubeObject): void {
  if (type.resource === "nodes") checkPodCidrs(type, current, updated);
  if (type.resource === "pods") checkPodSpec(type, current, updated);
}

/** A node's pod CIDRs can be set once. */
function checkPodCidrs(type: ResourceType, current: KubeObject, updated: KubeObject): void {
  const before = valueAt(current, "spec.podCIDRs");
  if (!Array.isArray(before) || isEqualJson(before, valueAt(updated, "spec.podCIDRs"))) return;
  throw invalid(type, current.metadata.name, [
    {
      reason: "FieldValueForbidden",
      message: 'Forbidden: node updates may not change podCIDR except from "" to valid',
      field: "spec.podCIDRs",
    },
    {
      reason: "FieldValueForbidden",
      message:
        "Forbidden: node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)",
      field: "[]",
    },
  ]);
}

/** A pod's images and tolerations may change; where it runs and how may not. */
function checkPodSpec(type: ResourceType, current: KubeObject, updated: KubeObject): void {
  if (isEqualJson(fixedSpec(current), fixedSpec(updated))) return;
  const message =
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)";
  throw invalid(type, current.metadata.name, [{ reason: "FieldValueForbidden", message, field: "spec" }]);
}

function fixedSpec({ spec }: KubeObject): JsonObject {
  if (!isJsonObject(spec)) return {};
  const { tolerations: _, activeDeadlineSeconds: __, ...fixed } = spec;
  const withoutImages = (list: unknown): unknown =>
    Array.isArray(list) ? list.map((item: JsonObject) => ({ ...item, image: undefined })) : list;
  return {
    ...fixed,
    containers: withoutImages(fixed["containers"]),
    initContainers: withoutImages(fixed["initContainers"]),
  };
}
