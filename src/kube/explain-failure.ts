// Turns what the API or the way to it answered into an error with a cause and a cure. Pure.
import { KubeApiError } from "./errors.ts";

/** The API's Status object, as far as we use it. */
interface Status {
  readonly message?: unknown;
  readonly reason?: unknown;
  readonly code?: unknown;
  readonly details?: { readonly retryAfterSeconds?: unknown } | null;
}

const RETRYABLE_STATUS: ReadonlySet<number> = new Set([408, 409, 410, 425, 429, 500, 502, 503, 504]);
const MAX_MESSAGE_LENGTH = 500;

export interface Answer {
  /** "list nodes", "patch nodes/status of n1" */
  readonly what: string;
  readonly status: number;
  readonly body: string;
  /** Value of the Retry-After header. */
  readonly retryAfter?: string | undefined;
}

/** An answer other than 2xx. */
export function explainAnswer({ what, status, body, retryAfter }: Answer, nowMs: number): KubeApiError {
  const { message, reason, details } = parseStatus(body);
  const said = (typeof message === "string" && message !== "" ? message : body.trim()) || "no message";
  const seconds = typeof details?.retryAfterSeconds === "number" ? details.retryAfterSeconds : undefined;
  const text = `${what}: HTTP ${status}: ${said.slice(0, MAX_MESSAGE_LENGTH)}${cureOf(status)}`;
  return new KubeApiError(text, {
    status,
    reason: typeof reason === "string" ? reason : undefined,
    retryable: RETRYABLE_STATUS.has(status),
    retryAfterMs: parseRetryAfter(retryAfter, nowMs) ?? (seconds === undefined ? undefined : seconds * 1000),
  });
}

/** The Status object of an ERROR event of a watch. */
export function explainErrorEvent(what: string, object: unknown): KubeApiError {
  const { message, reason, code, details } = asStatus(object);
  const status = typeof code === "number" ? code : undefined;
  const seconds = typeof details?.retryAfterSeconds === "number" ? details.retryAfterSeconds : undefined;
  const said = typeof message === "string" ? message.slice(0, MAX_MESSAGE_LENGTH) : "no message";
  return new KubeApiError(`${what}: ${said}`, {
    status,
    reason: typeof reason === "string" ? reason : undefined,
    retryable: true,
    retryAfterMs: seconds === undefined ? undefined : seconds * 1000,
  });
}

function parseStatus(body: string): Status {
  try {
    return asStatus(JSON.parse(body));
  } catch {
    return {};
  }
}

function asStatus(value: unknown): Status {
  return typeof value === "object" && value !== null ? value : {};
}

/** Seconds, or a date (RFC 9110, 10.2.3). */
function parseRetryAfter(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,6}$/.test(text.trim())) return Number(text) * 1000;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}

function cureOf(status: number): string {
  switch (status) {
    case 401:
      return "; the API server does not accept our credentials: check the service account or the kubeconfig's user";
    case 403:
      return "; give our ClusterRole that verb on that resource (kubectl auth can-i --list --as=USER shows what it has)";
    default:
      return "";
  }
}

const TRUST_CODES: ReadonlySet<string> = new Set([
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "CERT_SIGNATURE_FAILURE",
]);

/** No answer, or one that broke off. */
export function explainConnectionFailure(what: string, server: string, error: unknown): KubeApiError {
  if (error instanceof KubeApiError) return error;
  const { code, message } = describe(error);
  return new KubeApiError(`${what}: ${server}: ${message}${connectionCure(code, server)}`, {
    retryable: true,
    cause: error,
  });
}

function describe(error: unknown): { readonly code: string | undefined; readonly message: string } {
  // Several addresses were tried: the first one's failure stands for all.
  const first = error instanceof AggregateError ? (error.errors[0] ?? error) : error;
  const { code, message } = first as NodeJS.ErrnoException;
  return { code, message: message || (code ?? "no answer") };
}

function connectionCure(code: string | undefined, server: string): string {
  if (code === undefined) return "";
  if (TRUST_CODES.has(code))
    return "; its certificate is not signed by the certificate authority that we were given (certificate-authority of the kubeconfig, ca.crt of the service account)";
  switch (code) {
    case "CERT_HAS_EXPIRED":
      return "; renew the API server's certificate, or correct this node's clock";
    case "CERT_NOT_YET_VALID":
      return "; correct this node's clock";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "; name the server as its certificate does, or set tls-server-name in the kubeconfig";
    case "ECONNREFUSED":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
    case "ETIMEDOUT":
      return `; is the API server running, and does this node reach ${server}? (a service address needs kube-proxy; --kube-api-url names another)`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "; the name does not resolve on this node (cluster DNS is not there yet for a daemon of the network: use an address)";
    default:
      return "";
  }
}
