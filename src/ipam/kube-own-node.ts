// Our own Node: waits for its podCIDR, writes our annotations and the condition, and follows what others change of it.
import { setTimeout as delay } from "node:timers/promises";
import type { KubeClient } from "../kube/api-client.ts";
import { Backoff } from "../kube/backoff.ts";
import { KubeApiError } from "../kube/errors.ts";
import type { NodeEvent } from "../kube/events.ts";
import { pruneNode } from "../kube/nodes.ts";
import type { KubeNode } from "../kube/nodes.ts";
import { patchNodeStatus } from "../kube/patch.ts";
import type { NodePatch } from "../kube/patch.ts";
import type { Logger } from "../net/logger.ts";
import { addressProblems, readAddress, readOwnAttributes } from "./kube-annotations-codec.ts";
import type { AnnotationNames } from "./kube-annotations-codec.ts";
import type { KubeHealth } from "./kube-health.ts";
import type { NodeMirror } from "./kube-node-mirror.ts";
import { planOwnNode } from "./kube-own-node-plan.ts";
import { readPodCidrs } from "./kube-pod-cidrs-codec.ts";
import type { NodeSubnets } from "./kube-pod-cidrs-codec.ts";
import { subnetKeyOf } from "./lease.ts";
import type { Lease, LeaseAttributes } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";
import type { AcquireRequest, OwnNodeHandlers, PublicIpWish } from "./subnet-manager.ts";

/** After a failed write: flannel's 3 s are for nobody's good while the API is only restarting. */
const PATCH_BACKOFF = { minMs: 500, maxMs: 15_000 };
/** Somebody keeps changing what we write, perhaps a second daemon: each answer comes later. */
const REASSERT_BACKOFF = { minMs: 1_000, maxMs: 60_000 };
/** Quiet for so long, the quarrel is over. */
const REASSERT_FORGET_MS = 5 * 60_000;

export interface OwnNodeOptions {
  readonly nodeName: string;
  readonly names: AnnotationNames;
  readonly config: NetworkConfig;
  /** Write NetworkUnavailable=False when ready. */
  readonly setsCondition: boolean;
}

export interface OwnNodeModules {
  readonly client: KubeClient;
  readonly mirror: NodeMirror;
  readonly health: KubeHealth;
  readonly log: Logger;
  readonly now: () => number;
  readonly random: () => number;
  readonly report: (event: NodeEvent) => void;
}

export class OwnNode {
  readonly #options: OwnNodeOptions;
  readonly #modules: OwnNodeModules;
  /** What we hold and publish; undefined before `acquire`. */
  #lease: Lease | undefined;
  #ready = false;
  #publicIps: PublicIpWish = {};

  constructor(options: OwnNodeOptions, modules: OwnNodeModules) {
    this.#options = options;
    this.#modules = modules;
  }

  get lease(): Lease | undefined {
    return this.#lease;
  }

  /** The addresses that an administrator has annotated. Waits for the Node. @throws the signal's reason */
  async publicIps(signal: AbortSignal): Promise<PublicIpWish> {
    const node = await this.#untilKnown(signal);
    this.#publicIps = this.#readPublicIps(node);
    return this.#publicIps;
  }

  /** Waits for the Node and its podCIDR, then publishes us on it. @throws the signal's reason */
  async acquire(request: AcquireRequest, signal: AbortSignal): Promise<Lease> {
    const { nodeName, names } = this.#options;
    for (;;) {
      const news = this.#modules.mirror.news;
      const node = await this.#untilKnown(signal);
      const subnets = this.#readSubnets(node);
      if (subnets !== undefined) {
        const published = readOwnAttributes(node.annotations, names);
        const existing = published && leaseOf(nodeName, subnets, published);
        this.hold(leaseOf(nodeName, subnets, request.attributes(existing)));
        return this.#publishUntilDone(signal);
      }
      await raceAbort(news, signal);
    }
  }

