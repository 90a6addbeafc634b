// Keeps a mirror of one kind of objects up to date: list, then watch, over any number of failures, losing and repeating nothing.
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../net/logger.ts";
import { SILENT_LOGGER } from "../net/logger.ts";
import { NO_TALLY } from "../net/source-tally.ts";
import type { SourceTally } from "../net/source-tally.ts";
import type { KubeClient } from "./api-client.ts";
import { Backoff } from "./backoff.ts";
import { isExpired, isTooLargeVersion, KubeApiError } from "./errors.ts";
import { listObjects, readCurrentVersion } from "./list.ts";
import { watchObjects } from "./watch.ts";

export interface ReflectorTiming {
  /** Pause after the first failure; doubles up to `maxBackoffMs`. */
  readonly minBackoffMs: number;
  readonly maxBackoffMs: number;
  /** A watch that lived this long was a success. */
  readonly stableMs: number;
  /** A watch that says nothing for this long is given up and resumed; the API sends a bookmark each minute. */
  readonly watchIdleMs: number;
  /** A list that stands still for this long is given up. */
  readonly listIdleMs: number;
  /** The watch's own end, chosen at random between one and two of these, as client-go does. */
  readonly watchSeconds: number;
}

export const DEFAULT_TIMING: ReflectorTiming = {
  minBackoffMs: 250,
  maxBackoffMs: 15_000,
  stableMs: 2_000,
  watchIdleMs: 150_000,
  listIdleMs: 30_000,
  watchSeconds: 300,
};
/** A server may ask for patience, but not for ever. */
const MAX_RETRY_AFTER_MS = 120_000;

export interface ReflectorOptions<T> {
  /** Plural for messages and the API, e.g. "nodes". */
  readonly resource: string;
  /** E.g. `/api/v1/nodes`. */
  readonly path: string;
  readonly fieldSelector?: string | undefined;
  readonly labelSelector?: string | undefined;
  /** What is kept of an object; the rest is garbage before the next one is read. Must not keep parts of its input. */
  readonly prune: (object: unknown) => T;
  readonly timing?: Partial<ReflectorTiming>;
}

export interface ReflectorHealth {
  /** False from the first failure until the API answers again. */
  readonly connected: boolean;
  /** What fails, with the cure. */
  readonly problem?: string;
}

/** Called one after the other, never after the abort. */
export interface ReflectorHandlers<T> {
  /** All there is; what is not in it is gone. The first call is always this one. */
  onSnapshot(items: readonly T[]): void;
  onPut(item: T): void;
  /** With the object's last state. */
  onDelete(item: T): void;
  /** Called with each change of it. */
  onHealth?(health: ReflectorHealth): void;
}

export interface ReflectorModules {
  readonly client: KubeClient;
  readonly log?: Logger;
  readonly tally?: SourceTally | undefined;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

/** Runs until the abort. Never throws for an API that is away, refuses or talks nonsense. */
export async function runReflector<T>(
  options: ReflectorOptions<T>,
  handlers: ReflectorHandlers<T>,
  modules: ReflectorModules,
  signal: AbortSignal,
): Promise<void> {
  await new Reflector(options, handlers, modules, signal).run();
}

class Reflector<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #handlers: ReflectorHandlers<T>;
  readonly #modules: ReflectorModules;
  readonly #signal: AbortSignal;
  readonly #timing: ReflectorTiming;
  readonly #backoff: Backoff;
  readonly #random: () => number;
  readonly #log: Logger;
  readonly #tally: SourceTally;
  /** Of the last object, bookmark or list; undefined until the first list. */
  #version: string | undefined;
  #mustList = true;
  /** Ask etcd itself, not the server's cache: our version means nothing to the server. */
  #consistent = false;
  /** The connection broke: the server may have been restarted on a restored etcd. */
  #mustCheckHistory = false;
  #isStreaming = false;
  #reported: ReflectorHealth | undefined;

