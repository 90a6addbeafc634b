// The etcd client over the `etcd3` package, without its watcher, retries and authentication.
import type { ICompare, ILeaseKeepAliveResponse, IRangeResponse, IRequestOp, IResponseHeader } from "etcd3";
import { SILENT_LOGGER } from "../net/logger.ts";
import type { Logger } from "../net/logger.ts";
import { EtcdCalls } from "./calls.ts";
import { CompactedError } from "./client.ts";
import type {
  EtcdClient,
  EtcdCondition,
  EtcdLeaseId,
  EtcdWrite,
  HistoryMark,
  KeyList,
  KeyValue,
  PutOptions,
  Revision,
  StoreIdentity,
} from "./client.ts";
import { classifyFailure } from "./call-errors.ts";
import { decodeKeyValue, keyAfter, prefixEnd } from "./codec.ts";
import type { EtcdConnection } from "./connection.ts";
import { watchPrefix } from "./watch.ts";

/** Keys per page of a list: some 200 kB of leases. */
const PAGE_SIZE = 500;
/** A list whose revision is compacted between two pages begins again; more often than this is not chance. */
const LIST_ATTEMPTS = 5;
const KEEPALIVE_TIMEOUT_MS = 5_000;

/**
 * Connects lazily; the first call does it. What is odd about the connection is logged as a warning.
 * @throws {InvalidValueError} for endpoints that are none
 * @throws {EtcdCallError} not retryable, for certificate files that cannot be read or do not fit
 */
export function createEtcdClient(
  connection: EtcdConnection,
  { log = SILENT_LOGGER, random = Math.random }: { log?: Logger; random?: () => number } = {},
): EtcdClient {
  const calls = new EtcdCalls(connection, { log, random });
  for (const warning of calls.warnings) log.warn({}, warning);
  return {
    get: (key) => getKey(calls, key),
    list: (prefix) => listPrefix(calls, prefix),
    markAt: (prefix, revision) => markAt(calls, prefix, revision),
    put: (key, value, options = {}) => putKey(calls, key, value, options),
    transact: (writes, conditions = []) => transact(calls, writes, conditions),
    delete: (key, unchangedSince) => deleteKey(calls, key, unchangedSince),
    grantLease: (ttlSeconds) => grantLease(calls, ttlSeconds),
    keepAliveOnce: (leaseId) => keepAliveOnce(calls, leaseId),
    timeToLive: (leaseId) => timeToLive(calls, leaseId),
    revokeLease: (leaseId) => revokeLease(calls, leaseId),
    watch: (prefix, fromRevision, options) =>
      watchPrefix(prefix, fromRevision, options, {
        calls,
        currentRevision: () => currentRevision(calls, prefix),
        random,
      }),
    close: () => Promise.resolve(calls.close()),
  };
}

async function getKey(calls: EtcdCalls, key: string): Promise<KeyValue | undefined> {
  const { kvs } = await calls.call(`get ${key}`, (etcd, options) =>
    etcd.kv.range({ key: Buffer.from(key), limit: 1 }, options),
  );
  return kvs[0] && decodeKeyValue(kvs[0]);
}

async function currentRevision(calls: EtcdCalls, key: string): Promise<Revision> {
  const { header } = await calls.call(`get ${key}`, (etcd, options) =>
    etcd.kv.range({ key: Buffer.from(key), limit: 1, keys_only: true }, options),
  );
  return BigInt(header.revision);
}

async function markAt(calls: EtcdCalls, prefix: string, revision: Revision): Promise<HistoryMark> {
  const { header, count, kvs } = await calls.call(
    `look at ${prefix} at revision ${revision}`,
    (etcd, options) =>
      etcd.kv.range(
        {
          key: Buffer.from(prefix),
          range_end: prefixEnd(prefix),
          revision: String(revision),
          sort_target: "Mod",
          sort_order: "Descend",
          limit: 1,
          keys_only: true,
        },
        options,
      ),
  );
  const [newest] = kvs.map(decodeKeyValue);
  return { store: identityOf(header), count: Number(count), ...(newest && { newest }) };
}

function identityOf({ cluster_id, raft_term }: IResponseHeader): StoreIdentity {
  return { clusterId: cluster_id, raftTerm: BigInt(raft_term) };
}

async function listPrefix(calls: EtcdCalls, prefix: string): Promise<KeyList> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await listPages(calls, prefix);
    } catch (error) {
      if (!(error instanceof CompactedError) || attempt === LIST_ATTEMPTS) throw error;
    }
  }
}

async function listPages(calls: EtcdCalls, prefix: string): Promise<KeyList> {
  const kvs: KeyValue[] = [];
  let revision: Revision | undefined;
  let from: Buffer = Buffer.from(prefix);
  for (;;) {
    const page = await readPage(calls, prefix, from, revision);
    revision ??= BigInt(page.header.revision);
    kvs.push(...page.kvs.map(decodeKeyValue));
    const last = page.kvs.at(-1);
    if (!page.more || last === undefined) return { kvs, revision, store: identityOf(page.header) };
    from = keyAfter(last.key);
  }
}

