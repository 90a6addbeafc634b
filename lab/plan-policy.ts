// What pods a lab needs so that a file of policies has something to be about: namespaces, labels, and the port to try. Pure.
import { isObject } from "../src/policy/problems.ts";
import type { Policy, PolicyPeer, Requirement, Selector } from "../src/policy/snapshot.ts";
import { translatePolicy } from "../src/policy/translate-policy.ts";

export interface PodRole {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface PolicyPlan {
  /** One for each kind of pod that the policies name, and a stranger in each namespace that has policies. */
  readonly roles: readonly PodRole[];
  /** Namespaces that policies name by their labels, as objects to apply besides. */
  readonly namespaces: readonly object[];
  /** TCP port that the matrix tries. */
  readonly port: number;
  /** Its name, if the policies name none by number. */
  readonly portName?: string;
}

const DEFAULT_NAMESPACE = "default";
const DEFAULT_PORT = 80;
/** What a named port is in the lab. */
const NAMED_PORT = 8080;

/** @param objects of the file, as parsed; what is no policy, or a wrong one, is for `policy apply` to judge */
export function planPolicyPods(objects: readonly unknown[]): PolicyPlan {
  const policies = objects.flatMap((object) => {
    if (!isObject(object) || object["kind"] !== "NetworkPolicy") return [];
    const { policy } = translatePolicy(object, { mode: "lenient", defaultNamespace: DEFAULT_NAMESPACE });
    return policy ?? [];
  });
  const namespaces = new Map<string, Readonly<Record<string, string>>>();
  const placeOf = (selector: Selector): string => {
    const labels = labelsFor(selector);
    const own = labels["kubernetes.io/metadata.name"];
    const known = [...namespaces].find(([, has]) => JSON.stringify(has) === JSON.stringify(labels));
    const name = own ?? known?.[0] ?? `lab-${namespaces.size + 1}`;
    if (own === undefined) namespaces.set(name, labels);
    return name;
  };
  const roles = [
    ...policies.flatMap((policy) => rolesOf(policy, placeOf)),
    ...policies.map(({ namespace }) => ({ namespace, labels: {} })),
  ];
  return {
    roles: unique(roles.length === 0 ? [{ namespace: DEFAULT_NAMESPACE, labels: {} }] : roles),
    namespaces: Array.from(namespaces, ([name, labels]) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name, labels },
    })),
    ...portOf(policies),
  };
}

/** Its subject first, then each kind of peer. */
function rolesOf(policy: Policy, placeOf: (selector: Selector) => string): readonly PodRole[] {
  const { namespace } = policy;
  const peers = [...policy.ingress, ...policy.egress].flatMap((rule) => rule.peers ?? []);
  return [
    { namespace, labels: labelsFor(policy.podSelector) },
    ...peers.flatMap((peer: PolicyPeer) =>
      peer.kind === "pods"
        ? {
            namespace:
              peer.namespaces === undefined || peer.namespaces.length === 0
                ? namespace
                : placeOf(peer.namespaces),
            labels: labelsFor(peer.pods),
          }
        : [],
    ),
  ];
}

/** Labels that a selector selects; those that must not be there are not. */
function labelsFor(selector: Selector): Readonly<Record<string, string>> {
  return Object.fromEntries(
    selector.flatMap(({ key, operator, values }: Requirement) => {
      if (operator === "In") return [[key, values[0] ?? ""] as const];
      return operator === "Exists" ? [[key, "yes"] as const] : [];
    }),
  );
}

function portOf(policies: readonly Policy[]): Pick<PolicyPlan, "port" | "portName"> {
  const ports = policies
    .flatMap(({ ingress, egress }) => [...ingress, ...egress])
    .flatMap((rule) => rule.ports ?? [])
    .filter(({ protocol }) => protocol === "TCP");
  for (const port of ports) if (port.kind === "numbers" && port.from > 0) return { port: port.from };
  for (const port of ports) if (port.kind === "named") return { port: NAMED_PORT, portName: port.name };
  return { port: DEFAULT_PORT };
}

function unique(roles: readonly PodRole[]): readonly PodRole[] {
  return [...new Map(roles.map((role) => [JSON.stringify(role), role])).values()];
}

/** CNI_ARGS of a pod with this role, as a runtime without Kubernetes gives them. */
export function podArgs(
  name: string,
  { namespace, labels }: PodRole,
  { port, portName }: Pick<PolicyPlan, "port" | "portName">,
): readonly (readonly [string, string])[] {
  return [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", namespace],
    ["K8S_POD_NAME", name],
    [
      "POD_LABELS",
      Object.entries(labels)
        .map(([key, value]) => `${key}:${value}`)
        .join(","),
    ],
    ...(portName === undefined ? [] : [["POD_PORTS", `${portName}:${port}`] as const]),
  ];
}
