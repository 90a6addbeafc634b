// Requests to the Kubernetes API over node's own HTTP client: one keep-alive agent, deadlines, classified errors.
import http from "node:http";
import type { ClientRequest, IncomingMessage } from "node:http";
import https from "node:https";
import type { KubeConnection, KubeCredentials } from "./connection.ts";
import { KubeApiError } from "./errors.ts";
import { explainAnswer, explainConnectionFailure } from "./explain-failure.ts";

/** A unary call's deadline. The server's own is 60 s, but a call of ours is small. */
const CALL_TIMEOUT_MS = 30_000;
/** To the first byte of a streamed answer; a busy server needs a while for 10,000 pods. */
const OPEN_TIMEOUT_MS = 60_000;
/** The kernel asks a silent peer after this long: a half-open connection ends with an error within a minute. */
const TCP_KEEPALIVE_MS = 20_000;
const STALE_CODES: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE"]);
const MAX_ERROR_BODY_BYTES = 64 * 1024;
const MAX_BODY_BYTES = 32 * 1024 * 1024;

export type PatchType = "json" | "merge" | "strategic-merge" | "apply";

const PATCH_CONTENT_TYPE: Readonly<Record<PatchType, string>> = {
  json: "application/json-patch+json",
  merge: "application/merge-patch+json",
  "strategic-merge": "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml",
};

export type Query = Readonly<Record<string, string | undefined>>;

interface Target {
  /** For messages, and logs of the server: "list nodes". */
  readonly what: string;
  /** E.g. `/api/v1/nodes`; parts must be encoded. */
  readonly path: string;
  readonly query?: Query;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

export interface CallRequest extends Target {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly body?: unknown;
  /** Required with PATCH: the API takes an object for nothing without it. */
  readonly patchType?: PatchType;
}

/** All calls throw `KubeApiError`, or the signal's reason when it was aborted. */
export interface KubeClient {
  /** Where and as whom, for messages. */
  readonly description: string;
  /** A small call: the answer's JSON. */
  call(request: CallRequest): Promise<unknown>;
  /** A GET whose answer (2xx) is read as it arrives. `timeoutMs` counts to its first byte. */
  open(request: Target): Promise<IncomingMessage>;
  /** Ends idle and busy connections. */
  close(): void;
}

export interface KubeClientModules {
  readonly userAgent?: string;
  readonly now?: () => number;
}

export function createKubeClient(connection: KubeConnection, modules: KubeClientModules = {}): KubeClient {
  return new HttpKubeClient(connection, modules);
}

class HttpKubeClient implements KubeClient {
  readonly description: string;
  readonly #connection: KubeConnection;
  readonly #userAgent: string;
  readonly #now: () => number;
  #agent: http.Agent | undefined;
  #agentKey = "";

  constructor(connection: KubeConnection, { userAgent = "flanneld-ts", now = Date.now }: KubeClientModules) {
    this.#connection = connection;
    this.#userAgent = userAgent;
    this.#now = now;
    this.description = `${connection.baseUrl} (${connection.source})`;
  }

  async call(request: CallRequest): Promise<unknown> {
    const deadline = AbortSignal.timeout(request.timeoutMs ?? CALL_TIMEOUT_MS);
    const signal = request.signal === undefined ? deadline : AbortSignal.any([deadline, request.signal]);
    try {
      const response = await this.#send(request, signal);
      const text = await readBody(response, MAX_BODY_BYTES);
      return text === "" ? undefined : JSON.parse(text);
    } catch (error) {
      throw this.#explain(request, error, deadline);
    }
  }

  async open(request: Target): Promise<IncomingMessage> {
    const deadline = new AbortController();
    const timer = setTimeout(
      () => deadline.abort(new Error("no answer in time")),
      request.timeoutMs ?? OPEN_TIMEOUT_MS,
    );
    const signal =
      request.signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, request.signal]);
    try {
      const response = await this.#send(request, signal);
      return response;
    } catch (error) {
      throw this.#explain(request, error, deadline.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#agent?.destroy();
  }

