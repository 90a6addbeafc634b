// When a lease is renewed; pure.

/** A keepalive costs etcd next to nothing, so we do not wait for the last hour as flannel does. */
const MAX_KEEPALIVE_INTERVAL_MS = 60 * 60 * 1000;
/** So that two lost keepalives do not end the lease. */
const KEEPALIVES_PER_TTL = 3;

/**
 * Milliseconds from one keepalive to the next: hourly, at least three per TTL, and never later than `marginMs` before the
 * expiry (flannel's --subnet-lease-renew-margin; ignored when the whole TTL is shorter). Up to a fifth earlier at random.
 */
export function keepAliveDelayMs(ttlMs: number, marginMs: number, random: () => number): number {
  const latestMs = ttlMs > marginMs ? ttlMs - marginMs : ttlMs;
  const delayMs = Math.min(MAX_KEEPALIVE_INTERVAL_MS, ttlMs / KEEPALIVES_PER_TTL, latestMs);
  return delayMs * (1 - random() / 5);
}
