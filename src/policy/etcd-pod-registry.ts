// Registers this node and its pods in etcd, under a lease of the daemon's, and keeps them there.
import { setTimeout as delay } from "node:timers/promises";
import { EtcdCallError, MAX_TRANSACTION_SIZE } from "../etcd/client.ts";
import type { EtcdClient, EtcdLeaseId, EtcdWrite, KeyValue } from "../etcd/client.ts";
import { mirrorPrefix } from "../etcd/mirror.ts";
import { InvalidValueError } from "../net/errors.ts";
import { SILENT_LOGGER } from "../net/logger.ts";
import type { Logger } from "../net/logger.ts";
import type { SourceTally } from "../net/source-tally.ts";
import { formatRegisteredNode, formatRegisteredPod } from "./etcd-codec.ts";
import { formatPolicyKey, isKeySegment, parsePolicyKey } from "./etcd-keys.ts";
import { planRegistration } from "./etcd-registration-plan.ts";
import type { LocalNode, LocalPod, PodRegistry, PodRegistryHealth } from "./pod-registry.ts";
import { objectKey } from "./snapshot.ts";

/**
 * As long as a subnet lease (flannel: 24 hours), for the same reason: pods outlive a daemon that is down, and nobody else
 * gets their addresses before.
 */
const TTL_SECONDS = 86_400;
/** Renewals that may fail before the lease ends. */
const RENEWALS_PER_TTL = 3;
const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 5_000;
const NO_LEASE: EtcdLeaseId = "0";
/** What etcd has lost of ours nobody else puts back. */
const REWOUND_GRACE_MS = 0;

export interface EtcdPodRegistryOptions {
  /** Not closed by the registry. */
  readonly client: EtcdClient;
  /** Key prefix, e.g. `/coreos.com/network`. */
  readonly prefix: string;
  /** As in the policy agent's settings: pods of this name's node are local. */
  readonly nodeName: string;
  /** Default: 24 hours. */
  readonly ttlSeconds?: number;
}

export interface EtcdPodRegistryModules {
  readonly log?: Logger;
  readonly tally?: SourceTally;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

/** @throws {InvalidValueError} for a node name that cannot be a part of a key */
export function createEtcdPodRegistry(
  options: EtcdPodRegistryOptions,
  modules: EtcdPodRegistryModules = {},
): PodRegistry {
  if (!isKeySegment(options.nodeName))
    throw new InvalidValueError(
      `"${options.nodeName}" cannot name a node in etcd: letters, digits, ".", "-", "_" and ":" can`,
    );
  return new EtcdPodRegistry({ ...options, prefix: options.prefix.replace(/\/+$/, "") }, modules);
}

class EtcdPodRegistry implements PodRegistry {
  readonly #options: EtcdPodRegistryOptions;
  readonly #log: Logger;
  readonly #tally: SourceTally | undefined;
  readonly #random: () => number;
  readonly #pods = new Map<string, LocalPod>();
  /** Key -> uid of what is to go, as long as `reconcile` has not said which are all. */
  readonly #unregistered = new Map<string, string>();
  #node: LocalNode | undefined;
  /** Told of all pods, so that what is beyond them goes. */
  #complete = false;
  /** Our keys as etcd has them; undefined until it has told. */
  #actual: Map<string, KeyValue> | undefined;
  #leaseId: EtcdLeaseId | undefined;
  #renewAt = 0;
  #problem: string | undefined;
  #dirty = true;
  #wake: (() => void) | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(options: EtcdPodRegistryOptions, modules: EtcdPodRegistryModules) {
    this.#options = options;
    this.#log = modules.log ?? SILENT_LOGGER;
    this.#tally = modules.tally;
    this.#random = modules.random ?? Math.random;
  }

