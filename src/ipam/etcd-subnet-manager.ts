// The subnet manager over etcd: flannel's keys and values, one lease per node.
import { EtcdCallError } from "../etcd/client.ts";
import type { EtcdClient } from "../etcd/client.ts";
import { endingAtAbort } from "../etcd/ending-at-abort.ts";
import { InvalidValueError } from "../net/errors.ts";
import { SILENT_LOGGER } from "../net/logger.ts";
import type { Logger } from "../net/logger.ts";
import type { SourceTally } from "../net/source-tally.ts";
import { chooseSubnet } from "./allocator.ts";
import { acquireLease } from "./etcd-acquire.ts";
import type { AcquireContext } from "./etcd-acquire.ts";
import { NO_LEASE, pause } from "./etcd-context.ts";
import type { HeldLease } from "./etcd-context.ts";
import { EtcdHealth } from "./etcd-health.ts";
import { formatLeaseKey } from "./etcd-lease-codec.ts";
import { EtcdLeaseKeeper } from "./etcd-lease-keeper.ts";
import { watchLeases } from "./etcd-lease-watch.ts";
import type { Lease, LeaseEvent } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";
import { parseNetworkConfig } from "./parse-network-config.ts";
import type { AcquireRequest, SubnetManager } from "./subnet-manager.ts";

/** flannel's lease: 24 hours (pkg/subnet/etcd/local_manager.go, subnetTTL). */
const LEASE_TTL_SECONDS = 86_400;
/** flannel writes once in 23 hours; a Go peer that dropped us is healed within nine. See `KeeperOptions`. */
const REWRITE_INTERVAL_MS = 6 * 60 * 60 * 1000;
/** flannel's period. */
const CONFIG_RETRY_MS = 1_000;

export interface EtcdSubnetManagerOptions {
  /** Closed by `close`. */
  readonly client: EtcdClient;
  /** Key prefix, e.g. `/coreos.com/network`. */
  readonly prefix: string;
  /** flannel's --subnet-lease-renew-margin, minutes. */
  readonly renewMarginMinutes: number;
  /** Default: flannel's 24 hours. */
  readonly leaseTtlSeconds?: number;
  /** How often the unchanged lease is written again, on average. */
  readonly rewriteIntervalMs?: number;
  /** How long peers are kept when etcd has lost its data, while their daemons put their leases back. */
  readonly rewoundGraceMs?: number;
}

export interface EtcdSubnetManagerModules {
  readonly log?: Logger;
  readonly tally?: SourceTally;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
  readonly parseNetworkConfig?: (text: string) => NetworkConfig;
  readonly chooseSubnet?: typeof chooseSubnet;
}

export interface EtcdSubnetManager extends SubnetManager {
  /** Our lease with its expiry as last renewed. */
  ownLease(): Lease | undefined;
}

export function createEtcdSubnetManager(
  options: EtcdSubnetManagerOptions,
  modules: EtcdSubnetManagerModules = {},
): EtcdSubnetManager {
  const context = contextOf(options, modules);
  const parse = modules.parseNetworkConfig ?? parseNetworkConfig;
  const keeperOptions = {
    renewMarginMs: options.renewMarginMinutes * 60_000,
    rewriteIntervalMs: options.rewriteIntervalMs ?? REWRITE_INTERVAL_MS,
  };
  const grace = options.rewoundGraceMs === undefined ? {} : { rewoundGraceMs: options.rewoundGraceMs };
  let config: NetworkConfig | undefined;
  let keeper: EtcdLeaseKeeper | undefined;

  const keeperOf = (lease: Lease): EtcdLeaseKeeper => {
    keeper ??= new EtcdLeaseKeeper(keeperOptions, context, heldAs(context.prefix, lease));
    return keeper;
  };
  const networkConfig = async (signal: AbortSignal): Promise<NetworkConfig> => {
    config = await readConfig(context, parse, signal);
    return config;
  };
  const acquire = async (request: AcquireRequest, signal: AbortSignal): Promise<Lease> => {
    const held = await acquireLease(context, config ?? (await networkConfig(signal)), request, signal);
    keeper = new EtcdLeaseKeeper(keeperOptions, context, held);
    return held.lease;
  };
  return {
    networkConfig: (signal) => orReason(networkConfig(signal), signal),
    acquire: (request, signal) => orReason(acquire(request, signal), signal),
    watchLeases: (onEvent, signal) => {
      // An event that arrives after the abort is nobody's.
      const live = (event: LeaseEvent): void => void (signal.aborted || onEvent(event));
      const { tally } = modules;
      return watchLeases({ ...context, ...grace, tally, config: () => config }, live, signal);
    },
    keepLease: (lease, signal) => endingAtAbort(keeperOf(lease).keep(signal), signal, () => undefined),
    updateLease: (lease) => keeperOf(lease).update(lease),
    ownLease: () => keeper?.lease,
    health: () => context.health.read(),
    close: () => options.client.close(),
  };
}

function contextOf(options: EtcdSubnetManagerOptions, modules: EtcdSubnetManagerModules): AcquireContext {
  const log = modules.log ?? SILENT_LOGGER;
  const now = modules.now ?? Date.now;
  return {
    client: options.client,
    prefix: options.prefix.replace(/\/+$/, ""),
    leaseTtlSeconds: options.leaseTtlSeconds ?? LEASE_TTL_SECONDS,
    log,
    health: new EtcdHealth(log, now),
    now,
    random: modules.random ?? Math.random,
    chooseSubnet: modules.chooseSubnet ?? chooseSubnet,
  };
}

/** @throws the signal's reason when it aborts first */
function orReason<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return endingAtAbort(work, signal, () => {
    throw signal.reason;
  });
}

/** A lease that this manager did not acquire itself; the keeper learns the rest from etcd. */
function heldAs(prefix: string, lease: Lease): HeldLease {
  return { key: formatLeaseKey(prefix, lease), lease, leaseId: NO_LEASE };
}

/** Waits for a configuration that can be used. @throws {EtcdCallError} that is not retryable, or the signal's reason */
async function readConfig(
  context: AcquireContext,
  parse: (text: string) => NetworkConfig,
  signal: AbortSignal,
): Promise<NetworkConfig> {
  const { client, health } = context;
  const key = `${context.prefix}/config`;
  for (;;) {
    signal.throwIfAborted();
    try {
      const kv = await client.get(key);
      if (kv !== undefined) {
        const config = parse(kv.value);
        health.ok("config");
        return config;
      }
      health.problem("config", missingConfig(key), false);
    } catch (error) {
      if (error instanceof InvalidValueError) {
        health.problem("config", `${key} in etcd is not a usable network config: ${error.message}`, false);
      } else if (error instanceof EtcdCallError) {
        health.problem("config", error.message, error.retryable);
        if (!error.retryable) throw error;
      } else throw error;
    }
    await pause(context, CONFIG_RETRY_MS, signal);
  }
}

/** The first two sentences are flannel's. */
function missingConfig(key: string): string {
  return (
    "flannel config not found in etcd store. Did you create your config using etcdv3 API? " +
    `Put it at ${key}, for example with: etcdctl put ${key} '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'`
  );
}
