// Checks objects as the API server does before it stores them, and cuts them down to what is stored. Pure.
import {
  isDnsLabel,
  isDnsSubdomain,
  labelKeyProblem,
  labelValueProblem,
  portNameProblem,
} from "../policy/names-validation.ts";
import { describeValue, isGiven, isObject, readList, readObject } from "../policy/problems.ts";
import type { JsonObject, Problem, Report } from "../policy/problems.ts";
import { NETWORK_POLICY_SCHEMA, reportUnknownFields } from "../policy/schema.ts";
import type { Schema } from "../policy/schema.ts";
import { tryParseIp } from "../net/ip.ts";
import { POLICY_PROTOCOLS } from "../policy/snapshot.ts";
import { translatePolicy } from "../policy/translate-policy.ts";
import { NAMESPACE, NETWORK_POLICY, POD, WRITABLE_KINDS } from "./policy-kinds.ts";
import type { Identity, ObjectKind } from "./policy-kinds.ts";

/** What is stored of an object, but for what the store adds itself (uid, times, generation). */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: JsonObject & { readonly name: string; readonly namespace?: string };
  readonly spec?: JsonObject;
  readonly status?: JsonObject;
}

export interface Validated {
  /** As far as it can be told. */
  readonly identity?: Identity;
  /** Absent if there are problems. */
  readonly manifest?: Manifest;
  readonly problems: readonly Problem[];
}

/** @param namespace of `-n`; undefined if it was not given */
export function validateObject(input: unknown, namespace: string | undefined): Validated {
  const problems: Problem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  if (!isObject(input)) {
    report("", `must be an object, not ${describeValue(input)}`);
    return { problems };
  }
  const kind = WRITABLE_KINDS.find((known) => known.kind === input["kind"]);
  if (kind === undefined) {
    const known = WRITABLE_KINDS.map((one) => one.kind).join(", ");
    report("kind", `must be one of ${known}, not ${describeValue(input["kind"])}`);
    return { problems };
  }
  if (kind === NETWORK_POLICY)
    problems.push(
      ...translatePolicy(input, { mode: "strict", defaultNamespace: namespace ?? "default" }).problems,
    );
  else checkOther(kind, input, report);
  const metadata = readObject(input["metadata"], "metadata", () => undefined) ?? {};
  checkTexts(metadata["labels"], "metadata.labels", report, labelValueProblem);
  checkTexts(metadata["annotations"], "metadata.annotations", report, (value) =>
    typeof value === "string" ? undefined : `must be a string; write it in quotes: "${String(value)}"`,
  );
  const identity = identityOf(kind, metadata, namespace, report);
  return {
    ...(identity && { identity }),
    ...(identity && problems.length === 0 && { manifest: manifestOf(identity, input, metadata) }),
    problems,
  };
}

/** Who an object is, without a look at the rest of it: for `delete -f`. */
export function identityOf(
  kind: ObjectKind,
  { name, namespace: own }: JsonObject,
  namespace: string | undefined,
  report: Report,
): Identity | undefined {
  if (typeof name !== "string" || name === "") return undefined;
  if (!kind.isNamespaced) return { kind, name };
  if (isGiven(own) && typeof own !== "string") return undefined;
  if (isGiven(own) && namespace !== undefined && own !== namespace)
    report("metadata.namespace", `is ${JSON.stringify(own)}, but -n says ${namespace}`);
  return { kind, name, namespace: typeof own === "string" && own !== "" ? own : (namespace ?? "default") };
}

const VALUE: Schema = { kind: "value" };
const { metadata: METADATA = VALUE } =
  NETWORK_POLICY_SCHEMA.kind === "object" ? NETWORK_POLICY_SCHEMA.fields : {};
/** Spec and status of these kinds are mostly not for us, so only the fields around them are known here. */
const OUTER_SCHEMA: Schema = {
  kind: "object",
  fields: { apiVersion: VALUE, kind: VALUE, metadata: METADATA, spec: VALUE, status: VALUE },
};

function checkOther(kind: ObjectKind, input: JsonObject, report: Report): void {
  if (input["apiVersion"] !== kind.apiVersion)
    report("apiVersion", `must be ${kind.apiVersion}, not ${describeValue(input["apiVersion"])}`);
  reportUnknownFields(input, OUTER_SCHEMA, report);
  const metadata = readObject(input["metadata"], "metadata", report) ?? {};
  const { name, namespace } = metadata;
  const isName = kind === NAMESPACE ? isDnsLabel : isDnsSubdomain;
  if (!isName(name))
    report(
      "metadata.name",
      isGiven(name) ? `${describeValue(name)} is no name: lower-case letters, digits and "-"` : "is required",
    );
  if (kind.isNamespaced && isGiven(namespace) && !isDnsLabel(namespace))
    report(
      "metadata.namespace",
      `${describeValue(namespace)} is no namespace: lower-case letters, digits and "-"`,
    );
  if (!kind.isNamespaced && isGiven(namespace))
    report("metadata.namespace", `a ${kind.kind} is in no namespace`);
  if (kind === POD) checkPod(input, report);
}

