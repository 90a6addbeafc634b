// The cluster's Nodes as this daemon knows them: leases of all, and our own Node in full.
import type { KubeClient } from "../kube/api-client.ts";
import { NODES_PATH, pruneNode } from "../kube/nodes.ts";
import type { KubeNode } from "../kube/nodes.ts";
import { runReflector } from "../kube/reflector.ts";
import type { ReflectorTiming } from "../kube/reflector.ts";
import { readTogether } from "../kube/reflector-tap.ts";
import type { ReflectorReader } from "../kube/reflector-tap.ts";
import type { Logger } from "../net/logger.ts";
import type { SourceTally } from "../net/source-tally.ts";
import type { AnnotationNames } from "./kube-annotations-codec.ts";
import type { KubeHealth } from "./kube-health.ts";
import { KubeLeaseBook } from "./kube-lease-book.ts";
import type { Lease, LeaseEvent } from "./lease.ts";
import type { NetworkConfig } from "./network-config.ts";

export interface NodeMirrorOptions {
  readonly ownName: string;
  readonly names: AnnotationNames;
  readonly config: NetworkConfig;
  readonly timing?: Partial<ReflectorTiming> | undefined;
  /** Reads all Nodes too: the cluster's API is asked for them once. */
  readonly alsoRead?: ReflectorReader<unknown> | undefined;
}

export interface NodeMirrorModules {
  readonly client: KubeClient;
  readonly log: Logger;
  readonly tally?: SourceTally | undefined;
  readonly health: KubeHealth;
  readonly random: () => number;
}

export class NodeMirror {
  readonly #options: NodeMirrorOptions;
  readonly #modules: NodeMirrorModules;
  readonly #book: KubeLeaseBook;
  readonly #listeners = new Set<(event: LeaseEvent) => void>();
  #synced = false;
  #own: KubeNode | undefined;
  #news = Promise.withResolvers<void>();

  constructor(options: NodeMirrorOptions, modules: NodeMirrorModules) {
    this.#options = options;
    this.#modules = modules;
    this.#book = new KubeLeaseBook(options);
    modules.health.watchSkipped(() => this.#book.skipped());
  }

  /** Runs until the abort. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, log, tally, random } = this.#modules;
    const { ownName, timing, alsoRead } = this.#options;
    const options = { resource: "nodes", path: NODES_PATH, ...(timing && { timing }) };
    const modules = { client, log, tally, random };
    const reader = this.#reader();
    if (alsoRead !== undefined) {
      const both = readTogether(reader, alsoRead);
      await runReflector({ ...options, prune: (object) => both.prune(object) }, both, modules, signal);
      return;
    }
    const fieldSelector = this.#readsOwnOnly() ? `metadata.name=${ownName}` : undefined;
    const prune = (object: unknown): KubeNode => reader.prune(object);
    await runReflector({ ...options, fieldSelector, prune }, reader, modules, signal);
  }

  /** Backend alloc programs no peer (flannel #1617): thousands of nodes need not be told of each other. */
  #readsOwnOnly(): boolean {
    return this.#options.config.backend.type === "alloc";
  }

  #reader(): ReflectorReader<KubeNode> {
    const { health } = this.#modules;
    const { names, ownName } = this.#options;
    const isRead = ({ name }: KubeNode): boolean => name === ownName || !this.#readsOwnOnly();
    return {
      prune: (object) => pruneNode(object, { annotationPrefix: names.prefix }),
      onSnapshot: (nodes) => this.#onSnapshot(nodes.filter(isRead)),
      onPut: (node) => {
        if (node.name === ownName) this.adoptOwn(node);
        else if (isRead(node)) this.#tell(this.#book.put(node));
      },
      onDelete: (node) => {
        if (node.name === ownName) this.#setOwn(undefined);
        else if (isRead(node)) this.#tell(this.#book.remove(node.name));
      },
      onHealth: ({ connected, problem }) => {
        health.connected = connected;
        if (problem === undefined) health.ok("nodes");
        else health.problem("nodes", problem);
        this.#announce();
      },
    };
  }

  get synced(): boolean {
    return this.#synced;
  }

  /** Our own Node; undefined while it does not exist or nothing was heard. */
  get own(): KubeNode | undefined {
    return this.#own;
  }

  /** Settles at the next change of our own Node or of the connection. Take it before looking, so that nothing slips by. */
  get news(): Promise<void> {
    return this.#news.promise;
  }

  /** Our own Node as the API has just told it, unless we know a later one. */
  adoptOwn(node: KubeNode): void {
    const known = this.#own;
    if (known !== undefined && known.uid === node.uid && isOlder(node, known)) return;
    this.#setOwn(node);
  }

  /** Our lease as we hold it, for the listeners. */
  setOwnLease(lease: Lease): void {
    this.#tell(this.#book.setOwn(lease));
  }

  /** A snapshot as soon as there is one, then every change. Returns what ends it. */
  subscribe(listener: (event: LeaseEvent) => void): () => void {
    this.#listeners.add(listener);
    if (this.#synced) listener(this.#book.snapshot());
    return () => void this.#listeners.delete(listener);
  }

  /** Wakes whoever waits for news. */
  announce(): void {
    this.#announce();
  }

  #onSnapshot(nodes: readonly KubeNode[]): void {
    const own = nodes.find(({ name }) => name === this.#options.ownName);
    // Also where it is older than what we know: a snapshot begins a new history.
    this.#own = own;
    const event = this.#book.replace(nodes);
    this.#synced = true;
    this.#tell([event]);
    this.#announce();
  }

  #setOwn(node: KubeNode | undefined): void {
    this.#own = node;
    this.#announce();
  }

  #tell(events: readonly LeaseEvent[]): void {
    this.#modules.health.logSkipped();
    if (!this.#synced) return;
    for (const event of events) for (const listener of this.#listeners) listener(event);
  }

  #announce(): void {
    const { resolve } = this.#news;
    this.#news = Promise.withResolvers();
    resolve();
  }
}

/** Versions are numbers in practice; where they are not, the last one told is the last one. */
function isOlder(a: KubeNode, b: KubeNode): boolean {
  if (!/^\d+$/.test(a.resourceVersion) || !/^\d+$/.test(b.resourceVersion)) return false;
  return BigInt(a.resourceVersion) < BigInt(b.resourceVersion);
}
