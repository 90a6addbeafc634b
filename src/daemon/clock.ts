// The clock that timed parts are handed, so that tests can turn it by hand.

export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  now(): number;
  /** Calls back once after `delayMs`. Returns a function that cancels. */
  after(delayMs: number, callback: () => void): () => void;
}

/** Longest delay that a timer of Node's holds; longer ones would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), MAX_DELAY_MS));
    return () => clearTimeout(timer);
  },
};
