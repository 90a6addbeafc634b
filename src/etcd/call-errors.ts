// Turns what gRPC and etcd answer into errors that say what is wrong and what to do; pure.
import { EtcdCallError } from "./client.ts";

/** What a failed call means for the caller. */
export type FailureKind =
  /** Nobody answers there: another endpoint may. The call may or may not have been carried out. */
  | "unreachable"
  /** TLS could not be agreed on; another endpoint may have better certificates. */
  | "tls"
  /** The token is old or unknown: authenticate again. */
  | "token"
  /** Auth is off on the server, so there is no token to have. */
  | "auth-off"
  | "credentials"
  | "permission"
  | "compacted"
  | "lease-not-found"
  /** The server refused for good: too large, no space, wrong request. */
  | "refused";

export interface Failure {
  readonly kind: FailureKind;
  readonly retryable: boolean;
  /** In plain words, with the cure; without the endpoint. */
  readonly message: string;
}

/** The message that our interceptor puts in place of etcd's, since etcd3 would retry that one for ever by itself. */
export const TOKEN_REFUSED = "etcd refused the auth token";

interface Rule {
  readonly pattern: RegExp;
  readonly kind: FailureKind;
  readonly retryable: boolean;
  readonly say: (text: string) => string;
}

const RULES: readonly Rule[] = [
  {
    // Texts of etcd's api/v3rpc/rpctypes/error.go. "user name is empty": auth was turned on after we connected.
    pattern: new RegExp(
      `${TOKEN_REFUSED}|invalid auth token|revision of auth store is old|revision in header is old|user name is empty`,
    ),
    kind: "token",
    retryable: true,
    say: () =>
      "etcd wants a user and a password, or no longer knows ours; set --etcd-username and --etcd-password if they are not set",
  },
  {
    pattern: /authentication is not enabled/,
    kind: "auth-off",
    retryable: true,
    say: () => "etcd has authentication switched off",
  },
  {
    pattern: /authentication failed, invalid user ID or password|user name not found/,
    kind: "credentials",
    retryable: false,
    say: () => "etcd does not accept this user and password; correct --etcd-username and --etcd-password",
  },
  {
    pattern: /permission denied|PERMISSION_DENIED/,
    kind: "permission",
    retryable: false,
    say: () =>
      "permission denied: grant the etcd user a role with readwrite on the prefix (etcdctl role grant-permission ROLE readwrite PREFIX --prefix=true)",
  },
  {
    pattern: /requested lease not found/,
    kind: "lease-not-found",
    retryable: true,
    say: () => "the etcd lease has expired or was revoked",
  },
  {
    pattern: /required revision has been compacted/,
    kind: "compacted",
    retryable: true,
    say: () => "the revision was compacted away",
  },
  {
    pattern:
      /wrong version number|packet length too long|http\/1\.|tls_get_more_records|tls_validate_record/i,
    kind: "tls",
    retryable: false,
    say: (text) => `the server does not speak TLS (${text}); write http:// for this endpoint`,
  },
  {
    pattern: /certificate required|bad certificate|handshake failure|alert number (42|46|48|116)|unknown ca/i,
    kind: "tls",
    retryable: false,
    say: (text) =>
      `the server refused our client certificate or wants one (${text}); give --etcd-certfile and --etcd-keyfile signed by the CA that etcd trusts`,
  },
  {
    pattern: /altname|does not match certificate/i,
    kind: "tls",
    retryable: false,
    say: (text) =>
      `the server's certificate is for another name (${text}); use a name or address that is in the certificate, or issue it with this one`,
  },
  {
    pattern: /certificate|self.signed|CERT_|unable to get (local )?issuer|unable to verify/i,
    kind: "tls",
    retryable: false,
    say: (text) =>
      `the server's certificate is not trusted (${text}); set --etcd-cafile to the CA that signed it, and check its dates`,
  },
  {
    pattern: /database space exceeded/,
    kind: "refused",
    retryable: true,
    say: () =>
      "etcd's database is full (mvcc: database space exceeded); compact, defragment and disarm the alarm",
  },
  {
    pattern: /INVALID_ARGUMENT|NOT_FOUND|UNIMPLEMENTED|FAILED_PRECONDITION|OUT_OF_RANGE|UNAUTHENTICATED/,
    kind: "refused",
    retryable: false,
    say: (text) => text,
  },
  {
    pattern: /DEADLINE_EXCEEDED|request timed out|no leader/,
    kind: "unreachable",
    retryable: true,
    say: (text) =>
      `no answer in time (${text}); is etcd running, reachable, and do more than half of its members live?`,
  },
  {
    pattern: /before secure TLS connection was established/,
    kind: "tls",
    // A server that is just ending does the same.
    retryable: true,
    say: () =>
      "the server ended the connection before TLS was agreed on; if it speaks plain http, write http:// for this endpoint",
  },
  {
    pattern: /Failed to connect|ECONNRESET|Connection dropped|socket hang up/,
    kind: "unreachable",
    retryable: true,
    say: () =>
      "the server ended the connection; is it starting or ending, or does it want TLS (write https:// then)?",
  },
  {
    pattern: /ECONNREFUSED/,
    kind: "unreachable",
    retryable: true,
    say: () => "connection refused; is etcd running there, and is the port right?",
  },
  {
    pattern: /ENOTFOUND|EAI_AGAIN|Name resolution failed/,
    kind: "unreachable",
    retryable: true,
    say: (text) => `the name cannot be resolved (${text})`,
  },
];

/** Sorts the failure of a call by its text: etcd3 keeps neither code nor details of the gRPC error. */
export function classifyFailure(error: unknown): Failure {
  const text = textOf(error);
  const rule = RULES.find(({ pattern }) => pattern.test(text));
  if (rule === undefined) return { kind: "unreachable", retryable: true, message: shorten(text) };
  return { kind: rule.kind, retryable: rule.retryable, message: rule.say(shorten(text)) };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** "14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 127.0.0.1:1 (…)": keeps the last part. */
function shorten(text: string): string {
  const lastError = /Last error: (.*?)(?:\. Resolution note:.*)?$/s.exec(text)?.[1];
  const short = lastError ?? text.replace(/^(?:\w+Error: )?\d+ [A-Z_]+: /, "");
  // Times of the attempt would make each message a new one.
  const timeless = short
    .replace(/ \(\d{4}-\d\d-\d\dT[^)]*\)/g, "")
    .replace(/Deadline exceeded.*/s, "deadline exceeded");
  return timeless.split("\n", 1)[0]!.slice(0, 300).trim();
}

export interface EndpointFailure {
  readonly url: string;
  readonly failure: Failure;
}

/** One error for a call that failed at every endpoint it was tried at. Retryable if it is so anywhere. */
export function callError(operation: string, failures: readonly EndpointFailure[]): EtcdCallError {
  const texts = new Map(failures.map(({ url, failure }) => [url, failure.message]));
  // In one order, wherever the attempts began: a lasting failure is one message.
  const where = [...texts]
    .map(([url, message]) => `${url}: ${message}`)
    .sort()
    .join("; ");
  return new EtcdCallError(
    `etcd ${operation}: ${where}`,
    failures.some(({ failure }) => failure.retryable),
  );
}
