// Writes Kubernetes Events about our node: what `kubectl describe node` shows of our troubles. Never in anybody's way.
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../net/logger.ts";
import type { KubeClient } from "./api-client.ts";
import { KubeApiError } from "./errors.ts";
import { formatTime } from "./patch.ts";

/** Events of a cluster-scoped object live here (client-go, tools/record). */
const NAMESPACE = "default";
/** The API refuses longer ones. */
const MAX_MESSAGE_LENGTH = 1024;
/** Saying the same again within this time only counts. The API forgets events after an hour. */
const REPEAT_INTERVAL_MS = 10 * 60_000;
const FORGET_AFTER_MS = 60 * 60_000;
/** A burst of this many, then one each half minute: a cluster of broken nodes must not drown the API server. */
const BURST = 10;
const REFILL_MS = 30_000;
const MAX_QUEUED = 20;
const MAX_REMEMBERED = 200;
/** While the API is away events wait, as many as are queued, and are tried again after this long. */
const RETRY_MS = 15_000;
/** After a refusal (RBAC) nothing is tried for this long. */
const REFUSED_PAUSE_MS = 60 * 60_000;

export interface NodeEvent {
  readonly type: "Normal" | "Warning";
  /** CamelCase, for machines. */
  readonly reason: string;
  /** What is wrong and what to do. */
  readonly message: string;
}

export interface EventWriter {
  /** Queues the event and returns at once. */
  write(event: NodeEvent): void;
  /** Settles when the queue is empty: for the end of a short-lived program, and tests. */
  readonly idle: () => Promise<void>;
}

export interface EventWriterOptions {
  readonly nodeName: string;
}

interface EventWriterModules {
  readonly client: KubeClient;
  readonly log: Logger;
  readonly now?: () => number;
  /** Milliseconds between attempts while the API is away. */
  readonly retryMs?: number;
}

/** An event that was written lately. */
interface Written {
  readonly name: string;
  readonly firstAt: number;
  lastAt: number;
  count: number;
  /** Occurrences that were not written yet. */
  unwritten: number;
}

export function createEventWriter(
  options: EventWriterOptions,
  modules: EventWriterModules,
  signal: AbortSignal,
): EventWriter {
  return new ApiEventWriter(options, modules, signal);
}

class ApiEventWriter implements EventWriter {
  readonly #options: EventWriterOptions;
  readonly #client: KubeClient;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #signal: AbortSignal;
  readonly #retryMs: number;
  readonly #written = new Map<string, Written>();
  readonly #queue: NodeEvent[] = [];
  #working: Promise<void> = Promise.resolve();
  #busy = false;
  #tokens = BURST;
  #refilledAt: number;
  #pausedUntil = 0;

  constructor(options: EventWriterOptions, modules: EventWriterModules, signal: AbortSignal) {
    this.#options = options;
    this.#client = modules.client;
    this.#log = modules.log;
    this.#now = modules.now ?? Date.now;
    this.#signal = signal;
    this.#retryMs = modules.retryMs ?? RETRY_MS;
    this.#refilledAt = this.#now();
  }

  readonly idle = (): Promise<void> => this.#working;