  #explain({ what, signal }: Target, error: unknown, deadline: AbortSignal): unknown {
    if (signal?.aborted) return signal.reason;
    const cause = deadline.aborted ? new Error("no answer in time") : error;
    return explainConnectionFailure(what, this.#connection.baseUrl, cause);
  }

  /** Sends, with new credentials once more when they were refused. @throws {KubeApiError} for an answer that is not 2xx */
  async #send(request: CallRequest, signal: AbortSignal): Promise<IncomingMessage> {
    for (const fresh of [false, true]) {
      const credentials = await this.#connection.credentials({ fresh });
      const response = await this.#exchange(request, credentials, signal);
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return response;
      const body = await readBody(response, MAX_ERROR_BODY_BYTES);
      if (status === 401 && !fresh) continue;
      const retryAfter = response.headers["retry-after"];
      throw explainAnswer({ what: request.what, status, body, retryAfter }, this.#now());
    }
    throw new KubeApiError(`${request.what}: refused`, { retryable: true });
  }

  async #exchange(
    request: CallRequest,
    credentials: KubeCredentials,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const agent = this.#agentFor(credentials);
    for (;;) {
      const asking = this.#start(request, { credentials, body, agent, signal });
      try {
        return await responseOf(asking, body);
      } catch (error) {
        // The server closed an idle connection just when we took it: nothing was answered, so ask on a new one.
        const isStale = asking.reusedSocket && STALE_CODES.has((error as NodeJS.ErrnoException).code ?? "");
        if (!isStale || signal.aborted) throw error;
      }
    }
  }

  #start(
    { method = "GET", path, query, patchType }: CallRequest,
    {
      credentials,
      body,
      agent,
      signal,
    }: {
      readonly credentials: KubeCredentials;
      readonly body: string | undefined;
      readonly agent: http.Agent;
      readonly signal: AbortSignal;
    },
  ): ClientRequest {
    const authorization =
      credentials.token === undefined || credentials.token === ""
        ? credentials.authorization
        : `Bearer ${credentials.token}`;
    const headers: http.OutgoingHttpHeaders = {
      accept: "application/json",
      "user-agent": this.#userAgent,
      ...(authorization !== undefined && { authorization }),
      ...credentials.headers,
      ...(body !== undefined && {
        "content-type": patchType === undefined ? "application/json" : PATCH_CONTENT_TYPE[patchType],
        "content-length": Buffer.byteLength(body),
      }),
    };
    const url = new URL(this.#connection.baseUrl + path + formatQuery(query));
    const send = url.protocol === "https:" ? https.request : http.request;
    const asking = send(url, { method, headers, agent, signal });
    asking.on("socket", (socket) => socket.setKeepAlive(true, TCP_KEEPALIVE_MS));
    return asking;
  }

  /** One agent as long as trust and client certificate stay the same. */
  #agentFor({ ca, cert, key }: KubeCredentials): http.Agent {
    const { baseUrl, serverName, insecure = false } = this.#connection;
    const agentKey = [ca, cert, key].join("\0");
    if (this.#agent !== undefined && this.#agentKey === agentKey) return this.#agent;
    // Connections in use end by themselves; only the idle ones must not be used again.
    for (const socket of Object.values(this.#agent?.freeSockets ?? {}).flat()) socket?.destroy();
    this.#agentKey = agentKey;
    this.#agent = baseUrl.startsWith("https:")
      ? new https.Agent({
          keepAlive: true,
          rejectUnauthorized: !insecure,
          ...(ca !== undefined && { ca }),
          ...(cert !== undefined && { cert }),
          ...(key !== undefined && { key }),
          ...(serverName !== undefined && { servername: serverName }),
        })
      : new http.Agent({ keepAlive: true });
    return this.#agent;
  }
}

function formatQuery(query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) params.set(name, value);
  return params.size === 0 ? "" : `?${params.toString()}`;
}

function responseOf(asking: ClientRequest, body: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    asking.on("response", resolve);
    // Stays listening: after the response, an error is the response's own and told there too.
    asking.on("error", reject);
    asking.end(body);
  });
}

async function readBody(response: IncomingMessage, limit: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limit) throw new Error(`the answer has more than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
