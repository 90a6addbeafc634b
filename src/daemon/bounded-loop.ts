// Runs passes one at a time: requests coalesce, failures are retried with back-off, drift is caught by full passes.
import { SYSTEM_CLOCK } from "./clock.ts";
import type { Clock } from "./clock.ts";

export interface BoundedLoopOptions {
  /**
   * One pass. `false` asks for a retry; a throw too, and then a full pass stays due. `full`: compare everything with
   * the host instead of only what is known to have changed.
   */
  readonly run: (pass: { readonly full: boolean }) => Promise<boolean>;
  /** Least time between the end of a pass and the start of the next. */
  readonly minIntervalMs: number;
  /** Time to the first retry; doubles with each failed retry, up to `maxRetryIntervalMs`. */
  readonly retryIntervalMs: number;
  /** Default: `maxIntervalMs`. */
  readonly maxRetryIntervalMs?: number;
  /** A full pass is made at least this often. */
  readonly maxIntervalMs: number;
  readonly clock?: Clock;
  /** Told of what `run` throws. */
  readonly onError?: (error: unknown) => void;
}

export interface BoundedLoop {
  /** Asks for a pass that starts after this call. Calls between two passes make one pass. */
  request(wish?: { readonly full?: boolean }): void;
  /** Settles when the signal was given and the pass that ran then has ended. Never rejects. */
  readonly stopped: Promise<void>;
}

/** Starts idle: the first pass is a full one and runs at the first request, or after `maxIntervalMs`. */
export function createBoundedLoop(options: BoundedLoopOptions, signal: AbortSignal): BoundedLoop {
  const clock = options.clock ?? SYSTEM_CLOCK;
  const maxRetryIntervalMs = options.maxRetryIntervalMs ?? options.maxIntervalMs;
  const stopped = Promise.withResolvers<void>();
  let running = false;
  let requested = false;
  let fullRequested = true;
  /** When the pass after a failure is due. */
  let retryAt: number | undefined;
  let failedRetries = 0;
  let fullAt = clock.now() + options.maxIntervalMs;
  let earliestAt = Number.NEGATIVE_INFINITY;
  let cancelTimer = (): void => {};

  const arm = (): void => {
    cancelTimer();
    if (running || signal.aborted) return;
    const wantedAt = requested ? clock.now() : Math.min(fullAt, retryAt ?? Number.POSITIVE_INFINITY);
    const delayMs = Math.max(wantedAt, earliestAt) - clock.now();
    // Even a pass that is due now starts in a timer, so that what one handler requests in a row makes one pass.
    cancelTimer = clock.after(Math.max(0, delayMs), () => void pass());
  };

  const pass = async (): Promise<void> => {
    running = true;
    const isRetry = !requested && retryAt !== undefined && retryAt <= clock.now();
    const full = fullRequested || clock.now() >= fullAt;
    requested = false;
    fullRequested = false;
    retryAt = undefined;
    let succeeded = false;
    try {
      succeeded = await options.run({ full });
      if (full) fullAt = clock.now() + options.maxIntervalMs;
    } catch (error) {
      if (full) fullRequested = true;
      options.onError?.(error);
    }
    running = false;
    earliestAt = clock.now() + options.minIntervalMs;
    if (succeeded) failedRetries = 0;
    else {
      // Only failed retries lengthen the wait: a burst of requests says nothing about how long a cure takes.
      if (isRetry) failedRetries += 1;
      retryAt = clock.now() + Math.min(options.retryIntervalMs * 2 ** failedRetries, maxRetryIntervalMs);
    }
    if (signal.aborted) stopped.resolve();
    else arm();
  };

  const stop = (): void => {
    cancelTimer();
    if (!running) stopped.resolve();
  };
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  else arm();

  return {
    request: (wish = {}) => {
      requested = true;
      if (wish.full) fullRequested = true;
      arm();
    },
    stopped: stopped.promise,
  };
}
