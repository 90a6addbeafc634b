// What kubectl and client libraries ask before they ask for objects: versions, groups and resources.
import { apiVersionOf, RESOURCE_TYPES } from "./resources.ts";
import type { JsonObject } from "./objects.ts";

/** What a path that means nothing is answered with. */
export const ROOT_PATHS = ["/api", "/apis", "/healthz", "/livez", "/readyz", "/version"];

/** Whether a path names an API group that is served, in whatever version. */
export function isKnownGroup(path: string): boolean {
  if (path === "/api" || path.startsWith("/api/")) return true;
  const [, group] = /^\/apis\/([^/]+)/.exec(path) ?? [];
  return RESOURCE_TYPES.some((type) => type.group !== "" && type.group === group);
}

const VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"];

/** The answer for a path that names no object: JSON, plain text, or undefined for 404. */
export function discover(path: string): JsonObject | string | undefined {
  switch (path.replace(/(?<=.)\/$/, "")) {
    case "/healthz":
    case "/livez":
    case "/readyz":
      return "ok";
    case "/version":
      return {
        major: "1",
        minor: "20",
        gitVersion: "v1.20.2",
        gitCommit: "faecb196815e248d3ecfb03c680a4507229c2a56",
        gitTreeState: "clean",
        buildDate: "2021-01-13T13:20:00Z",
        goVersion: "go1.15.5",
        compiler: "gc",
        platform: "linux/amd64",
      };
    case "/api":
      return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
    case "/apis":
      return { kind: "APIGroupList", apiVersion: "v1", groups: groups() };
    default:
      return resourceList(path);
  }
}

function groups(): JsonObject[] {
  const names = new Set(RESOURCE_TYPES.filter(({ group }) => group !== "").map((type) => apiVersionOf(type)));
  return [...names].map((groupVersion) => {
    const [name, version] = groupVersion.split("/");
    return { name, versions: [{ groupVersion, version }], preferredVersion: { groupVersion, version } };
  });
}

function resourceList(path: string): JsonObject | undefined {
  const [, groupVersion] = /^\/apis?\/(v1|[^/]+\/[^/]+)$/.exec(path) ?? [];
  const types = RESOURCE_TYPES.filter((type) => apiVersionOf(type) === groupVersion);
  if (types.length === 0) return undefined;
  const resources = types.flatMap((type) => {
    const entry = {
      name: type.resource,
      singularName: "",
      namespaced: type.namespaced,
      kind: type.kind,
      verbs: VERBS,
    };
    return type.hasStatus
      ? [entry, { ...entry, name: `${type.resource}/status`, verbs: ["get", "patch", "update"] }]
      : [entry];
  });
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion, resources };
}
