// Policy objects in etcd as commands see them: what is stored of an object, and what a change of it writes.
import { randomUUID } from "node:crypto";
import { EtcdCallError, MAX_TRANSACTION_SIZE } from "../etcd/client.ts";
import type { EtcdClient, EtcdCondition, EtcdWrite, KeyValue } from "../etcd/client.ts";
import { formatPolicyKey } from "../policy/etcd-keys.ts";
import { isObject } from "../policy/problems.ts";
import type { JsonObject } from "../policy/problems.ts";
import { policyKeyOf } from "./policy-kinds.ts";
import type { Identity } from "./policy-kinds.ts";
import { FAILED } from "./policy.ts";
import type { PolicyCall } from "./policy.ts";
import type { Manifest } from "./policy-validate.ts";

/** Runs with a client that is closed afterwards; what etcd refuses is said, and is a failure. */
export async function withEtcd(
  call: PolicyCall,
  run: (client: EtcdClient) => Promise<number>,
): Promise<number> {
  let client: EtcdClient | undefined;
  try {
    client = await call.openEtcd();
    return await run(client);
  } catch (error) {
    if (!(error instanceof EtcdCallError)) throw error;
    call.stderr.write(`${error.message}\n`);
    return FAILED;
  } finally {
    await client?.close();
  }
}

export interface StoredManifest {
  readonly key: string;
  readonly kv: KeyValue | undefined;
  /** Undefined if there is none, or none that can be read. */
  readonly object: JsonObject | undefined;
}

export async function readStored(
  client: EtcdClient,
  prefix: string,
  identity: Identity,
): Promise<StoredManifest> {
  const key = formatPolicyKey(prefix, policyKeyOf(identity));
  const kv = await client.get(key);
  return { key, kv, object: kv && parseObject(kv.value) };
}

export function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export type Outcome = "created" | "configured" | "unchanged";

export interface PlannedChange {
  readonly outcome: Outcome;
  readonly writes: readonly EtcdWrite[];
  readonly conditions: readonly EtcdCondition[];
}

/** Adds what the API server adds: uid, time of creation, and a generation that counts changes of the spec. */
export function planChange(
  manifest: Manifest,
  { key, kv, object }: StoredManifest,
  now: Date = new Date(),
): PlannedChange {
  const before: JsonObject = isObject(object?.["metadata"]) ? object["metadata"] : {};
  const generation = typeof before["generation"] === "number" ? before["generation"] : 0;
  const sameSpec = isSame(object?.["spec"], manifest.spec);
  const { name, namespace, ...texts } = manifest.metadata;
  const metadata = {
    name,
    ...(namespace !== undefined && { namespace }),
    uid: before["uid"] ?? randomUUID(),
    creationTimestamp: before["creationTimestamp"] ?? `${now.toISOString().slice(0, 19)}Z`,
    generation: sameSpec && generation > 0 ? generation : generation + 1,
    ...texts,
  };
  const after = { ...manifest, metadata };
  const conditions: EtcdCondition[] =
    kv === undefined ? [{ key, absent: true }] : [{ key, unchangedSince: kv.modRevision }];
  if (kv === undefined) return { outcome: "created", writes: [putOf(key, after)], conditions };
  if (isSame(object, after)) return { outcome: "unchanged", writes: [], conditions };
  return { outcome: "configured", writes: [putOf(key, after)], conditions };
}

function putOf(key: string, object: object): EtcdWrite {
  return { type: "put", key, value: JSON.stringify(object) };
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

/** With fields in one order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([field, child]) => [field, sorted(child)]),
  );
}

/** Why this many objects cannot be changed at once; undefined if they can. */
export function tooMany(count: number): string | undefined {
  if (count <= MAX_TRANSACTION_SIZE) return undefined;
  return (
    `${count} objects are more than the ${MAX_TRANSACTION_SIZE} that etcd changes in one transaction; ` +
    "apply them in several files"
  );
}