  /** Takes a lease as ours. */
  hold(lease: Lease): void {
    this.#lease = lease;
    this.#modules.mirror.setOwnLease(lease);
  }

  /** Publishes changed attributes; the subnet is the Node's to say. @throws {KubeApiError} */
  async update(lease: Lease): Promise<void> {
    const { subnet, subnet6 } = this.#lease ?? lease;
    const subnets = {
      ...(subnet !== undefined && { 4: subnet }),
      ...(subnet6 !== undefined && { 6: subnet6 }),
    };
    this.hold(leaseOf(this.#options.nodeName, subnets, lease));
    await this.#writeDifference(undefined);
  }

  /** The host is set up: the scheduler may send pods. Written by `keep`. */
  markReady(): void {
    this.#ready = this.#options.setsCondition;
    this.#modules.mirror.announce();
  }

  /** Follows the Node until the abort; never throws for an API that is away. */
  async keep(handlers: OwnNodeHandlers | undefined, signal: AbortSignal): Promise<void> {
    const { mirror, random, now } = this.#modules;
    const failures = new Backoff({ ...PATCH_BACKOFF, random });
    const quarrel = new Backoff({ ...REASSERT_BACKOFF, random });
    let writtenAt = Number.NEGATIVE_INFINITY;
    /** Writing waits; following what others write does not. */
    let writeNotBefore = Number.NEGATIVE_INFINITY;
    while (!signal.aborted) {
      const news = mirror.news;
      this.#follow(handlers);
      try {
        if (now() >= writeNotBefore && (await this.#writeDifference(signal)) !== undefined) {
          if (now() - writtenAt > REASSERT_FORGET_MS) quarrel.reset();
          writtenAt = now();
          writeNotBefore = writtenAt + quarrel.next();
        }
        failures.reset();
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof KubeApiError)) throw error;
        writeNotBefore = now() + failures.next();
      }
      await this.#untilNewsOr(news, writeNotBefore - now(), signal);
    }
  }

  async #untilNewsOr(news: Promise<void>, delayMs: number, signal: AbortSignal): Promise<void> {
    const timer = new AbortController();
    const due =
      delayMs > 0 ? [delay(delayMs, undefined, { signal: timer.signal }).catch(() => undefined)] : [];
    try {
      await raceAbort(Promise.race([news, ...due]), signal);
    } catch {
      // The abort; the caller looks at the signal.
    } finally {
      timer.abort();
    }
  }

