// What all parts of the etcd subnet manager share, and the small things they all need.
import { setTimeout as delay } from "node:timers/promises";
import type { EtcdClient, EtcdLeaseId, KeyValue } from "../etcd/client.ts";
import type { Logger } from "../net/logger.ts";
import type { StoredEntry } from "./etcd-acquire-plan.ts";
import type { EtcdHealth } from "./etcd-health.ts";
import { readLeaseEntry } from "./etcd-lease-codec.ts";
import type { Lease } from "./lease.ts";

export interface EtcdContext {
  readonly client: EtcdClient;
  /** Without a trailing slash. */
  readonly prefix: string;
  readonly leaseTtlSeconds: number;
  readonly log: Logger;
  readonly health: EtcdHealth;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** etcd's ID for "no lease". */
export const NO_LEASE: EtcdLeaseId = "0";

/** Our own lease as we last saw it in etcd. */
export interface HeldLease {
  readonly key: string;
  readonly lease: Lease;
  /** `NO_LEASE` for a reservation, which has none and gets none. */
  readonly leaseId: EtcdLeaseId;
}

export type ListedEntry = StoredEntry & { readonly kv: KeyValue };

export function readEntry({ prefix }: EtcdContext, kv: KeyValue): ListedEntry {
  return { ...readLeaseEntry(prefix, kv.key, kv.value), reservation: kv.leaseId === NO_LEASE, kv };
}

/** The moment at which a lease that was granted or renewed now will expire. */
export function expiryAfter({ now }: Pick<EtcdContext, "now">, ttlSeconds: number): number {
  return now() + ttlSeconds * 1000;
}

/** Waits, with up to half of it taken off at random so that daemons do not march in step. @throws when aborted */
export async function pause(
  context: Pick<EtcdContext, "random">,
  ms: number,
  signal: AbortSignal,
): Promise<void> {
  await delay(ms * (1 - context.random() / 2), undefined, { signal });
}
