// A NetworkPolicy object (untrusted JSON) as a Policy of ours, with every wrong field named.
import { isDnsLabel, isDnsSubdomain } from "./names-validation.ts";
import { describeValue, isGiven, isObject, readList, readObject } from "./problems.ts";
import type { JsonObject, Problem, Report } from "./problems.ts";
import { NETWORK_POLICY_SCHEMA, reportUnknownFields } from "./schema.ts";
import { DIRECTIONS } from "./snapshot.ts";
import type { Direction, Policy, PolicyRule, Selector } from "./snapshot.ts";
import { NOTHING, translateRule } from "./translate-rule.ts";
import { translateSelector } from "./translate-selector.ts";

export interface TranslatedPolicy {
  /** Absent if the object has no usable name; in `strict` mode also whenever there are problems. */
  readonly policy?: Policy;
  readonly problems: readonly Problem[];
}

/**
 * `strict`, for what people write: unknown fields are problems, and an object with a problem gives no policy, as the API
 * server would refuse it. `lenient`, for what an API server of any version has accepted: unknown fields do not count, and
 * what cannot be understood fails closed: the policy isolates, and the bad entry allows nothing.
 */
export type TranslationMode = "strict" | "lenient";

export interface PolicyTranslation {
  readonly mode: TranslationMode;
  /** For objects that name none, as with `kubectl -n`. */
  readonly defaultNamespace?: string;
}

const API_VERSION = "networking.k8s.io/v1";
const KIND = "NetworkPolicy";
const TYPE_NAMES: Readonly<Record<Direction, string>> = { ingress: "Ingress", egress: "Egress" };

/** Checks what pkg/apis/networking/validation of Kubernetes checks. */
export function translatePolicy(
  input: unknown,
  { mode, defaultNamespace }: PolicyTranslation,
): TranslatedPolicy {
  const problems: Problem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  if (!isObject(input)) {
    report("", `must be a ${KIND} object, not ${describeValue(input)}`);
    return { problems };
  }
  if (mode === "strict") {
    reportKind(input, report);
    reportUnknownFields(input, NETWORK_POLICY_SCHEMA, report);
  }
  const identity = translateIdentity(input["metadata"], defaultNamespace, report);
  const spec = translateSpec(input["spec"], report);
  const isRefused = identity === undefined || (mode === "strict" && problems.length > 0);
  return isRefused ? { problems } : { policy: { ...identity, ...spec }, problems };
}

function reportKind(input: JsonObject, report: Report): void {
  for (const [field, wanted] of [
    ["apiVersion", API_VERSION],
    ["kind", KIND],
  ] as const) {
    if (input[field] !== wanted) report(field, `must be ${wanted}, not ${describeValue(input[field])}`);
  }
}

type Identity = Pick<Policy, "namespace" | "name" | "uid" | "generation">;

function translateIdentity(
  value: unknown,
  defaultNamespace: string | undefined,
  report: Report,
): Identity | undefined {
  const metadata = readObject(value, "metadata", report) ?? {};
  const { name, uid, generation } = metadata;
  const namespace = isGiven(metadata["namespace"]) ? metadata["namespace"] : defaultNamespace;
  if (!isDnsSubdomain(name))
    report(
      "metadata.name",
      isGiven(name)
        ? `${describeValue(name)} is no name: lower-case letters, digits, "-" and "."`
        : "is required",
    );
  if (!isDnsLabel(namespace))
    report(
      "metadata.namespace",
      isGiven(namespace)
        ? `${describeValue(namespace)} is no namespace: lower-case letters, digits and "-"`
        : "is required",
    );
  if (!isDnsSubdomain(name) || !isDnsLabel(namespace)) return undefined;
  return {
    namespace,
    name,
    ...(typeof uid === "string" && { uid }),
    ...(typeof generation === "number" && { generation }),
  };
}

type Spec = Pick<Policy, "podSelector" | "types" | "ingress" | "egress">;

/** Nothing of the spec can be understood: every pod of the namespace is isolated. */
const CLOSED: Spec = { podSelector: [], types: DIRECTIONS, ingress: [], egress: [] };

function translateSpec(value: unknown, report: Report): Spec {
  if (isGiven(value) && !isObject(value)) {
    report("spec", `must be an object, not ${describeValue(value)}`);
    return CLOSED;
  }
  const spec: JsonObject = isObject(value) ? value : {};
  const podSelector = translateSubject(spec["podSelector"], report);
  const ingress = translateRules(spec["ingress"], "ingress", report);
  const egress = translateRules(spec["egress"], "egress", report);
  const types = translateTypes(spec["policyTypes"], egress.length > 0, report);
  if (podSelector !== undefined) return { podSelector, types, ingress, egress };
  // Whom the rules are for is not known, so they allow nobody anything; whom the policy isolates is not known either.
  return { ...CLOSED, types, ingress: ingress.map(() => NOTHING), egress: egress.map(() => NOTHING) };
}

/** Absent and null select every pod of the namespace, as `{}` does. */
function translateSubject(value: unknown, report: Report): Selector | undefined {
  return isGiven(value) ? translateSelector(value, "spec.podSelector", report) : [];
}

function translateRules(value: unknown, direction: Direction, report: Report): readonly PolicyRule[] {
  const path = `spec.${direction}`;
  const list = readList(value, path, report);
  // No list at all still says that the direction was meant.
  if (list === undefined) return [NOTHING];
  return list.map((item, index) => translateRule(item, direction, `${path}[${index}]`, report));
}

/** Absent: ingress always, egress if there is a rule for it (API: NetworkPolicySpec.policyTypes). Present: as written. */
function translateTypes(value: unknown, hasEgress: boolean, report: Report): readonly Direction[] {
  const path = "spec.policyTypes";
  const list = readList(value, path, report);
  if (list === undefined) return DIRECTIONS;
  if (list.length === 0) return hasEgress ? DIRECTIONS : ["ingress"];
  if (list.length > DIRECTIONS.length) report(path, "must not have more than two entries");
  for (const [index, item] of list.entries()) {
    if (!DIRECTIONS.some((direction) => TYPE_NAMES[direction] === item))
      report(`${path}[${index}]`, `must be Ingress or Egress, not ${describeValue(item)}`);
  }
  const types = DIRECTIONS.filter((direction) => list.includes(TYPE_NAMES[direction]));
  return types.length > 0 ? types : DIRECTIONS;
}