  /** Looks at what somebody else may have changed of our Node. */
  #follow(handlers: OwnNodeHandlers | undefined): void {
    const { mirror, log, health } = this.#modules;
    const lease = this.#lease;
    if (!mirror.synced || lease === undefined) return;
    const node = mirror.own;
    if (node === undefined) {
      this.#reportMissing("this node keeps its subnet and routes until it is back");
      return;
    }
    health.ok("own node");
    this.#followPublicIps(node, handlers);
    const subnets = this.#readSubnets(node);
    if (subnets === undefined) return;
    const next = leaseOf(node.name, subnets, lease);
    if (subnetKeyOf(next) === subnetKeyOf(lease)) return;
    const message =
      `the node's podCIDR changed from ${subnetKeyOf(lease)} to ${subnetKeyOf(next)}; routes and subnet.env follow, ` +
      "but running pods keep addresses that no route leads to: delete them so that they are made anew (kubectl drain does it)";
    log.warn({ before: subnetKeyOf(lease), now: subnetKeyOf(next) }, message);
    this.#modules.report({ type: "Warning", reason: "PodCIDRChanged", message });
    this.hold(next);
    handlers?.onLease(next);
  }

  #followPublicIps(node: KubeNode, handlers: OwnNodeHandlers | undefined): void {
    const wish = this.#readPublicIps(node);
    if (wish[4] === this.#publicIps[4] && wish[6] === this.#publicIps[6]) return;
    this.#publicIps = wish;
    handlers?.onPublicIps(wish);
  }

  #readPublicIps({ annotations }: KubeNode): PublicIpWish {
    const { nodePublicIp } = this.#options.names;
    const ipv4 = readAddress(annotations, nodePublicIp, 4);
    const ipv6 = readAddress(annotations, nodePublicIp, 6);
    return { ...(ipv4 !== undefined && { 4: ipv4 }), ...(ipv6 !== undefined && { 6: ipv6 }) };
  }

  /** Says what is wrong with the podCIDRs, everywhere where somebody may look. */
  #readSubnets(node: KubeNode): NodeSubnets | undefined {
    const { health, report } = this.#modules;
    const result = readPodCidrs(node, this.#options.config);
    if ("subnets" in result) {
      const [problem] = addressProblems(node.annotations, this.#options.names);
      if (problem === undefined) health.ok("own node");
      else health.problem("own node", problem);
      return result.subnets;
    }
    const consequence =
      this.#lease === undefined ? "" : ` (until then ${subnetKeyOf(this.#lease)} stays in use)`;
    if (health.problem("own node", result.problem + consequence))
      report({ type: "Warning", reason: result.reason, message: result.problem });
    return undefined;
  }

  #reportMissing(consequence: string): void {
    const { nodeName } = this.#options;
    this.#modules.health.problem(
      "own node",
      `there is no Node object "${nodeName}": start the kubelet, which registers it, or correct NODE_NAME; ${consequence}`,
    );
  }

  async #untilKnown(signal: AbortSignal): Promise<KubeNode> {
    const { mirror } = this.#modules;
    for (;;) {
      signal.throwIfAborted();
      const news = mirror.news;
      if (mirror.own !== undefined) return mirror.own;
      if (mirror.synced) this.#reportMissing("waiting for it");
      await raceAbort(news, signal);
    }
  }

  async #publishUntilDone(signal: AbortSignal): Promise<Lease> {
    const backoff = new Backoff({ ...PATCH_BACKOFF, random: this.#modules.random });
    for (;;) {
      signal.throwIfAborted();
      try {
        await this.#writeDifference(signal);
        if (this.#lease !== undefined) return this.#lease;
      } catch (error) {
        if (!(error instanceof KubeApiError)) throw error;
      }
      await delay(backoff.next(), undefined, { signal });
    }
  }

  /** Writes what our Node does not say yet. Returns what was written. @throws {KubeApiError} */
  async #writeDifference(signal: AbortSignal | undefined): Promise<NodePatch | undefined> {
    const { client, mirror, health, now, log } = this.#modules;
    const { nodeName, names } = this.#options;
    const [node, attributes] = [mirror.own, this.#lease];
    if (node === undefined || attributes === undefined) return undefined;
    const patch = planOwnNode(node, { attributes, names, ready: this.#ready });
    if (patch === undefined) {
      health.ok("annotations");
      return undefined;
    }
    try {
      const answer = await patchNodeStatus(client, nodeName, patch, { now, signal });
      mirror.adoptOwn(pruneNode(answer, { annotationPrefix: names.prefix }));
    } catch (error) {
      if (error instanceof KubeApiError) health.problem("annotations", error.message);
      throw error;
    }
    health.ok("annotations");
    log.info(
      {
        node: nodeName,
        ...patch.annotations,
        ...(patch.conditions && { condition: "NetworkUnavailable=False" }),
      },
      "wrote our part of the Node's status",
    );
    return patch;
  }
}

function leaseOf(nodeName: string, subnets: NodeSubnets, attributes: LeaseAttributes): Lease {
  const { publicIp, publicIp6, backendType, backendData, backendData6 } = attributes;
  const { 4: subnet, 6: subnet6 } = subnets;
  return {
    nodeName,
    ...(subnet !== undefined && { subnet }),
    ...(subnet6 !== undefined && { subnet6 }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIp6 !== undefined && { publicIp6 }),
    backendType,
    ...(backendData !== undefined && { backendData }),
    ...(backendData6 !== undefined && { backendData6 }),
  };
}

/** @throws the signal's reason when it aborts first */
async function raceAbort(work: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
