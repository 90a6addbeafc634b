// The subnet manager over the Kubernetes API: podCIDRs are the subnets, flannel's annotations of Nodes are the leases.
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { KubeClient } from "../kube/api-client.ts";
import { Backoff } from "../kube/backoff.ts";
import { KubeApiError } from "../kube/errors.ts";
import type { NodeEvent } from "../kube/events.ts";
import { readNodeOfPod } from "../kube/pods.ts";
import type { ReflectorTiming } from "../kube/reflector.ts";
import type { ReflectorReader } from "../kube/reflector-tap.ts";
import { InvalidValueError } from "../net/errors.ts";
import { SILENT_LOGGER } from "../net/logger.ts";
import type { Logger } from "../net/logger.ts";
import type { SourceTally } from "../net/source-tally.ts";
import { annotationNames } from "./kube-annotations-codec.ts";
import type { AnnotationNames } from "./kube-annotations-codec.ts";
import { KubeHealth } from "./kube-health.ts";
import { NodeMirror } from "./kube-node-mirror.ts";
import { OwnNode } from "./kube-own-node.ts";
import type { Lease } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";
import { parseNetworkConfig } from "./parse-network-config.ts";
import type { PublicIpWish, SubnetManager } from "./subnet-manager.ts";

const CONFIG_RETRY_MS = 1_000;
const NODE_NAME_BACKOFF = { minMs: 500, maxMs: 15_000 };

/** Our node: by name, or by the pod that we run in. */
export type NodeIdentity =
  | { readonly nodeName: string }
  | { readonly podNamespace: string; readonly podName: string };

export interface KubeSubnetManagerOptions {
  /** Closed by `close`. */
  readonly client: KubeClient;
  readonly identity: NodeIdentity;
  /** --kube-annotation-prefix */
  readonly annotationPrefix: string;
  /** --net-config-path */
  readonly netConfigPath: string;
  /** --set-node-network-unavailable */
  readonly setNodeNetworkUnavailable: boolean;
  readonly timing?: Partial<ReflectorTiming>;
  /** Gets all Nodes too, of the same list and watch. */
  readonly alsoRead?: ReflectorReader<unknown> | undefined;
}

export interface KubeSubnetManagerModules {
  readonly log?: Logger;
  readonly tally?: SourceTally;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
  /** Further rules for the network's configuration. @throws {InvalidValueError} */
  readonly checkConfig?: (config: NetworkConfig) => void;
  /** Tells people who look at the Node. */
  readonly report?: (event: NodeEvent) => void;
}

export interface KubeSubnetManager extends SubnetManager {
  /** The addresses that an administrator has annotated for this node. Waits and retries while the API is away. */
  publicIps(signal: AbortSignal): Promise<PublicIpWish>;
  /** The host is set up: says NetworkUnavailable=False, now or as soon as the API answers. */
  markReady(): void;
  /** Our Node's name and uid, as far as they are known. */
  node(): { readonly name?: string; readonly uid?: string };
}

/** @throws {InvalidValueError} for a wrong annotation prefix */
export function createKubeSubnetManager(
  options: KubeSubnetManagerOptions,
  modules: KubeSubnetManagerModules = {},
): KubeSubnetManager {
  return new NodeSubnetManager(options, modules);
}

/**
 * NODE_NAME, or POD_NAME and POD_NAMESPACE (flannel 1.1).
 * @throws {InvalidValueError}
 */
export function nodeIdentityFrom(env: Readonly<Record<string, string | undefined>>): NodeIdentity {
  const { NODE_NAME: nodeName, POD_NAME: podName, POD_NAMESPACE: podNamespace } = env;
  if (nodeName) return { nodeName };
  if (podName && podNamespace) return { podName, podNamespace };
  throw new InvalidValueError(
    "env variables POD_NAME and POD_NAMESPACE must be set, or NODE_NAME: without one of them this daemon does not know its Node",
  );
}

interface Running {
  readonly mirror: NodeMirror;
  readonly own: OwnNode;
}

class NodeSubnetManager implements KubeSubnetManager {
  readonly #options: KubeSubnetManagerOptions;
  readonly #names: AnnotationNames;
  readonly #log: Logger;
  readonly #tally: SourceTally | undefined;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #report: (event: NodeEvent) => void;
  readonly #checkConfig: (config: NetworkConfig) => void;
  readonly #healthBook: KubeHealth;
  readonly #lifetime = new AbortController();
  #config: NetworkConfig | undefined;
  #nodeName: string | undefined;
  #running: Promise<Running> | undefined;
  #parts: Running | undefined;
  #mirroring: Promise<void> | undefined;

  constructor(options: KubeSubnetManagerOptions, modules: KubeSubnetManagerModules) {
    this.#options = options;
    this.#names = annotationNames(options.annotationPrefix);
    this.#log = modules.log ?? SILENT_LOGGER;
    this.#tally = modules.tally;
    this.#now = modules.now ?? Date.now;
    this.#random = modules.random ?? Math.random;
    this.#checkConfig = modules.checkConfig ?? (() => undefined);
    this.#report = modules.report ?? (() => undefined);
    this.#healthBook = new KubeHealth(this.#log, this.#now);
  }

