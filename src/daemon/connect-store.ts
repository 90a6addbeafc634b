// Where leases and configuration live: etcd, or the Kubernetes API with --kube-subnet-mgr. The rest of the daemon does not ask.
import type { PublicIpWish, SubnetManager } from "../ipam/subnet-manager.ts";
import type { Logger } from "../net/logger.ts";
import type { SourceTally } from "../net/source-tally.ts";
import type { PodRegistry } from "../policy/pod-registry.ts";
import type { PolicySource } from "../policy/source.ts";
import type { Options } from "./options.ts";

/** Something that an operator should know of this node, beyond the log: on Kubernetes an Event. */
export interface Notice {
  readonly type: "Normal" | "Warning";
  /** CamelCase. */
  readonly reason: string;
  /** What is wrong and what to do. */
  readonly message: string;
}

export interface Store {
  readonly kind: "etcd" | "kubernetes";
  readonly manager: SubnetManager;
  /** For "waiting for ...". */
  readonly configPlace: string;
  /** One attempt at what must be done before the configuration can be read. @throws to be called again or given up */
  prepare(): Promise<void>;
  /** True for an error of `prepare` that may go away by itself or by somebody's help in the store. */
  isPassing(error: unknown): boolean;
  /** Addresses that an administrator has set in the store for this node. Waits while the store is away. */
  publicIps(signal: AbortSignal): Promise<PublicIpWish>;
  /** The host is set up and its files are written. */
  markReady(): void;
  /** Returns at once and never throws. */
  notify(notice: Notice): void;
  /** What network policy needs of the store; loaded when it is asked for. */
  openPolicy(nodeName: string): Promise<PolicyStore>;
}

export interface PolicyStore {
  readonly source: PolicySource;
  /** Where no kubelet tells the cluster of this node's pods. */
  readonly registry?: PodRegistry;
}

export interface StoreModules {
  readonly log: Logger;
  readonly tally: SourceTally;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

/** @throws {InvalidValueError} for options that name no store */
export async function connectStore(options: Options, modules: StoreModules): Promise<Store> {
  // Loaded on demand: each of the two clients costs some 20 MB of memory, and a daemon needs one.
  if (options.kubeSubnetMgr) {
    const { connectKube } = await import("./connect-store-kube.ts");
    return connectKube(options, modules);
  }
  const { connectEtcd } = await import("./connect-store-etcd.ts");
  return connectEtcd(options, modules);
}
