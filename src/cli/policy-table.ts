// Policy objects as people and kubectl read them: tables, and manifests of what no person has written. Pure.
import { printable } from "../net/printable.ts";
import { isObject } from "../policy/problems.ts";
import type { JsonObject } from "../policy/problems.ts";
import type { ClusterNode, Namespace, Pod } from "../policy/snapshot.ts";
import { NAMESPACE, NETWORK_POLICY, NODE, POD } from "./policy-kinds.ts";
import type { Identity, ObjectKind } from "./policy-kinds.ts";

export interface Shown {
  readonly identity: Identity;
  readonly manifest: JsonObject;
}

export function manifestOfNamespace({ name, labels }: Namespace): JsonObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

export function manifestOfNode({ name, addresses, podCidrs }: ClusterNode): JsonObject {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name },
    spec: { podCIDRs: podCidrs },
    status: { addresses: addresses.map((address) => ({ type: "InternalIP", address })) },
  };
}

export function manifestOfPod(pod: Pod): JsonObject {
  const { namespace, name, uid, labels, createdAtMs, nodeName, ports, ips } = pod;
  const containers = ports.map(({ name: portName, port, protocol }) => ({
    name: portName,
    containerPort: port,
    protocol,
  }));
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      ...(uid !== "" && { uid }),
      ...(createdAtMs !== undefined && { creationTimestamp: new Date(createdAtMs).toISOString() }),
      labels,
    },
    spec: {
      ...(nodeName !== "" && { nodeName }),
      ...(containers.length > 0 && { containers: [{ name: "pod", ports: containers }] }),
    },
    status: { podIPs: ips.map((ip) => ({ ip })) },
  };
}

export interface TableSettings {
  readonly withNamespace: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export function renderTable(
  kind: ObjectKind,
  shown: readonly Shown[],
  { withNamespace, now }: TableSettings,
): string {
  if (shown.length === 0) return "";
  const named = withNamespace && kind.isNamespaced ? ["NAMESPACE", "NAME"] : ["NAME"];
  const rows = shown.map(({ identity, manifest }) => [
    ...(named.length > 1 ? [identity.namespace ?? ""] : []),
    identity.name,
    ...cellsOf(kind, manifest),
    ageOf(manifest, now),
  ]);
  return alignColumns([[...named, ...HEADS[kind.plural]!, "AGE"], ...rows]);
}

const HEADS: Readonly<Record<string, readonly string[]>> = {
  [NETWORK_POLICY.plural]: ["POD-SELECTOR", "TYPES"],
  [NAMESPACE.plural]: ["LABELS"],
  [POD.plural]: ["IPS", "NODE", "LABELS"],
  [NODE.plural]: ["ADDRESSES", "POD-CIDRS"],
};

function cellsOf(kind: ObjectKind, manifest: JsonObject): readonly string[] {
  const metadata = objectAt(manifest, "metadata");
  const spec = objectAt(manifest, "spec");
  const status = objectAt(manifest, "status");
  switch (kind) {
    case NETWORK_POLICY:
      return [describeSelector(objectAt(spec, "podSelector")), texts(spec["policyTypes"]).join(",")];
    case NAMESPACE:
      return [describeLabels(objectAt(metadata, "labels"))];
    case POD:
      return [
        texts(status["podIPs"], "ip").join(","),
        typeof spec["nodeName"] === "string" ? spec["nodeName"] : "",
        describeLabels(objectAt(metadata, "labels")),
      ];
    default:
      return [texts(status["addresses"], "address").join(","), texts(spec["podCIDRs"]).join(",")];
  }
}

function objectAt(value: JsonObject, field: string): JsonObject {
  const child = value[field];
  return isObject(child) ? child : {};
}

/** The texts of a list, or of a field of its objects. */
function texts(list: unknown, field?: string): readonly string[] {
  if (!Array.isArray(list)) return [];
  return list.map((item: unknown) => String(field !== undefined && isObject(item) ? item[field] : item));
}

function describeLabels(labels: JsonObject): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(",");
}

/** As kubectl writes it: `app=web,tier in (a,b),!old`. */
function describeSelector(selector: JsonObject): string {
  const expressions = Array.isArray(selector["matchExpressions"]) ? selector["matchExpressions"] : [];
  const parts = [
    ...Object.entries(objectAt(selector, "matchLabels")).map(([key, value]) => `${key}=${String(value)}`),
    ...expressions.filter(isObject).map(({ key, operator, values }) => {
      const list = `(${texts(values).join(",")})`;
      const forms: Readonly<Record<string, string>> = {
        In: `${String(key)} in ${list}`,
        NotIn: `${String(key)} notin ${list}`,
        Exists: String(key),
        DoesNotExist: `!${String(key)}`,
      };
      return forms[String(operator)] ?? "?";
    }),
  ];
  return parts.join(",");
}

const UNITS: readonly (readonly [limit: number, divisor: number, letter: string])[] = [
  [120, 1, "s"],
  [120 * 60, 60, "m"],
  [48 * 3600, 3600, "h"],
  [Number.POSITIVE_INFINITY, 86_400, "d"],
];

function ageOf(manifest: JsonObject, now: number): string {
  const since = Date.parse(String(objectAt(manifest, "metadata")["creationTimestamp"]));
  if (Number.isNaN(since)) return "";
  const seconds = Math.max(0, Math.floor((now - since) / 1000));
  const [, divisor = 1, letter = "s"] = UNITS.find(([limit]) => seconds < limit) ?? [];
  return `${Math.floor(seconds / divisor)}${letter}`;
}

/** An empty cell is "<none>", as in kubectl. */
function alignColumns(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map((cell) => (cell === "" ? "<none>" : printable(cell))));
  const widths =
    cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("   ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}