  async networkConfig(signal: AbortSignal): Promise<NetworkConfig> {
    const { netConfigPath } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      try {
        // Kubernetes gives out the subnets: rules about their lengths do not count (flannel 1.4).
        const config = parseNetworkConfig(readFileSync(netConfigPath, "utf8"), { allocate: false });
        this.#checkConfig(config);
        this.#healthBook.ok("config");
        this.#config = config;
        return config;
      } catch (error) {
        const isOurs =
          error instanceof InvalidValueError || (error as NodeJS.ErrnoException).code !== undefined;
        if (!isOurs) throw error;
        this.#healthBook.problem("config", `${netConfigPath}: ${(error as Error).message}`);
      }
      await delay(CONFIG_RETRY_MS, undefined, { signal });
    }
  }

  async publicIps(signal: AbortSignal): Promise<PublicIpWish> {
    return (await this.#start(signal)).own.publicIps(signal);
  }

  async acquire(request: Parameters<SubnetManager["acquire"]>[0], signal: AbortSignal): Promise<Lease> {
    return (await this.#start(signal)).own.acquire(request, signal);
  }

  async watchLeases(
    onEvent: Parameters<SubnetManager["watchLeases"]>[0],
    signal: AbortSignal,
  ): Promise<void> {
    const { mirror } = await this.#start(signal);
    const unsubscribe = mirror.subscribe((event) => void (signal.aborted || onEvent(event)));
    try {
      // A mirror that ends before the abort has met a bug of ours; whoever waits here must hear of it.
      await Promise.race([this.#mirroring, aborted(signal)]);
    } finally {
      unsubscribe();
    }
  }

  async keepLease(
    lease: Lease,
    signal: AbortSignal,
    handlers?: Parameters<SubnetManager["keepLease"]>[2],
  ): Promise<void> {
    const { own } = await this.#start(signal);
    if (own.lease === undefined) own.hold(lease);
    await own.keep(handlers, signal);
  }

  async updateLease(lease: Lease): Promise<void> {
    await (await this.#start(this.#lifetime.signal)).own.update(lease);
  }

  markReady(): void {
    this.#parts?.own.markReady();
  }

  node(): { readonly name?: string; readonly uid?: string } {
    const uid = this.#parts?.mirror.own?.uid;
    return {
      ...(this.#nodeName !== undefined && { name: this.#nodeName }),
      ...(uid !== undefined && { uid }),
    };
  }

  health(): ReturnType<SubnetManager["health"]> {
    return this.#healthBook.read();
  }

  async close(): Promise<void> {
    this.#lifetime.abort();
    await this.#mirroring?.catch(() => undefined);
    this.#options.client.close();
  }

  /** Starts the mirror once; everything waits for the name of our Node. */
  #start(signal: AbortSignal): Promise<Running> {
    this.#running ??= this.#startParts(signal);
    return this.#running;
  }

  async #startParts(signal: AbortSignal): Promise<Running> {
    const config = this.#config ?? (await this.networkConfig(signal));
    const nodeName = await this.#resolveNodeName(signal);
    this.#nodeName = nodeName;
    const { client, timing, alsoRead, setNodeNetworkUnavailable: setsCondition } = this.#options;
    const shared = { client, log: this.#log, health: this.#healthBook, random: this.#random };
    const names = this.#names;
    const mirror = new NodeMirror(
      { ownName: nodeName, names, config, timing, alsoRead },
      { ...shared, tally: this.#tally },
    );
    const own = new OwnNode(
      { nodeName, names, config, setsCondition },
      { ...shared, mirror, now: this.#now, report: this.#report },
    );
    this.#mirroring = mirror.run(this.#lifetime.signal);
    // Told to whoever watches; nobody else has to.
    this.#mirroring.catch(() => undefined);
    this.#parts = { mirror, own };
    return this.#parts;
  }

  async #resolveNodeName(signal: AbortSignal): Promise<string> {
    const { identity, client } = this.#options;
    if ("nodeName" in identity) return identity.nodeName;
    const { podNamespace: namespace, podName: name } = identity;
    const backoff = new Backoff({ ...NODE_NAME_BACKOFF, random: this.#random });
    for (;;) {
      signal.throwIfAborted();
      try {
        const nodeName = await readNodeOfPod(client, { namespace, name }, signal);
        this.#healthBook.connected = true;
        if (nodeName !== undefined) {
          this.#healthBook.ok("node name");
          return nodeName;
        }
        this.#healthBook.problem("node name", `node name not present in pod spec '${namespace}/${name}'`);
      } catch (error) {
        if (!(error instanceof KubeApiError)) throw error;
        this.#healthBook.problem(
          "node name",
          `error retrieving pod spec for '${namespace}/${name}': ${error.message}`,
        );
      }
      await delay(backoff.next(), undefined, { signal });
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