async function readPage(
  calls: EtcdCalls,
  prefix: string,
  from: Buffer,
  revision?: Revision,
): Promise<IRangeResponse> {
  const request = {
    key: from,
    range_end: prefixEnd(prefix),
    limit: PAGE_SIZE,
    revision: String(revision ?? 0),
  };
  return await calls.call(`list ${prefix}`, async (etcd, options) => {
    try {
      return await etcd.kv.range(request, options);
    } catch (error) {
      if (classifyFailure(error).kind === "compacted")
        throw new CompactedError(`list ${prefix}`, { cause: error });
      throw error;
    }
  });
}

async function putKey(calls: EtcdCalls, key: string, value: string, options: PutOptions): Promise<boolean> {
  const put = { key: Buffer.from(key), value: Buffer.from(value), lease: options.leaseId ?? "0" };
  if (options.only === undefined) {
    await calls.call(`put ${key}`, (etcd, callOptions) => etcd.kv.put(put, callOptions));
    return true;
  }
  const compare = conditionOf(key, options.only);
  const read: IRequestOp = { request_range: { key: put.key, limit: 1 } };
  let attempts = 0;
  const response = await calls.call(`put ${key}`, (etcd, callOptions) => {
    attempts += 1;
    return etcd.kv.txn({ compare: [compare], success: [{ request_put: put }], failure: [read] }, callOptions);
  });
  if (response.succeeded) return true;
  // An attempt that got no answer may have been carried out; then what stands there is what we wrote.
  const found = response.responses[0]?.response_range?.kvs[0];
  return attempts > 1 && found !== undefined && found.value.equals(put.value) && found.lease === put.lease;
}

async function transact(
  calls: EtcdCalls,
  writes: readonly EtcdWrite[],
  conditions: readonly EtcdCondition[],
): Promise<boolean> {
  const compare = conditions.map(({ key, ...only }) => conditionOf(key, only));
  const success = writes.map(requestOf);
  const failure: IRequestOp[] = writes.map(({ key }) => ({
    request_range: { key: Buffer.from(key), limit: 1 },
  }));
  let attempts = 0;
  const response = await calls.call(`transaction of ${writes.length} keys`, (etcd, options) => {
    attempts += 1;
    return etcd.kv.txn({ compare, success, failure }, options);
  });
  if (response.succeeded) return true;
  // As with a put: an attempt that got no answer may have been carried out.
  return (
    attempts > 1 &&
    writes.every((write, index) => {
      const found = response.responses[index]?.response_range?.kvs[0];
      return write.type === "delete"
        ? found === undefined
        : found !== undefined &&
            found.value.toString() === write.value &&
            found.lease === (write.leaseId ?? "0");
    })
  );
}

function requestOf(write: EtcdWrite): IRequestOp {
  const key = Buffer.from(write.key);
  if (write.type === "delete") return { request_delete_range: { key } };
  return { request_put: { key, value: Buffer.from(write.value), lease: write.leaseId ?? "0" } };
}

function conditionOf(key: string, only: NonNullable<PutOptions["only"]>): ICompare {
  return "absent" in only
    ? { key: Buffer.from(key), target: "Version", result: "Equal", version: "0" }
    : { key: Buffer.from(key), target: "Mod", result: "Equal", mod_revision: String(only.unchangedSince) };
}

async function deleteKey(calls: EtcdCalls, key: string, unchangedSince?: Revision): Promise<boolean> {
  const compare = unchangedSince === undefined ? [] : [conditionOf(key, { unchangedSince })];
  const success = [{ request_delete_range: { key: Buffer.from(key) } }];
  const response = await calls.call(`delete ${key}`, (etcd, options) =>
    etcd.kv.txn({ compare, success }, options),
  );
  return response.succeeded && response.responses[0]?.response_delete_range?.deleted !== "0";
}

async function grantLease(calls: EtcdCalls, ttlSeconds: number): Promise<EtcdLeaseId> {
  const response = await calls.call("grant of a lease", (etcd, options) =>
    etcd.leaseClient.leaseGrant({ TTL: ttlSeconds }, options),
  );
  return response.ID;
}

async function keepAliveOnce(calls: EtcdCalls, leaseId: EtcdLeaseId): Promise<number> {
  const response = await calls.call("keepalive of a lease", async (etcd, options) => {
    const stream = await etcd.leaseClient.leaseKeepAlive({
      ...options,
      deadline: Date.now() + KEEPALIVE_TIMEOUT_MS,
    });
    try {
      return await new Promise<ILeaseKeepAliveResponse>((resolve, reject) => {
        stream.on("data", resolve);
        stream.on("error", reject);
        stream.on("end", () => reject(new Error("UNAVAILABLE: the server ended the keepalive stream")));
        stream.write({ ID: leaseId });
      });
    } finally {
      stream.on("error", () => undefined);
      stream.cancel();
    }
  });
  return Number(response.TTL);
}

async function timeToLive(
  calls: EtcdCalls,
  leaseId: EtcdLeaseId,
): Promise<{ ttl: number; grantedTtl: number }> {
  const response = await calls.call("time to live of a lease", (etcd, options) =>
    etcd.leaseClient.leaseTimeToLive({ ID: leaseId }, options),
  );
  return { ttl: Number(response.TTL), grantedTtl: Number(response.grantedTTL) };
}

async function revokeLease(calls: EtcdCalls, leaseId: EtcdLeaseId): Promise<void> {
  await calls.call("revocation of a lease", async (etcd, options) => {
    try {
      await etcd.leaseClient.leaseRevoke({ ID: leaseId }, options);
    } catch (error) {
      if (classifyFailure(error).kind !== "lease-not-found") throw error;
    }
  });
}
