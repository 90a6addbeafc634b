// Values of policy objects in etcd: JSON of the Kubernetes kinds, written for ourselves and read from anybody; pure.
import { formatProblem, isObject } from "./problems.ts";
import type { LocalNode, LocalPod } from "./pod-registry.ts";
import { compareClaims } from "./snapshot.ts";
import type { NamedPort, Pod } from "./snapshot.ts";

/** What a daemon registers of a pod: what a kubelet would write, as far as policy needs it. */
export function formatRegisteredPod(pod: LocalPod, nodeName: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      namespace: pod.namespace,
      name: pod.name,
      uid: pod.uid,
      creationTimestamp: new Date(pod.createdAtMs).toISOString(),
      labels: pod.labels,
    },
    spec: { nodeName, containers: [{ name: "attached", ports: pod.ports.map(formatPort) }] },
    status: { phase: "Running", podIPs: pod.ips.map((ip) => ({ ip })) },
  });
}

function formatPort({ name, protocol, port }: NamedPort): object {
  return { name, containerPort: port, protocol };
}

export function formatRegisteredNode({ addresses, podCidrs }: LocalNode, name: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name },
    spec: { podCIDRs: podCidrs },
    status: { addresses: addresses.map((address) => ({ type: "InternalIP", address })) },
  });
}

export interface StoredObject {
  /** With the names that the key has, whatever the value says. */
  readonly input: unknown;
  /** What is wrong with the value as a whole. */
  readonly reason?: string;
  /** It is no JSON object at all. */
  readonly isUnreadable?: true;
}

/**
 * Reads a value under a key that names the object. What is no object at all gets a spec that cannot be understood, so that
 * a policy is closed and not forgotten.
 */
export function readStoredObject(
  value: string,
  names: { readonly name: string; readonly namespace?: string },
): StoredObject {
  let json: unknown;
  try {
    json = JSON.parse(value);
  } catch (error) {
    return broken(names, `the value is not JSON: ${(error as SyntaxError).message}`);
  }
  if (!isObject(json)) return broken(names, "the value is not a JSON object");
  const metadata = isObject(json["metadata"]) ? json["metadata"] : {};
  const wrong = Object.entries(names).find(([field, name]) => (metadata[field] ?? name) !== name);
  const input = { ...json, metadata: { ...metadata, ...names } };
  if (wrong === undefined) return { input };
  const [field, name] = wrong;
  return {
    input,
    reason: formatProblem({
      path: `metadata.${field}`,
      message: `is ${JSON.stringify(metadata[field])}, but the key says ${name}`,
    }),
  };
}

function broken(names: object, reason: string): StoredObject {
  return { input: { metadata: names, spec: "" }, reason, isUnreadable: true };
}

/**
 * One pod of what its node has registered and what people have declared of it. Where it is and which addresses it has is the
 * node's word; labels of the same key and ports of the same name are the people's. Of several nodes that claim it, the one
 * where it began last.
 */
export function mergePod(declared: Pod | undefined, registered: readonly Pod[]): Pod | undefined {
  const [own] = registered.toSorted(compareClaims);
  if (own === undefined || declared === undefined) return own ?? declared;
  const isDeclared = (port: NamedPort): boolean =>
    declared.ports.some(({ name, protocol }) => name === port.name && protocol === port.protocol);
  return {
    ...own,
    labels: { ...own.labels, ...declared.labels },
    ports: [...declared.ports, ...own.ports.filter((port) => !isDeclared(port))],
  };
}
