// Turns the keys below `<prefix>/subnets/` into lease events: a snapshot, then changes, over any number of outages.
import type { KeyValue, WatchEvent } from "../etcd/client.ts";
import { mirrorPrefix } from "../etcd/mirror.ts";
import type { MirrorOptions } from "../etcd/mirror.ts";
import type { SourceTally } from "../net/source-tally.ts";
import { InvalidValueError } from "../net/errors.ts";
import { cidrContains } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { readEntry } from "./etcd-context.ts";
import type { EtcdContext } from "./etcd-context.ts";
import { leaseKeyPrefix, parseLeaseKey } from "./etcd-lease-codec.ts";
import type { LeaseSubnets } from "./etcd-lease-codec.ts";
import { subnetKeyOf } from "./lease.ts";
import type { Lease, LeaseEvent } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";

export interface LeaseWatchContext extends EtcdContext {
  /** Undefined until it has been read; leases outside its networks are skipped after that. */
  readonly config: () => NetworkConfig | undefined;
  /** See `MirrorOptions`. */
  readonly rewoundGraceMs?: number;
  readonly after?: MirrorOptions["after"];
  readonly tally?: SourceTally | undefined;
}

/** Until aborted; see `SubnetManager.watchLeases`. */
export async function watchLeases(
  context: LeaseWatchContext,
  onEvent: (event: LeaseEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const { client, prefix, health, log, random, rewoundGraceMs, after, tally } = context;
  await mirrorPrefix(
    {
      client,
      prefix: leaseKeyPrefix(prefix),
      what: "leases",
      tally,
      keeping: "all peers for a while, until their daemons have put their leases back",
      rewoundGraceMs,
      after,
      random,
    },
    {
      onSnapshot: (kvs) => {
        health.keepSkipped(new Set(kvs.map((kv) => kv.key)));
        onEvent({ type: "snapshot", leases: kvs.flatMap((kv) => readLease(context, kv) ?? []) });
      },
      onEvent: (event) => {
        const leaseEvent = readEvent(context, event);
        if (leaseEvent !== undefined) onEvent(leaseEvent);
      },
      onConnected: () => health.ok("watch"),
      onProblem: (problem, away) => health.problem("watch", problem, away),
      onCompacted: (reason) => log.info({ reason }, "reading all leases anew"),
    },
    signal,
  );
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
function readLease(context: LeaseWatchContext, kv: KeyValue): Lease | undefined {
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
  if ((config.ipv4 && subnet) === undefined && (config.ipv6 && subnet6) === undefined)
    return `its subnet is IPv${subnet === undefined ? 6 : 4}, which this network does not have`;
  return undefined;
}