  write(event: NodeEvent): void {
    if (this.#signal.aborted || this.#now() < this.#pausedUntil) return;
    if (this.#isRepeated(event)) return;
    if (this.#queue.length >= MAX_QUEUED || !this.#takeToken()) {
      this.#log.debug({ reason: event.reason }, "too many events; this one is only logged");
      return;
    }
    this.#queue.push(event);
    if (!this.#busy) this.#working = this.#work();
  }

  #isRepeated(event: NodeEvent): boolean {
    const known = this.#written.get(keyOf(event));
    if (known === undefined || this.#now() - known.lastAt >= REPEAT_INTERVAL_MS) return false;
    known.unwritten += 1;
    return true;
  }

  #takeToken(): boolean {
    const refill = Math.floor((this.#now() - this.#refilledAt) / REFILL_MS);
    if (refill > 0) {
      this.#tokens = Math.min(BURST, this.#tokens + refill);
      this.#refilledAt += refill * REFILL_MS;
    }
    if (this.#tokens === 0) return false;
    this.#tokens -= 1;
    return true;
  }

  async #work(): Promise<void> {
    this.#busy = true;
    try {
      for (let event = this.#queue[0]; event !== undefined; event = this.#queue[0]) {
        if (this.#signal.aborted) return;
        if (await this.#trySending(event)) this.#queue.shift();
        else await delay(this.#retryMs, undefined, { signal: this.#signal, ref: false });
      }
    } catch {
      // The abort.
    } finally {
      this.#busy = false;
    }
  }

  /** Returns false to be called again: trouble is most likely while the API is away, and must be seen when it is back. */
  async #trySending(event: NodeEvent): Promise<boolean> {
    try {
      await this.#send(event);
      return true;
    } catch (error) {
      const failure = error instanceof KubeApiError ? error : undefined;
      if (failure?.status === 401 || failure?.status === 403) {
        this.#pause(error);
        return true;
      }
      this.#log.debug({ err: error }, "cannot write an Event now");
      return !failure?.retryable;
    }
  }

  #pause(error: unknown): void {
    this.#queue.length = 0;
    if (this.#signal.aborted) return;
    this.#pausedUntil = this.#now() + REFUSED_PAUSE_MS;
    this.#log.warn(
      {
        err: error,
        cure: 'add to our ClusterRole: {apiGroups: [""], resources: [events], verbs: [create, patch]}',
      },
      "may not write Events, so kubectl describe node does not show our problems; the log does",
    );
  }

  async #send(event: NodeEvent): Promise<void> {
    const key = keyOf(event);
    const known = this.#written.get(key);
    if (known !== undefined && this.#now() - known.lastAt < FORGET_AFTER_MS) {
      if (await this.#repeat(known)) return;
    }
    const now = this.#now();
    const { nodeName } = this.#options;
    const written: Written = {
      // As client-go names them.
      name: `${nodeName}.${randomBytes(8).toString("hex")}`,
      firstAt: now,
      lastAt: now,
      count: 1,
      unwritten: 0,
    };
    this.#remember(key, written);
    await this.#client.call({
      what: "create events",
      method: "POST",
      path: `/api/v1/namespaces/${NAMESPACE}/events`,
      body: this.#bodyOf(event, written),
      signal: this.#signal,
    });
  }

  /** Counts up an event that is still there. Returns false if it is gone. */
  async #repeat(known: Written): Promise<boolean> {
    known.count += 1 + known.unwritten;
    known.unwritten = 0;
    known.lastAt = this.#now();
    try {
      await this.#client.call({
        what: "patch events",
        method: "PATCH",
        patchType: "merge",
        path: `/api/v1/namespaces/${NAMESPACE}/events/${encodeURIComponent(known.name)}`,
        body: { count: known.count, lastTimestamp: formatTime(known.lastAt) },
        signal: this.#signal,
      });
      return true;
    } catch (error) {
      if (error instanceof KubeApiError && error.status === 404) return false;
      throw error;
    }
  }

  #bodyOf({ type, reason, message }: NodeEvent, { name, firstAt, lastAt, count }: Written): unknown {
    const { nodeName } = this.#options;
    return {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name, namespace: NAMESPACE },
      // The name in place of the uid, as kubelets write it: kubectl before 1.21 describes a node with no other events.
      involvedObject: { apiVersion: "v1", kind: "Node", name: nodeName, uid: nodeName },
      type,
      reason,
      message:
        message.length > MAX_MESSAGE_LENGTH ? `${message.slice(0, MAX_MESSAGE_LENGTH - 3)}...` : message,
      source: { component: "flanneld", host: nodeName },
      firstTimestamp: formatTime(firstAt),
      lastTimestamp: formatTime(lastAt),
      count,
    };
  }

  #remember(key: string, written: Written): void {
    this.#written.delete(key);
    this.#written.set(key, written);
    const [oldest] = this.#written.keys();
    if (this.#written.size > MAX_REMEMBERED && oldest !== undefined) this.#written.delete(oldest);
  }
}

function keyOf({ type, reason, message }: NodeEvent): string {
  return `${type} ${reason} ${message}`;
}
