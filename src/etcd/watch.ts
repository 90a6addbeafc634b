// Watches a prefix over any number of cut streams without losing or repeating an event.
import type { IWatchCreateRequest, IWatchResponse } from "etcd3";
import { setTimeout as delay } from "node:timers/promises";
import type { Failure } from "./call-errors.ts";
import type { EtcdCalls, WatchStream } from "./calls.ts";
import { CompactedError, EtcdCallError } from "./client.ts";
import type { EtcdClient, Revision, WatchEvent } from "./client.ts";
import { prefixEnd } from "./codec.ts";
import { resumeFrom, stepWatch } from "./watch-resume.ts";
import type { ResumePoint } from "./watch-resume.ts";

/** flannel's numbers (since v0.28.6). */
const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 5_000;
/** A stream that lived this long was a success, though nothing happened on it. */
const STABLE_MS = 2_000;
/** A server that accepts the stream but does not confirm the watch is given up. */
const CREATED_TIMEOUT_MS = 10_000;

export type WatchOptions = Parameters<EtcdClient["watch"]>[2];

export interface WatchModules {
  readonly calls: Pick<EtcdCalls, "openWatch" | "judgeStream" | "forgetToken" | "preferredUrl">;
  /** The store's revision by a linearizable read; also renews an old token. */
  readonly currentRevision: () => Promise<Revision>;
  readonly random?: () => number;
}

/** See `EtcdClient.watch`. */
export async function* watchPrefix(
  prefix: string,
  fromRevision: Revision,
  options: WatchOptions,
  modules: WatchModules,
): AsyncGenerator<readonly WatchEvent[]> {
  const { calls, currentRevision } = modules;
  const { signal } = options;
  const backoff = new Backoff(modules.random ?? Math.random);
  let point = resumeFrom(fromRevision);
  let refusals = 0;
  while (!signal.aborted) {
    let url = calls.preferredUrl;
    let cause: unknown;
    try {
      const opened = await calls.openWatch();
      url = opened.url;
      for await (const { next, events, created } of readStream(opened.stream, prefix, point, signal)) {
        if (created !== undefined) {
          if (created + 1n < point.next) await refuseRewoundHistory(point.next, currentRevision);
          backoff.connected();
          refusals = 0;
          options.onState?.({ connected: true });
        }
        point = next;
        if (events.length === 0) continue;
        backoff.reset();
        yield events;
      }
      cause = new Error("the server ended the watch");
    } catch (error) {
      cause = error;
    }
    if (signal.aborted) return;
    const failure = judge(calls, url, cause);
    options.onState?.({ connected: false, reason: `${url}: ${failure.message}` });
    if (failure.kind === "token" || failure.kind === "permission") {
      // A restarted etcd forgets its tokens, and some versions call that "permission denied": once with a new one.
      calls.forgetToken();
      refusals += 1;
    }
    if (!failure.retryable && refusals !== 1) {
      throw new EtcdCallError(`etcd watch of ${prefix}: ${url}: ${failure.message}`, false);
    }
    await backoff.wait(signal);
  }
}

/** @throws {CompactedError | EtcdCallError} when there is no use in another stream */
function judge(calls: WatchModules["calls"], url: string, cause: unknown): Failure {
  if (cause instanceof CompactedError) throw cause;
  if (cause instanceof EtcdCallError && !cause.retryable) throw cause;
  return calls.judgeStream(url, cause);
}

/** Waits from 100 ms doubling to 5 s, with up to half taken off at random; a success begins anew. */
class Backoff {
  readonly #random: () => number;
  #delayMs = BACKOFF_MIN_MS;
  #connectedAt = Number.POSITIVE_INFINITY;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** Not yet a success: a server may accept each stream and end it at once. */
  connected(): void {
    this.#connectedAt = performance.now();
  }

  reset(): void {
    this.#delayMs = BACKOFF_MIN_MS;
  }

  async wait(signal: AbortSignal): Promise<void> {
    if (performance.now() - this.#connectedAt > STABLE_MS) this.reset();
    this.#connectedAt = Number.POSITIVE_INFINITY;
    await delay(this.#delayMs * (1 - this.#random() / 2), undefined, { signal }).catch(() => undefined);
    this.#delayMs = Math.min(this.#delayMs * 2, BACKOFF_MAX_MS);
  }
}

interface StreamItem {
  readonly next: ResumePoint;
  readonly events: readonly WatchEvent[];
  /** The store's revision when the server confirmed the watch. */
  readonly created?: Revision;
}

/** Reads one stream to its end. @throws {CompactedError} or whatever ended the stream */
async function* readStream(
  stream: WatchStream,
  prefix: string,
  from: ResumePoint,
  signal: AbortSignal,
): AsyncGenerator<StreamItem> {
  // After the loop has left, cancelling still emits an error that must not be unhandled.
  stream.on("error", () => undefined);
  const cancel = () => stream.cancel();
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    cancel();
  }, CREATED_TIMEOUT_MS);
  signal.addEventListener("abort", cancel, { once: true });
  let point = resumeFrom(from.next);
  try {
    if (signal.aborted) return;
    stream.write({ create_request: createRequest(prefix, point.next) });
    for await (const response of stream as unknown as AsyncIterable<IWatchResponse>) {
      const { point: next, step } = stepWatch(point, response);
      point = next;
      switch (step.type) {
        case "compacted":
          throw new CompactedError(
            `etcd has compacted its history up to revision ${step.compactRevision}; ${from.next} is gone`,
          );
        case "canceled":
          throw new Error(step.reason || "the server cancelled the watch");
        case "created":
          clearTimeout(timer);
          yield { next: point, events: [], created: step.storeRevision };
          break;
        case "events":
          yield { next: point, events: step.events };
          break;
        case "nothing":
          yield { next: resumeFrom(point.next), events: [] };
          break;
      }
    }
  } catch (error) {
    if (timedOut)
      throw new Error("DEADLINE_EXCEEDED: the server does not confirm the watch", { cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", cancel);
    cancel();
  }
}

/**
 * Asks for one revision more than is wanted; `stepWatch` drops what was delivered. A watch that starts at the very revision
 * up to which etcd has compacted is served, but a deletion at that revision is missing from it (etcd-io/etcd #18089). One
 * revision earlier, the server says that history is compacted.
 */
function createRequest(prefix: string, next: Revision): IWatchCreateRequest {
  // 0 would mean "from now on".
  const startRevision = next > 1n ? next - 1n : 1n;
  return {
    key: Buffer.from(prefix),
    range_end: prefixEnd(prefix),
    start_revision: String(startRevision),
    progress_notify: true,
    fragment: true,
  };
}

/**
 * A server that is behind what we have seen is either a member that lags, which is fine, or an etcd that was restored
 * from a backup: then our revision means nothing any more, and waiting for it would mean to miss everything until then.
 */
async function refuseRewoundHistory(next: Revision, currentRevision: () => Promise<Revision>): Promise<void> {
  const current = await currentRevision();
  if (current + 1n < next) {
    throw new CompactedError(
      `etcd is at revision ${current}, behind ${next - 1n} that it had: restored from a backup?`,
    );
  }
}
