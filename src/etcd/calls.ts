// Carries out calls to etcd: which server, with which token and deadline, and what to do when one fails.
import type { Etcd3, IDuplexStream, IWatchRequest, IWatchResponse } from "etcd3";
import { SILENT_LOGGER } from "../net/logger.ts";
import type { Logger } from "../net/logger.ts";
import { callError, classifyFailure } from "./call-errors.ts";
import type { EndpointFailure, Failure } from "./call-errors.ts";
import { CompactedError, EtcdCallError } from "./client.ts";
import { planConnection } from "./connection.ts";
import type { ConnectionPlan, EtcdConnection } from "./connection.ts";
import { Endpoint, withHeaders } from "./endpoint.ts";
import type { CallOptions } from "./endpoint.ts";
import { readTlsMaterial } from "./tls-files.ts";

/** An election takes a second or two; etcd itself gives up on a proposal after 7 s. */
const CALL_TIMEOUT_MS = 5_000;
/** For a server that has not answered yet while there are others: a dead address must not cost much. */
const UNPROVEN_TIMEOUT_MS = 2_000;

export type WatchStream = IDuplexStream<IWatchRequest, IWatchResponse>;
type Run<T> = (etcd: Etcd3, options: CallOptions) => Promise<T>;

/** Owns the connections. Prefers the server that answered last. */
export class EtcdCalls {
  readonly warnings: readonly string[];
  readonly #connection: EtcdConnection;
  readonly #plan: ConnectionPlan;
  readonly #endpoints: readonly Endpoint[];
  readonly #log: Logger;
  #preferred: number;
  #token: Promise<string | undefined> | undefined;
  #closed = false;

  /** @throws {InvalidValueError} for endpoints that are none @throws {EtcdCallError} for certificate files */
  constructor(
    connection: EtcdConnection,
    { log = SILENT_LOGGER, random = Math.random }: { log?: Logger; random?: () => number } = {},
  ) {
    this.#connection = connection;
    this.#log = log;
    this.#plan = planConnection(connection);
    this.warnings = this.#plan.warnings;
    const tls = this.#plan.endpoints.some((endpoint) => endpoint.tls)
      ? readTlsMaterial(connection, this.#plan.clientCertificate)
      : undefined;
    this.#endpoints = this.#plan.endpoints.map(
      (address) => new Endpoint(address, address.tls ? tls : undefined),
    );
    // A thousand daemons should not all begin with the first server of the list.
    this.#preferred = Math.floor(random() * this.#endpoints.length);
  }

