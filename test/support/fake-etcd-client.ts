// An etcd in memory behind our client interface: revisions, conditions, leases and watches, one event loop turn per call.
import { CompactedError, EtcdCallError } from "../../src/etcd/client.ts";
import type { EtcdClient, EtcdLeaseId, KeyValue, Revision, WatchEvent } from "../../src/etcd/client.ts";

export interface FakeEtcd extends EtcdClient {
  /** The keys there are, in order, with their values: for assertions. */
  entries(): readonly (readonly [string, string])[];
  /** Runs before each write, so that a test can get in between a read and a write. */
  beforePut: ((key: string) => void | Promise<void>) | undefined;
  /** Makes every call fail with this error until unset. */
  failure: Error | undefined;
  /** How many calls were made. */
  readonly calls: { get: number; put: number; list: number; delete: number };
  /** Forgets history up to and including `revision`. */
  compact(revision: Revision): void;
  /** Ends an etcd lease and deletes its keys, as its expiry does. */
  expire(leaseId: EtcdLeaseId): void;
}

/** A fresh, empty store. */
export function createFakeEtcd(initial: Readonly<Record<string, string>> = {}): FakeEtcd {
  const store = new Map<string, KeyValue>();
  const history: WatchEvent[] = [];
  const leases = new Map<EtcdLeaseId, number>();
  const waiting = new Set<() => void>();
  let revision = 1n;
  let compacted = 0n;
  let nextLease = 1;

  const record = (event: WatchEvent): void => {
    history.push(event);
    for (const wake of waiting) wake();
  };
  const write = (key: string, value: string, leaseId: EtcdLeaseId): void => {
    revision += 1n;
    const createRevision = store.get(key)?.createRevision ?? revision;
    const kv = { key, value, createRevision, modRevision: revision, leaseId };
    store.set(key, kv);
    record({ type: "put", kv });
  };
  const erase = (key: string): void => {
    if (!store.delete(key)) return;
    revision += 1n;
    record({ type: "delete", key, modRevision: revision });
  };
  const enter = async (): Promise<void> => {
    await Promise.resolve();
    if (fake.failure !== undefined) throw fake.failure;
  };
  const revisionOf = (event: WatchEvent): Revision =>
    event.type === "put" ? event.kv.modRevision : event.modRevision;

  const fake: FakeEtcd = {
    beforePut: undefined,
    failure: undefined,
    calls: { get: 0, put: 0, list: 0, delete: 0 },
    entries: () =>
      [...store.values()].map(({ key, value }) => [key, value] as const).sort(([a], [b]) => (a < b ? -1 : 1)),
    compact: (upTo) => {
      compacted = upTo;
    },
    expire: (leaseId) => {
      leases.delete(leaseId);
      for (const kv of store.values()) if (kv.leaseId === leaseId) erase(kv.key);
    },
    async get(key) {
      fake.calls.get += 1;
      await enter();
      return store.get(key);
    },
    async list(prefix) {
      fake.calls.list += 1;
      await enter();
      const kvs = [...store.values()]
        .filter(({ key }) => key.startsWith(prefix))
        .sort((a, b) => (a.key < b.key ? -1 : 1));
      return { kvs, revision };
    },
    async markAt(prefix, at) {
      await enter();
      if (at < compacted || at > revision) throw new EtcdCallError(`revision ${at} is not to be had`, true);
      const there = new Map<string, KeyValue>();
      for (const event of history) {
        if (revisionOf(event) > at) break;
        if (event.type === "delete") there.delete(event.key);
        else if (event.kv.key.startsWith(prefix)) there.set(event.kv.key, event.kv);
      }
      const newest = [...there.values()].toSorted((a, b) => Number(b.modRevision - a.modRevision))[0];
      return { count: there.size, ...(newest && { newest }) };
    },
    async put(key, value, { leaseId = "0", only } = {}) {
      fake.calls.put += 1;
      await enter();
      await fake.beforePut?.(key);
      const current = store.get(key);
      if (only !== undefined) {
        const holds = "absent" in only ? current === undefined : current?.modRevision === only.unchangedSince;
        if (!holds) return false;
      }
      write(key, value, leaseId);
      return true;
    },
    async transact(writes, conditions = []) {
      fake.calls.put += 1;
      await enter();
      const holds = conditions.every((condition) => {
        const current = store.get(condition.key);
        return "absent" in condition
          ? current === undefined
          : current?.modRevision === condition.unchangedSince;
      });
      if (!holds) return false;
      for (const operation of writes) {
        if (operation.type === "put") write(operation.key, operation.value, operation.leaseId ?? "0");
        else erase(operation.key);
      }
      return true;
    },
    async delete(key, unchangedSince) {
      fake.calls.delete += 1;
      await enter();
      const current = store.get(key);
      if (current === undefined) return false;
      if (unchangedSince !== undefined && current.modRevision !== unchangedSince) return false;
      erase(key);
      return true;
    },
    async grantLease(ttlSeconds) {
      await enter();
      const id = String(nextLease++);
      leases.set(id, ttlSeconds);
      return id;
    },
    async keepAliveOnce(leaseId) {
      await enter();
      return leases.get(leaseId) ?? 0;
    },
    async timeToLive(leaseId) {
      await enter();
      const ttl = leases.get(leaseId);
      return { ttl: ttl ?? -1, grantedTtl: ttl ?? 0 };
    },
    async revokeLease(leaseId) {
      await enter();
      fake.expire(leaseId);
    },
    async *watch(prefix, fromRevision, options) {
      const { signal } = options;
      await enter();
      if (fromRevision <= compacted) throw new CompactedError(`revision ${fromRevision} is compacted`);
      options.onState?.({ connected: true });
      for (let position = 0; !signal.aborted;) {
        const fresh = history.slice(position);
        position = history.length;
        const events = fresh.filter((event) => {
          const key = event.type === "put" ? event.kv.key : event.key;
          return key.startsWith(prefix) && revisionOf(event) >= fromRevision;
        });
        if (events.length > 0) yield events;
        else if (position === history.length) await wakeUp(waiting, signal);
      }
    },
    close: () => Promise.resolve(),
  };
  for (const [key, value] of Object.entries(initial)) write(key, value, "0");
  return fake;
}

/** Until something is written or the watch is aborted. */
function wakeUp(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => {
      waiting.delete(wake);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    waiting.add(wake);
    signal.addEventListener("abort", wake);
    if (signal.aborted) wake();
  });
}
