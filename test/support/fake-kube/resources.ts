// The resource types that the fake API server serves, and how a request's path names them.

export interface ResourceType {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  /** The plural that paths use, e.g. "nodes". */
  readonly resource: ResourceName;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Has a /status subresource: then a write of the object leaves its status alone, and the other way round. */
  readonly hasStatus: boolean;
  /** Counts changes of the spec in metadata.generation. */
  readonly hasGeneration: boolean;
  /** Fields besides metadata.name and metadata.namespace that a fieldSelector may name. */
  readonly selectableFields: readonly string[];
}

export type ResourceName =
  | "nodes"
  | "pods"
  | "namespaces"
  | "events"
  | "configmaps"
  | "services"
  | "daemonsets"
  | "networkpolicies"
  | "leases";

const plain = { group: "", version: "v1", namespaced: true, hasStatus: false, hasGeneration: false } as const;

export const RESOURCE_TYPES: readonly ResourceType[] = [
  {
    ...plain,
    resource: "nodes",
    kind: "Node",
    namespaced: false,
    hasStatus: true,
    selectableFields: ["spec.unschedulable"],
  },
  {
    ...plain,
    resource: "pods",
    kind: "Pod",
    hasStatus: true,
    selectableFields: ["spec.nodeName", "status.phase", "status.podIP", "spec.restartPolicy"],
  },
  {
    ...plain,
    resource: "namespaces",
    kind: "Namespace",
    namespaced: false,
    hasStatus: true,
    selectableFields: ["status.phase"],
  },
  {
    ...plain,
    resource: "events",
    kind: "Event",
    selectableFields: ["involvedObject.kind", "involvedObject.name", "involvedObject.uid", "reason", "type"],
  },
  { ...plain, resource: "configmaps", kind: "ConfigMap", selectableFields: [] },
  { ...plain, resource: "services", kind: "Service", hasStatus: true, selectableFields: [] },
  {
    ...plain,
    group: "apps",
    resource: "daemonsets",
    kind: "DaemonSet",
    hasStatus: true,
    hasGeneration: true,
    selectableFields: [],
  },
  {
    ...plain,
    group: "networking.k8s.io",
    resource: "networkpolicies",
    kind: "NetworkPolicy",
    hasGeneration: true,
    selectableFields: [],
  },
  { ...plain, group: "coordination.k8s.io", resource: "leases", kind: "Lease", selectableFields: [] },
];

export function resourceType(name: ResourceName): ResourceType {
  const found = RESOURCE_TYPES.find(({ resource }) => resource === name);
  if (found === undefined) throw new Error(`the fake API server does not serve "${name}"`);
  return found;
}

/** "v1" or "networking.k8s.io/v1". */
export function apiVersionOf({ group, version }: ResourceType): string {
  return group === "" ? version : `${group}/${version}`;
}

/** "nodes" or "networkpolicies.networking.k8s.io", as error messages name a type. */
export function qualifiedName({ resource, group }: ResourceType): string {
  return group === "" ? resource : `${resource}.${group}`;
}

/** What a path names: a collection, an object, or a subresource of one. */
export interface ResourcePath {
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

/** Undefined when the path names nothing that is served. */
export function parseResourcePath(path: string): ResourcePath | undefined {
  const segments = path.split("/").filter((segment) => segment !== "").map((segment) => decodeURIComponent(segment)); // prettier-ignore
  const root = segments.shift();
  if (root !== "api" && root !== "apis") return undefined;
  const group = root === "api" ? "" : (segments.shift() ?? "");
  const version = segments.shift();
  const find = (resource: string | undefined): ResourceType | undefined =>
    RESOURCE_TYPES.find(
      (type) => type.group === group && type.version === version && type.resource === resource,
    );
  let namespace: string | undefined;
  const [first, second, third] = segments;
  if (first === "namespaces" && second !== undefined && find(third)?.namespaced === true) {
    namespace = second;
    segments.splice(0, 2);
  }
  const [resource, name, subresource, ...rest] = segments;
  const type = find(resource);
  if (type === undefined || rest.length > 0) return undefined;
  if (type.namespaced && name !== undefined && namespace === undefined) return undefined;
  if (subresource !== undefined && !(subresource === "status" && type.hasStatus)) return undefined;
  return { type, namespace, name, subresource };
}
