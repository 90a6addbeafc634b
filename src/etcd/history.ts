// Whether a store that answers again is the one that we knew, or has another history at the same revisions. Pure.
import type { EtcdLeaseId, HistoryMark, KeyValue, Revision, StoreIdentity, WatchEvent } from "./client.ts";

/** What we know of a prefix at the revision up to which we have been told. */
export interface KnownHistory {
  /** Absent where the client does not tell. */
  readonly store?: StoreIdentity | undefined;
  readonly count: number;
  /** The keys that were written last, by one transaction, as far as they are still there; with their etcd leases. */
  readonly newest?: { readonly modRevision: Revision; readonly leases: ReadonlyMap<string, EtcdLeaseId> };
}

export function historyOfList(kvs: readonly KeyValue[], store: StoreIdentity | undefined): KnownHistory {
  let modRevision = 0n;
  for (const kv of kvs) if (kv.modRevision > modRevision) modRevision = kv.modRevision;
  if (modRevision === 0n) return { store, count: 0 };
  const newest = kvs.filter((kv) => kv.modRevision === modRevision);
  const leases = new Map(newest.map(({ key, leaseId }) => [key, leaseId]));
  return { store, count: kvs.length, newest: { modRevision, leases } };
}

export function foldHistory(known: KnownHistory, event: WatchEvent): KnownHistory {
  const { store, count, newest } = known;
  if (event.type === "put") {
    const { key, leaseId, createRevision, modRevision } = event.kv;
    const others = newest?.modRevision === modRevision ? newest.leases : [];
    return {
      store,
      count: count + (createRevision === modRevision ? 1 : 0),
      newest: { modRevision, leases: new Map([...others, [key, leaseId]]) },
    };
  }
  const left = new Map([...(newest?.leases ?? [])].filter(([key]) => key !== event.key));
  return {
    store,
    count: count - 1,
    ...(newest && left.size > 0 && { newest: { modRevision: newest.modRevision, leases: left } }),
  };
}

/** Why the store is another one, going by what each of its answers carries; undefined if nothing speaks for that. */
export function describeOtherStore(
  known: StoreIdentity | undefined,
  found: StoreIdentity | undefined,
): string | undefined {
  if (known === undefined || found === undefined) return undefined;
  if (found.clusterId !== known.clusterId)
    return `its cluster ID is ${found.clusterId} and was ${known.clusterId}`;
  // Terms never go back in one history; a new one begins at 2 (raft; etcdserver/bootstrap.go).
  if (found.raftTerm < known.raftTerm) return `its raft term is ${found.raftTerm} and was ${known.raftTerm}`;
  return undefined;
}

/**
 * The same, and by what the store says was there at the revision that we know. Cluster IDs come from flags (member names,
 * URLs, token), so that a store made anew with the same flags has the same one; lease IDs are made anew each time.
 */
export function describeOtherHistory(known: KnownHistory, found: HistoryMark): string | undefined {
  const other = describeOtherStore(known.store, found.store);
  if (other !== undefined) return other;
  if (found.count !== known.count) return `it had ${found.count} keys then and not ${known.count}`;
  const { newest } = known;
  if (newest === undefined) return undefined;
  const isSame =
    found.newest?.modRevision === newest.modRevision &&
    newest.leases.get(found.newest.key) === found.newest.leaseId;
  return isSame ? undefined : `${[...newest.leases.keys()][0]} was not written last then`;
}
