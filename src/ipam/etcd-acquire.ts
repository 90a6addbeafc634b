// Takes a subnet in etcd: carries out the plan, and repeats it after races, outages and while the network is full.
import { CompactedError, EtcdCallError } from "../etcd/client.ts";
import type { EtcdLeaseId } from "../etcd/client.ts";
import type { chooseSubnet } from "./allocator.ts";
import { isFree, planAcquire } from "./etcd-acquire-plan.ts";
import type { AcquirePlan } from "./etcd-acquire-plan.ts";
import { expiryAfter, NO_LEASE, pause, readEntry } from "./etcd-context.ts";
import type { EtcdContext, HeldLease, ListedEntry } from "./etcd-context.ts";
import { formatLeaseKey, formatLeaseValue, leaseKeyPrefix } from "./etcd-lease-codec.ts";
import type { LeaseSubnets } from "./etcd-lease-codec.ts";
import type { Lease, LeaseAttributes } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";
import type { AcquireRequest } from "./subnet-manager.ts";

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;
/** After a lost race; others who lost it wait differently long. */
const RACE_PAUSE_MS = 50;
/** While the network is full we watch for a freed subnet; should that fail, we look again this often. */
const FULL_POLL_MS = 30_000;

type Attempt = HeldLease | "again" | { readonly full: string; readonly revision: bigint };

export interface AcquireContext extends EtcdContext {
  readonly chooseSubnet: typeof chooseSubnet;
}

/**
 * Returns only with a lease.
 * @throws {EtcdCallError} that is not retryable
 * @throws the signal's reason
 */
export async function acquireLease(
  context: AcquireContext,
  config: NetworkConfig,
  request: AcquireRequest,
  signal: AbortSignal,
): Promise<HeldLease> {
  let retryMs = RETRY_MIN_MS;
  for (;;) {
    signal.throwIfAborted();
    try {
      const result = await attemptAcquire(context, config, request);
      if (result === "again") {
        await pause(context, RACE_PAUSE_MS, signal);
      } else if ("full" in result) {
        context.health.problem("acquire", result.full, false);
        await waitForRoom(context, result.revision, signal);
      } else {
        context.health.ok("acquire");
        return result;
      }
      retryMs = RETRY_MIN_MS;
    } catch (error) {
      if (!(error instanceof EtcdCallError)) throw error;
      context.health.problem("acquire", error.message, error.retryable);
      if (!error.retryable) throw error;
      await pause(context, retryMs, signal);
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
    }
  }
}

async function attemptAcquire(
  context: AcquireContext,
  config: NetworkConfig,
  request: AcquireRequest,
): Promise<Attempt> {
  const { kvs, revision } = await context.client.list(leaseKeyPrefix(context.prefix));
  const entries = kvs.map((kv) => readEntry(context, kv));
  const plan = planAcquire({
    ...context,
    config,
    entries,
    node: request,
    previous: request.previous,
  });
  switch (plan.type) {
    case "reuse":
      return await reuseLease(context, entryOf(entries, plan), plan.lease, request);
    case "release":
      await releaseLease(context, entryOf(entries, plan));
      return "again";
    case "create":
      return await createLease(context, plan.subnets, plan.because, request);
    case "full":
      return { full: plan.problem, revision };
  }
}

function entryOf(
  entries: readonly ListedEntry[],
  plan: AcquirePlan & { type: "reuse" | "release" },
): ListedEntry {
  return entries.find((entry) => entry.key === plan.entry.key)!;
}

/** Writes our attributes over the key of an earlier run, under the condition that nobody writes it meanwhile. */
async function reuseLease(
  context: AcquireContext,
  { key, kv, reservation }: ListedEntry,
  existing: Lease,
  request: AcquireRequest,
): Promise<HeldLease | "again"> {
  const attributes = request.attributes(existing);
  // Flannel would turn a reservation into a lease of 24 hours here (#1329).
  const leaseId = reservation ? NO_LEASE : await renewOrGrant(context, kv.leaseId);
  const only = { unchangedSince: kv.modRevision };
  if (!(await context.client.put(key, formatLeaseValue(attributes), { leaseId, only }))) return "again";
  context.log.info({ key, reservation }, "found the lease of this public IP");
  return heldLease(context, key, existing, attributes, leaseId);
}

