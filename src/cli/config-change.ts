// What a change of the cluster's configuration means, in words for the operator. Pure.
import { fitsConfig } from "../ipam/etcd-acquire-plan.ts";
import type { Lease } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import { isJsonObject, lookupOption, parseGoJson } from "../net/go-json.ts";

/** More are counted, not listed. */
const MAX_LISTED = 5;

/** One line per key of the configuration that differs. `before` may be broken text. */
export function describeConfigChange(before: string | undefined, after: string): string {
  if (before === undefined) return `created: ${after}\n`;
  const old = parseObject(before);
  if (old === undefined) return `replaced what could not be read: ${before.trimEnd()}\nnow: ${after}\n`;
  const now = parseObject(after) ?? {};
  const keys = [...new Set([...Object.keys(now), ...Object.keys(old).map((key) => canonicalKey(key, now))])];
  const show = (value: unknown): string => (value === undefined ? "(absent)" : JSON.stringify(value));
  return keys
    .map((key) => [key, show(lookupOption(old, key)), show(now[key])] as const)
    .filter(([, from, to]) => from !== to)
    .map(([key, from, to]) => `${key}: ${from} -> ${to}\n`)
    .join("");
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value = parseGoJson(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function canonicalKey(key: string, now: Readonly<Record<string, unknown>>): string {
  return Object.keys(now).find((name) => name.toLowerCase() === key.toLowerCase()) ?? key;
}

/**
 * What the change breaks for nodes that hold a lease: one sentence per kind, none if it breaks nothing. Leases that did
 * not fit before either are not held against the change.
 */
export function describeLeaseConflicts(
  leases: readonly Lease[],
  { before, after }: { readonly before: NetworkConfig | undefined; readonly after: NetworkConfig },
): readonly string[] {
  const broken = (isBroken: (lease: Lease, config: NetworkConfig) => boolean) =>
    leases.filter((lease) => isBroken(lease, after) && (before === undefined || !isBroken(lease, before)));
  const misfits = broken((lease, config) => !fitsConfig(config, lease));
  const strangers = broken((lease, config) => lease.backendType !== publishedType(config));
  return [
    ...(misfits.length === 0
      ? []
      : [
          `${describeLeases(misfits)} would not fit the new configuration: when its daemon starts again, such a node takes ` +
            "another subnet, and the pods that run on it lose the network",
        ]),
    ...(strangers.length === 0
      ? []
      : [
          `${describeLeases(strangers)} would be of another backend type than ${after.backend.type}: nodes of different ` +
            "types do not reach each other until the daemons of all nodes are restarted",
        ]),
  ];
}

/** udp and alloc publish no type (flannel 2.1). */
function publishedType({ backend }: NetworkConfig): string {
  return backend.type === "udp" || backend.type === "alloc" ? "" : backend.type;
}

function describeLeases(leases: readonly Lease[]): string {
  const listed = leases
    .slice(0, MAX_LISTED)
    .map((lease) => `${lease.subnet ?? lease.subnet6} of ${lease.nodeName}`);
  const more = leases.length > MAX_LISTED ? ` and ${leases.length - MAX_LISTED} more` : "";
  return `${leases.length} ${leases.length === 1 ? "lease" : "leases"} (${listed.join(", ")}${more})`;
}
