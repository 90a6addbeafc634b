// What can go wrong between us and the Kubernetes API, and what each failure asks of the caller.

export interface KubeApiErrorDetails {
  /** HTTP status; absent when there was no answer. */
  readonly status?: number | undefined;
  /** `reason` of the API's Status object, e.g. "Expired". */
  readonly reason?: string | undefined;
  /** Whether the same call may succeed later without anybody's help. */
  readonly retryable: boolean;
  /** The server's wish: not before this many milliseconds. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** A call failed. The message says what, where and, as far as it can be known, the cure; it never holds a secret. */
export class KubeApiError extends Error {
  override readonly name = "KubeApiError";
  readonly status: number | undefined;
  readonly reason: string | undefined;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  constructor(message: string, details: KubeApiErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.status = details.status;
    this.reason = details.reason;
    this.retryable = details.retryable;
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** Our resourceVersion or continue token is too old: list again (HTTP 410, reasons "Expired" and "Gone"). */
export function isExpired(error: unknown): boolean {
  return error instanceof KubeApiError && (error.status === 410 || error.reason === "Expired");
}

/** The server's history lies behind our resourceVersion: it lags, or its etcd was restored (apimachinery, ResourceVersionTooLarge). */
export function isTooLargeVersion(error: unknown): boolean {
  return error instanceof KubeApiError && /too large resource version/i.test(error.message);
}
