// Turns the keys below `<prefix>/subnets/` into lease events: a snapshot, then changes, over any number of outages.
import { CompactedError, EtcdCallError } from "../etcd/client.ts";
import type { EtcdClient, KeyValue, Revision, WatchEvent } from "../etcd/client.ts";
import { InvalidValueError } from "../net/errors.ts";
import { cidrContains } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { pause, readEntry } from "./etcd-context.ts";
import type { EtcdContext } from "./etcd-context.ts";
import { leaseKeyPrefix, parseLeaseKey } from "./etcd-lease-codec.ts";
import type { LeaseSubnets } from "./etcd-lease-codec.ts";
import { subnetKeyOf } from "./lease.ts";
import type { Ipv4Lease, LeaseEvent } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 5_000;
/** A daemon notices within some seconds that etcd is back, and then puts its lease back. Up to half is taken off. */
const REWOUND_GRACE_MS = 20_000;

export interface LeaseWatchContext extends EtcdContext {
  /** Undefined until it has been read; leases outside its networks are skipped after that. */
  readonly config: () => NetworkConfig | undefined;
  /** Default REWOUND_GRACE_MS. */
  readonly rewoundGraceMs?: number;
}

/** Until aborted; see `SubnetManager.watchLeases`. */
export async function watchLeases(
  context: LeaseWatchContext,
  onEvent: (event: LeaseEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  let retryMs = RETRY_MIN_MS;
  const progress: Progress = { seen: 0n };
  while (!signal.aborted) {
    try {
      await deliverSnapshot(context, progress, onEvent, signal);
      retryMs = RETRY_MIN_MS;
      await followEvents(context, progress, onEvent, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof CompactedError) {
        context.log.info({ reason: error.message }, "reading all leases anew");
        continue;
      }
      if (!(error instanceof EtcdCallError)) throw error;
      context.health.problem("watch", error.message, error.retryable);
      await pause(context, retryMs, signal).catch(() => undefined);
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
    }
  }
}

/** The highest revision that we have been told of. */
interface Progress {
  seen: Revision;
}

async function deliverSnapshot(
  context: LeaseWatchContext,
  progress: Progress,
  onEvent: (event: LeaseEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const { kvs, revision } = await listLeases(context, progress.seen, signal);
  progress.seen = revision;
  context.health.keepSkipped(new Set(kvs.map((kv) => kv.key)));
  const leases = kvs.flatMap((kv) => readLease(context, kv) ?? []);
  context.health.ok("watch");
  onEvent({ type: "snapshot", leases });
}

/**
 * An etcd that is behind what it has told us has lost its data or was restored from a backup. The other daemons are about
 * to put their leases back; to take its list at its word would cut off their pods until then.
 */
async function listLeases(
  context: LeaseWatchContext,
  seen: Revision,
  signal: AbortSignal,
): ReturnType<EtcdClient["list"]> {
  const list = await context.client.list(leaseKeyPrefix(context.prefix));
  if (list.revision >= seen) return list;
  const problem =
    `etcd has lost data (it is at revision ${list.revision} and was at ${seen}); ` +
    "keeping all peers for a while, until their daemons have put their leases back";
  context.health.problem("watch", problem, false);
  await pause(context, context.rewoundGraceMs ?? REWOUND_GRACE_MS, signal);
  return await context.client.list(leaseKeyPrefix(context.prefix));
}

async function followEvents(
  context: LeaseWatchContext,
  progress: Progress,
  onEvent: (event: LeaseEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const onState = ({ connected, reason }: { connected: boolean; reason?: string }): void => {
    if (connected) context.health.ok("watch");
    else
      context.health.problem(
        "watch",
        `the watch of the leases is interrupted: ${reason ?? "no reason given"}`,
        true,
      );
  };
  const from = progress.seen + 1n;
  const batches = context.client.watch(leaseKeyPrefix(context.prefix), from, { signal, onState });
  for await (const batch of batches) {
    for (const event of batch) {
      progress.seen = event.type === "put" ? event.kv.modRevision : event.modRevision;
      const leaseEvent = readEvent(context, event);
      if (leaseEvent !== undefined) onEvent(leaseEvent);
    }
  }
}

function readEvent(context: LeaseWatchContext, event: WatchEvent): LeaseEvent | undefined {
  if (event.type === "put") {
    const lease = readLease(context, event.kv);
    // A key that has become unreadable is gone, as it would be after a restart.
    return lease === undefined ? removal(context, event.kv.key) : { type: "put", lease };
  }
  context.health.unskip(event.key);
  return removal(context, event.key);
}

function removal({ prefix }: EtcdContext, key: string): LeaseEvent | undefined {
  try {
    return { type: "removed", subnetKey: subnetKeyOf(parseLeaseKey(prefix, key)) };
  } catch (error) {
    if (error instanceof InvalidValueError) return undefined;
    throw error;
  }
}

/** Undefined for a key that is skipped. */
function readLease(context: LeaseWatchContext, kv: KeyValue): Ipv4Lease | undefined {
  const { lease, reason } = readEntry(context, kv);
  const problem = lease === undefined ? reason : outsideReason(context.config(), lease);
  if (problem !== undefined) {
    context.health.skip(kv.key, kv.modRevision, problem);
    return undefined;
  }
  context.health.unskip(kv.key);
  return lease;
}

/** A subnet outside our networks would be a route that we do not own, and could hijack any address. */
function outsideReason(
  config: NetworkConfig | undefined,
  { subnet, subnet6 }: LeaseSubnets,
): string | undefined {
  if (config === undefined) return undefined;
  const outside = (network: Cidr | undefined, inner: Cidr | undefined) =>
    network !== undefined && inner !== undefined && !cidrContains(network, inner);
  if (outside(config.ipv4?.network, subnet))
    return `${subnet} lies outside the network ${config.ipv4?.network}`;
  if (outside(config.ipv6?.network, subnet6))
    return `${subnet6} lies outside the network ${config.ipv6?.network}`;
  return undefined;
}