  /** @throws {EtcdCallError} */
  async call<T>(operation: string, run: Run<T>): Promise<T> {
    const failures: EndpointFailure[] = [];
    // Once round, and the first one again: its connection may only have been stale.
    const order = [...this.#endpoints.keys()].map((i) => (this.#preferred + i) % this.#endpoints.length);
    for (const index of [...order, order[0]!]) {
      if (this.#closed) throw new EtcdCallError(`etcd ${operation}: the client is closed`, false);
      const endpoint = this.#endpoints[index]!;
      try {
        const result = await this.#attempt(endpoint, run);
        endpoint.proven = true;
        this.#preferred = index;
        return result;
      } catch (error) {
        if (error instanceof CompactedError) throw error;
        const failure = this.#judge(endpoint, error);
        failures.push({ url: endpoint.url, failure });
        if (failure.kind !== "unreachable" && failure.kind !== "tls" && failure.kind !== "token") break;
      }
    }
    throw callError(operation, failures);
  }

  /** Opens a stream at the preferred server; `url` tells which. Fails with a raw error for `judgeStream`. */
  async openWatch(): Promise<{ readonly stream: WatchStream; readonly url: string }> {
    if (this.#closed) throw new EtcdCallError("etcd watch: the client is closed", false);
    const endpoint = this.#endpoints[this.#preferred]!;
    const token = await this.#tokenFrom(endpoint);
    // WithRequireLeader of Go's client: a member that is cut off from its leader ends the stream, not stays silent.
    const headers = { hasleader: "true", ...(token === undefined ? {} : { token }) };
    const stream = await endpoint.streams.watchClient.watch({ interceptors: [withHeaders(headers)] });
    return { stream, url: endpoint.url };
  }

  /** Says what a stream's failure means, and prefers another server from now on if this one is at fault. */
  judgeStream(url: string, error: unknown): Failure {
    const index = this.#endpoints.findIndex((endpoint) => endpoint.url === url);
    const endpoint = this.#endpoints[index];
    if (endpoint === undefined) return classifyFailure(error);
    const failure = this.#judge(endpoint, error);
    if (index === this.#preferred && (failure.kind === "unreachable" || failure.kind === "tls")) {
      this.#preferred = (index + 1) % this.#endpoints.length;
    }
    return failure;
  }

  /** The server a stream would be opened at. */
  get preferredUrl(): string {
    return this.#endpoints[this.#preferred]!.url;
  }

  /** Forces a new token for the next call or stream. */
  forgetToken(): void {
    this.#token = undefined;
  }

  close(): void {
    this.#closed = true;
    for (const endpoint of this.#endpoints) endpoint.close();
  }

  async #attempt<T>(endpoint: Endpoint, run: Run<T>): Promise<T> {
    const token = await this.#tokenFrom(endpoint);
    try {
      return await run(endpoint.unary, this.#options(endpoint, token));
    } catch (error) {
      if (classifyFailure(error).kind !== "token" || !this.#connection.username) throw error;
      this.forgetToken();
      return await run(endpoint.unary, this.#options(endpoint, await this.#tokenFrom(endpoint)));
    }
  }

  #options(endpoint: Endpoint, token?: string): CallOptions {
    const patient = endpoint.proven || this.#endpoints.length === 1;
    return {
      deadline: Date.now() + (patient ? CALL_TIMEOUT_MS : UNPROVEN_TIMEOUT_MS),
      interceptors: [withHeaders(token === undefined ? {} : { token })],
    };
  }

  /** The shared token: undefined without a user, or if the server has no authentication. Single flight. */
  #tokenFrom(endpoint: Endpoint): Promise<string | undefined> {
    const { username, password = "" } = this.#connection;
    if (!username) return Promise.resolve(undefined);
    if (this.#token !== undefined) return this.#token;
    const pending: Promise<string | undefined> = endpoint.unary.auth
      .authenticate({ name: username, password }, this.#options(endpoint))
      .then(
        (response) => response.token,
        (error: unknown) => {
          // Like Go's client, go on without a token; if auth is switched on later, calls fail with kind "token".
          if (classifyFailure(error).kind === "auth-off") return undefined;
          if (this.#token === pending) this.#token = undefined;
          throw error;
        },
      );
    this.#token = pending;
    return pending;
  }

  #judge(endpoint: Endpoint, error: unknown): Failure {
    const failure = classifyFailure(error);
    if (failure.kind === "unreachable" || failure.kind === "tls") endpoint.proven = false;
    if (failure.kind === "tls")
      return { ...failure, retryable: this.#renewTls(endpoint) || failure.retryable };
    if (failure.kind === "token" && !this.#connection.username)
      return { ...failure, kind: "credentials", retryable: false };
    return failure;
  }

  #renewTls(endpoint: Endpoint): boolean {
    try {
      const renewed = endpoint.renewTls(readTlsMaterial(this.#connection, this.#plan.clientCertificate));
      if (renewed)
        this.#log.info({ endpoint: endpoint.url }, "etcd certificates have changed on disk; connecting anew");
      return renewed;
    } catch (error) {
      this.#log.warn(
        { endpoint: endpoint.url, error: (error as Error).message },
        "etcd certificates cannot be read again",
      );
      return false;
    }
  }
}
