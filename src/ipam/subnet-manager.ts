// The contract of both subnet managers (etcd, Kubernetes): where leases come from and go to.
import type { NetworkConfig } from "./network-config.ts";
import type { Lease, LeaseAttributes, LeaseEvent } from "./lease.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Family, Ip } from "../net/ip.ts";

/** What the manager tells about its own health, for `status`, `/readyz` and metrics. */
export interface SubnetManagerHealth {
  /** True while the store answers and the watch runs. */
  readonly connected: boolean;
  /** The last error in plain words with its cure; absent when all is well. */
  readonly problem?: string;
  /** Leases or keys that were skipped because they could not be read, with the reason. */
  readonly skipped: readonly { readonly key: string; readonly reason: string }[];
}

export interface AcquireRequest {
  /** Absent in a network without IPv4. */
  readonly publicIp?: Ip;
  readonly publicIp6?: Ip;
  /** The subnets of the last run, from subnet.env; a hint. */
  readonly previous?: { readonly subnet?: Cidr; readonly subnet6?: Cidr };
  /** Makes our attributes, given our own lease of an earlier run if the store still has it (to keep its MAC). */
  attributes(existing: Lease | undefined): LeaseAttributes;
}

/** Why a held lease ended. */
export class LeaseLostError extends Error {
  override readonly name = "LeaseLostError";
}

/** Addresses that peers shall send to, set in the store by an administrator; they win over --public-ip. */
export type PublicIpWish = Readonly<Partial<Record<Family, Ip>>>;

/** Told of what the store changed about our own node. */
export interface OwnNodeHandlers {
  /** Our lease has another subnet now: the host must be changed to it. */
  onLease(lease: Lease): void;
  onPublicIps(wish: PublicIpWish): void;
}

export interface SubnetManager {
  /** Reads and validates the cluster's configuration. Waits and retries while the store is away or has none. */
  networkConfig(signal: AbortSignal): Promise<NetworkConfig>;
  /** Finds, renews or creates our lease. Waits and retries while the store is away or the network is full. */
  acquire(request: AcquireRequest, signal: AbortSignal): Promise<Lease>;
  /**
   * Delivers a snapshot first, then every change, in order, until aborted. Never ends by itself and never throws for a
   * store that is away; own lease included.
   */
  watchLeases(onEvent: (event: LeaseEvent) => void, signal: AbortSignal): Promise<void>;
  /**
   * Keeps the own lease alive until aborted. Where the store gives out the subnets (Kubernetes), it may give us another one.
   * @throws {LeaseLostError} when the lease is gone and its subnet is somebody else's
   */
  keepLease(lease: Lease, signal: AbortSignal, handlers?: OwnNodeHandlers): Promise<void>;
  /** Publishes changed attributes (new public IP, new MAC) under the same subnet. */
  updateLease(lease: Lease): Promise<void>;
  /** Our lease with its expiry as last renewed; absent where leases do not expire. */
  ownLease?(): Lease | undefined;
  health(): SubnetManagerHealth;
  /** Closes connections. Leases stay: the data path outlives the daemon. */
  close(): Promise<void>;
}