function checkTexts(
  value: unknown,
  path: string,
  report: Report,
  problemOf: (value: unknown) => string | undefined,
): void {
  for (const [key, text] of Object.entries(readObject(value, path, report) ?? {})) {
    for (const problem of [labelKeyProblem(key), problemOf(text)])
      if (problem !== undefined) report(`${path}.${key}`, problem);
  }
}

function checkPod(input: JsonObject, report: Report): void {
  const spec = readObject(input["spec"], "spec", report) ?? {};
  for (const field of ["initContainers", "containers"]) {
    const containers = readList(spec[field], `spec.${field}`, report) ?? [];
    for (const [index, container] of containers.entries()) {
      const path = `spec.${field}[${index}]`;
      const read = readObject(container, path, report) ?? {};
      for (const [place, port] of (readList(read["ports"], `${path}.ports`, report) ?? []).entries())
        checkPort(port, `${path}.ports[${place}]`, report);
    }
  }
  const status = readObject(input["status"], "status", report) ?? {};
  for (const [index, entry] of (readList(status["podIPs"], "status.podIPs", report) ?? []).entries()) {
    const ip = isObject(entry) ? entry["ip"] : entry;
    if (typeof ip !== "string" || tryParseIp(ip) === undefined)
      report(`status.podIPs[${index}].ip`, `${describeValue(ip)} is not an IP address`);
  }
}

function checkPort(value: unknown, path: string, report: Report): void {
  const port = readObject(value, path, report);
  if (port === undefined) return;
  const { name, containerPort, protocol } = port;
  const isNumber = typeof containerPort === "number" && Number.isInteger(containerPort);
  if (!isNumber || containerPort < 1 || containerPort > 65_535)
    report(`${path}.containerPort`, `must be a number from 1 to 65535, not ${describeValue(containerPort)}`);
  if (isGiven(protocol) && !POLICY_PROTOCOLS.some((known) => known === protocol))
    report(
      `${path}.protocol`,
      `must be one of ${POLICY_PROTOCOLS.join(", ")}, not ${describeValue(protocol)}`,
    );
  if (!isGiven(name)) return;
  const problem = typeof name === "string" ? portNameProblem(name) : "must be a string";
  if (problem !== undefined) report(`${path}.name`, problem);
}

function manifestOf({ kind, namespace, name }: Identity, input: JsonObject, metadata: JsonObject): Manifest {
  const kept = Object.fromEntries(
    ["labels", "annotations"].flatMap((field) => {
      const value = metadata[field];
      return isObject(value) && Object.keys(value).length > 0 ? [[field, value]] : [];
    }),
  );
  const spec = specOf(kind, input);
  const status = kind === POD && isObject(input["status"]) ? input["status"]["podIPs"] : undefined;
  return {
    apiVersion: kind.apiVersion,
    kind: kind.kind,
    metadata: { name, ...(namespace !== undefined && { namespace }), ...kept },
    ...(spec && { spec }),
    ...(isGiven(status) && { status: { podIPs: status } }),
  };
}

/** Defaults are filled in as the API server does; of a pod only what policy reads is kept. */
function specOf(kind: ObjectKind, input: JsonObject): JsonObject | undefined {
  const spec = isObject(input["spec"]) ? input["spec"] : {};
  if (kind === NETWORK_POLICY) {
    const hasEgress = Array.isArray(spec["egress"]) && spec["egress"].length > 0;
    const types =
      Array.isArray(spec["policyTypes"]) && spec["policyTypes"].length > 0 ? spec["policyTypes"] : undefined;
    return {
      podSelector: {},
      ...Object.fromEntries(Object.entries(spec).filter(([, value]) => isGiven(value))),
      policyTypes: types ?? (hasEgress ? ["Ingress", "Egress"] : ["Ingress"]),
    };
  }
  if (kind !== POD) return undefined;
  return { ...portsOf(spec, "initContainers"), ...portsOf(spec, "containers") };
}

/** Containers with ports, and of these what makes them listen. */
function portsOf(spec: JsonObject, field: string): JsonObject {
  const list = Array.isArray(spec[field]) ? (spec[field] as readonly JsonObject[]) : [];
  const containers = list
    .filter(({ ports }) => Array.isArray(ports) && ports.length > 0)
    .map(({ name, restartPolicy, ports }) =>
      isGiven(restartPolicy) ? { name, restartPolicy, ports } : { name, ports },
    );
  return containers.length === 0 ? {} : { [field]: containers };
}