  constructor(
    options: ReflectorOptions<T>,
    handlers: ReflectorHandlers<T>,
    modules: ReflectorModules,
    signal: AbortSignal,
  ) {
    this.#options = options;
    this.#handlers = handlers;
    this.#modules = modules;
    this.#signal = signal;
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    this.#random = modules.random ?? Math.random;
    this.#log = modules.log ?? SILENT_LOGGER;
    this.#tally = modules.tally ?? NO_TALLY;
    const { minBackoffMs: minMs, maxBackoffMs: maxMs } = this.#timing;
    this.#backoff = new Backoff({ minMs, maxMs, random: this.#random });
  }

  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      const startedAt = performance.now();
      let pauseMs: number;
      try {
        if (this.#mustCheckHistory) await this.#checkHistory();
        if (this.#mustList) await this.#list();
        await this.#watch();
        // A server that ends each watch at once must not be asked in a tight loop.
        const lived = performance.now() - startedAt >= this.#timing.stableMs;
        if (lived) this.#backoff.reset();
        pauseMs = lived ? 0 : this.#backoff.next();
      } catch (error) {
        if (this.#signal.aborted) return;
        if (!(error instanceof KubeApiError)) throw error;
        if (performance.now() - startedAt >= this.#timing.stableMs) this.#backoff.reset();
        pauseMs = this.#judge(error);
      }
      await delay(pauseMs, undefined, { signal: this.#signal }).catch(() => undefined);
    }
  }

  /** Decides what a failure means for the next attempt. Returns the pause, milliseconds. */
  #judge(error: KubeApiError): number {
    const { resource } = this.#options;
    if (isExpired(error)) {
      this.#tally.relist(resource, "expired");
      // Nothing is wrong: we were away, or the server was restarted. A list that has expired is read from etcd instead.
      this.#consistent = this.#mustList;
      this.#mustList = true;
      this.#log.debug({ resource }, `${error.message}; listing again`);
    } else {
      if (this.#isStreaming) this.#tally.cut(resource);
      this.#mustCheckHistory = true;
      if (isTooLargeVersion(error)) {
        this.#tally.relist(resource, "other-history");
        this.#consistent = true;
        this.#mustList = true;
      }
      this.#report({ connected: false, problem: error.message });
    }
    this.#isStreaming = false;
    return Math.max(this.#backoff.next(), Math.min(error.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS));
  }

  /**
   * A watch from a version that the server has not reached yet is accepted and stays silent until it has: a mirror would
   * miss everything until then, and client-go's does.
   */
  async #checkHistory(): Promise<void> {
    if (this.#version !== undefined && !this.#mustList) {
      const { resource, path } = this.#options;
      const request = { resource, path, idleMs: this.#timing.listIdleMs };
      const current = await readCurrentVersion(request, this.#modules, this.#signal);
      if (isBehind(current, this.#version)) this.#listFromEtcd(current);
    }
    this.#mustCheckHistory = false;
  }

  #listFromEtcd(current: string): void {
    this.#tally.relist(this.#options.resource, "other-history");
    this.#log.warn(
      { resource: this.#options.resource, before: this.#version, now: current },
      "the API server's history went back (etcd restored from a backup?); listing again",
    );
    this.#mustList = true;
    this.#consistent = true;
  }

  async #list(): Promise<void> {
    const { resource, path, fieldSelector, labelSelector, prune } = this.#options;
    const items: T[] = [];
    const { resourceVersion } = await listObjects(
      {
        resource,
        path,
        query: { fieldSelector, labelSelector },
        // Not older than what we know; 0 is whatever the server has in its cache.
        minVersion: this.#consistent ? undefined : (this.#version ?? "0"),
        idleMs: this.#timing.listIdleMs,
      },
      (object) => this.#prune(object, prune, (item) => items.push(item)),
      this.#modules,
      this.#signal,
    );
    this.#version = resourceVersion;
    this.#mustList = false;
    this.#consistent = false;
    this.#handlers.onSnapshot(items);
    this.#report({ connected: true });
  }

  async #watch(): Promise<void> {
    const { resource, path, fieldSelector, labelSelector, prune } = this.#options;
    const { watchSeconds, watchIdleMs: idleMs } = this.#timing;
    const from = this.#version ?? "0";
    const events = watchObjects(
      {
        resource,
        path,
        query: { fieldSelector, labelSelector },
        from,
        timeoutSeconds: Math.ceil(watchSeconds * (1 + this.#random())),
        idleMs,
      },
      this.#modules,
      this.#signal,
    );
    for await (const event of events) {
      if (this.#signal.aborted) return;
      switch (event.type) {
        case "opened":
          this.#isStreaming = true;
          this.#report({ connected: true });
          break;
        case "put":
          this.#prune(event.object, prune, (item) => this.#handlers.onPut(item));
          break;
        case "delete":
          this.#prune(event.object, prune, (item) => this.#handlers.onDelete(item));
          break;
        case "bookmark":
          break;
      }
      if (event.type === "opened") continue;
      if (isBehind(event.resourceVersion, this.#version)) {
        // Within one history versions only grow.
        this.#listFromEtcd(event.resourceVersion);
        return;
      }
      this.#version = event.resourceVersion;
      this.#backoff.reset();
    }
  }

  #prune(object: unknown, prune: (object: unknown) => T, use: (item: T) => void): void {
    let item: T;
    try {
      item = prune(object);
    } catch (error) {
      const { resource } = this.#options;
      this.#log.warn({ resource, err: error }, "an object of the API cannot be read; skipped");
      return;
    }
    use(item);
  }

  #report(health: ReflectorHealth): void {
    const before = this.#reported;
    if (before?.connected === health.connected && before.problem === health.problem) return;
    this.#reported = health;
    this.#handlers.onHealth?.(health);
  }
}

/** Versions are opaque by contract, but numbers that grow in every server there is (and by contract since 1.35). */
function isBehind(version: string, known: string | undefined): boolean {
  if (known === undefined || !/^\d+$/.test(version) || !/^\d+$/.test(known)) return false;
  return version.length === known.length ? version < known : version.length < known.length;
}
