// Waiting for a condition with a deadline.

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly intervalMs?: number;
  /** Tells that it can no longer happen: the probe's error is then thrown at once. */
  readonly fatal?: () => boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Polls until `probe` is truthy. @throws {Error} that names what was waited for, or the last error when `fatal` */
export async function waitUntil<T>(
  what: string,
  probe: () => T | Promise<T>,
  { timeoutMs, intervalMs = 20, fatal, signal }: WaitOptions,
): Promise<NonNullable<T>> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    let lastError: unknown;
    try {
      const value = await probe();
      if (value) return value;
    } catch (error) {
      if (fatal?.()) throw error;
      lastError = error;
    }
    if (Date.now() > deadline) {
      throw new Error(`waited ${timeoutMs / 1000} s in vain for ${what}`, { cause: lastError });
    }
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
