// The seam to etcd: the few calls that flanneld-ts needs, so that the library behind them can be exchanged.

/** Revisions and lease IDs are int64 in etcd; as text they survive JSON and JavaScript numbers. */
export type Revision = bigint;
export type EtcdLeaseId = string;

export interface KeyValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** "0" when the key has no lease. */
  readonly leaseId: EtcdLeaseId;
}

export type WatchEvent =
  | { readonly type: "put"; readonly kv: KeyValue }
  | { readonly type: "delete"; readonly key: string; readonly modRevision: Revision };

/** The requested revision was compacted away: list again and watch from there. */
export class CompactedError extends Error {
  override readonly name = "CompactedError";
}

/** A call failed. `retryable` is false for wrong credentials, missing permission and the like. */
export class EtcdCallError extends Error {
  override readonly name = "EtcdCallError";
  readonly retryable: boolean;
  constructor(message: string, retryable: boolean, options?: ErrorOptions) {
    super(message, options);
    this.retryable = retryable;
  }
}

export interface PutOptions {
  readonly leaseId?: EtcdLeaseId;
  /** Succeed only if the key does not exist (Version == 0) or was last written at this revision. */
  readonly only?: { readonly absent: true } | { readonly unchangedSince: Revision };
}

/** Of one key in a transaction. */
export type EtcdWrite =
  | { readonly type: "put"; readonly key: string; readonly value: string; readonly leaseId?: EtcdLeaseId }
  | { readonly type: "delete"; readonly key: string };

/** A condition of a transaction: nobody wrote the key since, or nobody created it. */
export type EtcdCondition = { readonly key: string } & NonNullable<PutOptions["only"]>;

/** etcd's own limit, for writes and for conditions (--max-txn-ops). */
export const MAX_TRANSACTION_SIZE = 128;

/** What each answer of a server says of its store (etcd's ResponseHeader). */
export interface StoreIdentity {
  readonly clusterId: string;
  readonly raftTerm: bigint;
}

export interface KeyList {
  readonly kvs: readonly KeyValue[];
  readonly revision: Revision;
  readonly store?: StoreIdentity;
}

/** What a prefix held at a revision, in a few bytes. */
export interface HistoryMark {
  readonly store?: StoreIdentity;
  readonly count: number;
  /** The key that was written last of those that were there; absent if none was. */
  readonly newest?: Pick<KeyValue, "key" | "modRevision" | "leaseId">;
}

/** All calls throw `EtcdCallError`; all have a deadline of their own. */
export interface EtcdClient {
  get(key: string): Promise<KeyValue | undefined>;
  /** All keys with the prefix, in key order, paged inside; `revision` is that of the first page, all pages are read at it. */
  list(prefix: string): Promise<KeyList>;
  /** What there was at a revision. @throws {EtcdCallError} also where that is compacted or has not been yet */
  markAt(prefix: string, revision: Revision): Promise<HistoryMark>;
  /** Returns false if the condition in `only` did not hold. */
  put(key: string, value: string, options?: PutOptions): Promise<boolean>;
  /**
   * Does all of the writes or, if a condition does not hold, none; returns which. No key may be written twice; at most
   * MAX_TRANSACTION_SIZE of either.
   */
  transact(writes: readonly EtcdWrite[], conditions?: readonly EtcdCondition[]): Promise<boolean>;
  /** Deletes, if `unchangedSince` is given only when nobody wrote since. Returns whether a key was deleted. */
  delete(key: string, unchangedSince?: Revision): Promise<boolean>;
  grantLease(ttlSeconds: number): Promise<EtcdLeaseId>;
  /** One keepalive. Returns the new TTL in seconds, or 0 if the lease no longer exists. */
  keepAliveOnce(leaseId: EtcdLeaseId): Promise<number>;
  /** Remaining and granted TTL, seconds; `ttl` is -1 if the lease no longer exists. */
  timeToLive(leaseId: EtcdLeaseId): Promise<{ readonly ttl: number; readonly grantedTtl: number }>;
  revokeLease(leaseId: EtcdLeaseId): Promise<void>;
  /**
   * Watches a prefix from `fromRevision` (inclusive), yielding the events of one response at a time; loses none and
   * repeats none over reconnects, however often the stream is cut. Ends only when aborted.
   * @throws {CompactedError} when `fromRevision` or the resume point is compacted
   * @throws {EtcdCallError} with retryable false (permission denied)
   */
  watch(
    prefix: string,
    fromRevision: Revision,
    options: {
      readonly signal: AbortSignal;
      /** Told when the stream is lost and when it is back, with the reason. */
      onState?(state: { readonly connected: boolean; readonly reason?: string }): void;
    },
  ): AsyncIterable<readonly WatchEvent[]>;
  close(): Promise<void>;
}
