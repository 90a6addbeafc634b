// The cluster's Nodes as this daemon knows them: leases of all, and our own Node in full.
import type { KubeClient } from "../kube/api-client.ts";
import { NODES_PATH, pruneNode } from "../kube/nodes.ts";
import type { KubeNode } from "../kube/nodes.ts";
import { runReflector } from "../kube/reflector.ts";
import type { ReflectorTiming } from "../kube/reflector.ts";
import type { Logger } from "../net/logger.ts";
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
}

export interface NodeMirrorModules {
  readonly client: KubeClient;
  readonly log: Logger;
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
    const { client, log, random, health } = this.#modules;
    const { names, config, ownName, timing } = this.#options;
    await runReflector<KubeNode>(
      {
        resource: "nodes",
        path: NODES_PATH,
        // Backend alloc programs no peer (flannel #1617): thousands of nodes need not be told of each other.
        ...(config.backend.type === "alloc" && { fieldSelector: `metadata.name=${ownName}` }),
        prune: (object) => pruneNode(object, { annotationPrefix: names.prefix }),
        ...(timing && { timing }),
      },
      {
        onSnapshot: (nodes) => this.#onSnapshot(nodes),
        onPut: (node) => {
          if (node.name === ownName) this.adoptOwn(node);
          else this.#tell(this.#book.put(node));
        },
        onDelete: ({ name }) => {
          if (name === ownName) this.#setOwn(undefined);
          else this.#tell(this.#book.remove(name));
        },
        onHealth: ({ connected, problem }) => {
          health.connected = connected;
          if (problem === undefined) health.ok("nodes");
          else health.problem("nodes", problem);
          this.#announce();
        },
      },
      { client, log, random },
      signal,
    );
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
