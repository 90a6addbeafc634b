// Where policy objects lie in etcd; pure.
//
//   <prefix>/policy/namespaces/NAMESPACE             Namespace, applied by people
//   <prefix>/policy/policies/NAMESPACE/NAME          NetworkPolicy, applied by people
//   <prefix>/policy/pods/NAMESPACE/NAME              Pod, applied by people: labels and ports beyond those that CNI ADD tells
//   <prefix>/policy/nodes/NODE                       Node, registered by its daemon under a lease
//   <prefix>/policy/nodes/NODE/pods/NAMESPACE/NAME   Pod on it, registered by its daemon under the same lease
//
// Values are JSON of the Kubernetes kinds. All of it is beside <prefix>/subnets, which a Go flannel reads whole.

export type PolicyKey =
  | { readonly kind: "namespaces"; readonly name: string }
  | { readonly kind: "policies"; readonly namespace: string; readonly name: string }
  | { readonly kind: "pods"; readonly namespace: string; readonly name: string }
  | { readonly kind: "nodes"; readonly name: string }
  | { readonly kind: "registered"; readonly node: string; readonly namespace: string; readonly name: string };

/** `<prefix>/policy/`: below it lies all that is said here, and nothing else. */
export function policyKeyPrefix(prefix: string): string {
  return `${prefix}/policy/`;
}

export function formatPolicyKey(prefix: string, key: PolicyKey): string {
  return policyKeyPrefix(prefix) + segmentsOf(key).join("/");
}

function segmentsOf(key: PolicyKey): readonly string[] {
  switch (key.kind) {
    case "namespaces":
    case "nodes":
      return [key.kind, key.name];
    case "policies":
    case "pods":
      return [key.kind, key.namespace, key.name];
    case "registered":
      return ["nodes", key.node, "pods", key.namespace, key.name];
  }
}

/** Undefined for a key that is none of ours. */
export function parsePolicyKey(prefix: string, text: string): PolicyKey | undefined {
  const stem = policyKeyPrefix(prefix);
  if (!text.startsWith(stem)) return undefined;
  const [kind, ...names] = text.slice(stem.length).split("/");
  if (names.includes("")) return undefined;
  const [first = "", second = "", third = "", fourth = ""] = names;
  if ((kind === "namespaces" || kind === "nodes") && names.length === 1) return { kind, name: first };
  if ((kind === "policies" || kind === "pods") && names.length === 2)
    return { kind, namespace: first, name: second };
  if (kind === "nodes" && names.length === 4 && second === "pods")
    return { kind: "registered", node: first, namespace: third, name: fourth };
  return undefined;
}

/** Whether a name can be a part of a key, and be shown: no slash, no space, nothing that is not printed. */
export function isKeySegment(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$/.test(name);
}
