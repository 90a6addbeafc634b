// A rate limit: so many per second, and a few at once. Pure; the time is passed in.
export interface TokenBucket {
  /** Whole tokens that are there now. */
  available(nowMs: number): number;
  take(count: number): void;
  /** Milliseconds per token. */
  readonly periodMs: number;
}

/** @param burst tokens that are kept at most; it begins full */
export function createTokenBucket(perSecond: number, burst: number): TokenBucket {
  let tokens = burst;
  let filledAt: number | undefined;
  return {
    periodMs: 1000 / perSecond,
    available(nowMs) {
      tokens = Math.min(burst, tokens + (Math.max(0, nowMs - (filledAt ?? nowMs)) * perSecond) / 1000);
      filledAt = nowMs;
      return Math.floor(tokens);
    },
    take(count) {
      tokens -= count;
    },
  };
}