/** The etcd lease of an earlier run, if it lives and is as long as ours; else a new one, and the old one lapses. */
async function renewOrGrant(context: EtcdContext, leaseId: EtcdLeaseId): Promise<EtcdLeaseId> {
  const ttl = await context.client.keepAliveOnce(leaseId);
  return ttl === context.leaseTtlSeconds ? leaseId : await context.client.grantLease(context.leaseTtlSeconds);
}

async function releaseLease({ client, log }: EtcdContext, { key, kv }: ListedEntry): Promise<void> {
  if (await client.delete(key, kv.modRevision)) {
    log.warn({ key }, "the lease of this public IP does not fit the network config; deleted to take another");
  }
}

async function createLease(
  context: AcquireContext,
  subnets: LeaseSubnets,
  because: "previous" | "free",
  request: AcquireRequest,
): Promise<HeldLease | "again"> {
  const key = formatLeaseKey(context.prefix, subnets);
  const attributes = request.attributes(undefined);
  const leaseId = await context.client.grantLease(context.leaseTtlSeconds);
  const value = formatLeaseValue(attributes);
  if (!(await context.client.put(key, value, { leaseId, only: { absent: true } }))) {
    await context.client.revokeLease(leaseId);
    return "again";
  }
  if (await isSecond(context, key, subnets)) {
    context.log.info({ key }, "another node took an overlapping subnet at the same time; taking another one");
    await context.client.revokeLease(leaseId);
    return "again";
  }
  context.log.info(
    { key, because },
    because === "previous" ? "took the subnet of the last run" : "took a free subnet",
  );
  return heldLease(context, key, subnets, attributes, leaseId);
}

/**
 * True if an older key overlaps ours. The transaction guards one key only: in dual stack two nodes may choose the same
 * IPv4 subnet with different IPv6 subnets at once, and subnets of different lengths overlap.
 */
async function isSecond(
  { client, prefix, ...context }: EtcdContext,
  key: string,
  own: LeaseSubnets,
): Promise<boolean> {
  const { kvs } = await client.list(leaseKeyPrefix(prefix));
  const ours = kvs.find((kv) => kv.key === key);
  return kvs.some((kv) => {
    if (ours === undefined || kv.createRevision >= ours.createRevision) return false;
    const { subnets } = readEntry({ client, prefix, ...context }, kv);
    return subnets !== undefined && !isFree(own, [subnets.subnet ?? [], subnets.subnet6 ?? []].flat());
  });
}

function heldLease(
  context: EtcdContext,
  key: string,
  { subnet, subnet6 }: LeaseSubnets,
  attributes: LeaseAttributes,
  leaseId: EtcdLeaseId,
): HeldLease {
  const expiry = leaseId === NO_LEASE ? {} : { expiresAt: expiryAfter(context, context.leaseTtlSeconds) };
  const nodeName = attributes.publicIp ?? attributes.publicIp6;
  if (nodeName === undefined) throw new Error("a lease in etcd has a public IP");
  const lease = {
    nodeName,
    ...(subnet && { subnet }),
    ...(subnet6 && { subnet6 }),
    ...attributes,
    ...expiry,
  };
  return { key, lease, leaseId };
}

/** Returns when a key below `subnets` is deleted, or after a while. */
async function waitForRoom(context: EtcdContext, revision: bigint, signal: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), FULL_POLL_MS);
  const either = AbortSignal.any([signal, stop.signal]);
  try {
    for await (const events of context.client.watch(leaseKeyPrefix(context.prefix), revision + 1n, {
      signal: either,
    })) {
      if (events.some((event) => event.type === "delete")) return;
    }
  } catch (error) {
    if (error instanceof CompactedError) return;
    if (!(error instanceof EtcdCallError)) throw error;
    await pause(context, FULL_POLL_MS, signal);
  } finally {
    clearTimeout(timer);
  }
}