  registerPod(pod: LocalPod): void {
    if (!isKeySegment(pod.namespace) || !isKeySegment(pod.name)) {
      this.#log.warn(
        { namespace: pod.namespace, name: pod.name },
        "a pod with such a name cannot be registered in etcd, so policies of other nodes do not know it",
      );
      return;
    }
    this.#unregistered.delete(this.#keyOf(pod));
    this.#pods.set(objectKey(pod), pod);
    this.#lookAgain();
  }

  unregisterPod(pod: Pick<LocalPod, "namespace" | "name" | "uid">): void {
    const known = this.#pods.get(objectKey(pod));
    if (known !== undefined && known.uid !== pod.uid) return;
    this.#pods.delete(objectKey(pod));
    this.#unregistered.set(this.#keyOf(pod), pod.uid);
    this.#lookAgain();
  }

  reconcile(pods: readonly LocalPod[]): void {
    this.#pods.clear();
    this.#unregistered.clear();
    this.#complete = true;
    for (const pod of pods) this.registerPod(pod);
    this.#lookAgain();
  }

  setNode(node: LocalNode): void {
    this.#node = node;
    this.#lookAgain();
  }

  health(): PodRegistryHealth {
    return {
      registered: !this.#dirty && this.#problem === undefined,
      ...(this.#problem !== undefined && { problem: this.#problem }),
    };
  }

  async settled(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.health().registered) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#waiting.delete(done);
          signal.removeEventListener("abort", done);
          resolve();
        };
        this.#waiting.add(done);
        signal.addEventListener("abort", done);
      });
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    const mirroring = this.#mirror(signal);
    let retryMs = RETRY_MIN_MS;
    while (!signal.aborted) {
      let waitMs: number;
      try {
        await this.#pass();
        waitMs = this.#leaseId === undefined ? Number.POSITIVE_INFINITY : this.#renewAt - performance.now();
        retryMs = RETRY_MIN_MS;
      } catch (error) {
        if (!(error instanceof EtcdCallError)) throw error;
        if (!signal.aborted) this.#tellProblem(`this node's pods cannot be registered: ${error.message}`);
        // Whatever failed, the lease may be the reason: the next pass asks for it again.
        this.#renewAt = 0;
        this.#dirty = true;
        waitMs = retryMs * (1 - this.#random() / 2);
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
        await delay(waitMs, undefined, { signal }).catch(() => undefined);
        continue;
      }
      await this.#sleep(waitMs, signal);
    }
    await mirroring;
  }

  /** Brings etcd to what should be registered. @throws {EtcdCallError} */
  async #pass(): Promise<void> {
    if (this.#actual === undefined) return;
    this.#dirty = false;
    const isNothing = this.#actual.size === 0 && this.#pods.size === 0 && this.#node === undefined;
    const leaseId = isNothing ? NO_LEASE : await this.#holdLease();
    const { writes, done } = planRegistration({
      desired: this.#desired(),
      actual: this.#actual,
      leaseId,
      nodeKey: this.#nodeKey(),
      complete: this.#complete,
      unregistered: this.#unregistered,
    });
    for (let from = 0; from < writes.length; from += MAX_TRANSACTION_SIZE)
      await this.#options.client.transact(writes.slice(from, from + MAX_TRANSACTION_SIZE));
    this.#remember(writes, leaseId);
    // Unless somebody else has the name by now.
    for (const [key, uid] of done) if (this.#unregistered.get(key) === uid) this.#unregistered.delete(key);
    if (this.#problem !== undefined)
      this.#log.info({ was: this.#problem }, "this node's pods are registered in etcd again");
    this.#problem = undefined;
    if (!this.#dirty) for (const resolve of this.#waiting) resolve();
  }

  /** The lease of an earlier run as long as it lives, else a new one. @throws {EtcdCallError} */
  async #holdLease(): Promise<EtcdLeaseId> {
    const { client, ttlSeconds = TTL_SECONDS } = this.#options;
    const known = this.#leaseId ?? this.#actual?.get(this.#nodeKey())?.leaseId ?? NO_LEASE;
    const left = known === NO_LEASE ? 0 : await client.keepAliveOnce(known);
    // One of another length was made for another setting.
    const isOurs = known === this.#leaseId || Math.abs(left - ttlSeconds) <= ttlSeconds / 10;
    if (left > 0 && isOurs) return this.#renewed(known, left);
    const leaseId = await client.grantLease(ttlSeconds);
    return this.#renewed(leaseId, ttlSeconds);
  }

  #renewed(leaseId: EtcdLeaseId, ttlSeconds: number): EtcdLeaseId {
    this.#leaseId = leaseId;
    const periodMs = (ttlSeconds * 1000) / RENEWALS_PER_TTL;
    this.#renewAt = performance.now() + periodMs * (1 - this.#random() / 2);
    return leaseId;
  }

  #desired(): ReadonlyMap<string, string> {
    const { nodeName } = this.#options;
    const desired = new Map<string, string>();
    if (this.#node !== undefined) desired.set(this.#nodeKey(), formatRegisteredNode(this.#node, nodeName));
    for (const pod of this.#pods.values()) desired.set(this.#keyOf(pod), formatRegisteredPod(pod, nodeName));
    return desired;
  }

  /** Our own writes come back as events; until then they count as done. */
  #remember(writes: readonly EtcdWrite[], leaseId: EtcdLeaseId): void {
    for (const write of writes) {
      if (write.type === "delete") this.#actual?.delete(write.key);
      else
        this.#actual?.set(write.key, {
          key: write.key,
          value: write.value,
          leaseId,
          createRevision: 0n,
          modRevision: 0n,
        });
    }
  }

  async #mirror(signal: AbortSignal): Promise<void> {
    const { client } = this.#options;
    await mirrorPrefix(
      {
        client,
        prefix: this.#nodeKey(),
        what: "registrations",
        tally: this.#tally,
        keeping: "what is in memory, and writing it again",
        rewoundGraceMs: REWOUND_GRACE_MS,
        random: this.#random,
      },
      {
        onSnapshot: (kvs) => {
          this.#actual = new Map(kvs.filter(({ key }) => this.#isOwn(key)).map((kv) => [kv.key, kv]));
          this.#lookAgain();
        },
        onEvent: (event) => {
          const key = event.type === "put" ? event.kv.key : event.key;
          if (!this.#isOwn(key)) return;
          if (event.type === "put") this.#actual?.set(key, event.kv);
          else this.#actual?.delete(key);
          // An echo of what we wrote last is no news.
          if (event.type === "delete" || event.kv.leaseId !== this.#leaseId) this.#lookAgain();
        },
        onConnected: () => {
          if (this.#problem !== undefined) this.#lookAgain();
        },
        onProblem: (problem) => {
          // What keeps etcd away is said once.
          if (this.#problem === undefined) this.#tellProblem(problem);
        },
      },
      signal,
    );
  }

  /** The prefix of our node's key is that of others' too: n1 and n10. */
  #isOwn(text: string): boolean {
    const key = parsePolicyKey(this.#options.prefix, text);
    const { nodeName } = this.#options;
    return (
      (key?.kind === "nodes" && key.name === nodeName) ||
      (key?.kind === "registered" && key.node === nodeName)
    );
  }

  #nodeKey(): string {
    return formatPolicyKey(this.#options.prefix, { kind: "nodes", name: this.#options.nodeName });
  }

  #keyOf({ namespace, name }: Pick<LocalPod, "namespace" | "name">): string {
    return formatPolicyKey(this.#options.prefix, {
      kind: "registered",
      node: this.#options.nodeName,
      namespace,
      name,
    });
  }

  #tellProblem(problem: string): void {
    if (this.#problem !== problem) this.#log.warn({}, problem);
    this.#problem = problem;
  }

  #lookAgain(): void {
    this.#dirty = true;
    this.#wake?.();
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#dirty && this.#actual !== undefined) return;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    const ending = AbortSignal.any([signal, woken.signal]);
    // A timer of Node's holds 24 days.
    await delay(Math.min(Math.max(ms, 0), 2 ** 31 - 1), undefined, { signal: ending }).catch(() => undefined);
    this.#wake = undefined;
  }
}
