// The health server: /healthz and /readyz over TCP for kubelet and monitoring.
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo, ListenOptions, Server as NetServer } from "node:net";
import { isIPv6 } from "node:net";
import type { Logger } from "../net/logger.ts";
import { listenerOf } from "./health-router.ts";
import type { Routes } from "./health-router.ts";

/** A server that could not be started; the message is for a person and has the cure. Exit 1. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** Bounds on what one client can hold: whole request, rest between requests, silence while we answer. */
const REQUEST_TIMEOUT_MS = 5_000;
const KEEP_ALIVE_TIMEOUT_MS = 10_000;
const SILENCE_TIMEOUT_MS = 15_000;
const MAX_CONNECTIONS = 256;
const MAX_HEADER_BYTES = 8 * 1024;

/** An HTTP server that no slow or greedy client can hold up. */
export function createBoundedServer(
  routes: Routes,
  log: Logger,
  requestTimeoutMs: number = REQUEST_TIMEOUT_MS,
): Server {
  const server = createServer(
    {
      requestTimeout: requestTimeoutMs,
      headersTimeout: requestTimeoutMs,
      connectionsCheckingInterval: requestTimeoutMs / 2,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    listenerOf(routes, log),
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(SILENCE_TIMEOUT_MS);
  return server;
}

/** Listens, or rejects with the system's error. `afterBind` runs in the same tick as a successful bind. */
export function listen(server: NetServer, options: ListenOptions, afterBind = (): void => {}): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error): void => {
      server.off("error", settle);
      server.off("listening", settle);
      if (error === undefined) resolve();
      else reject(error);
    };
    server.once("error", settle);
    server.once("listening", settle);
    server.listen(options);
    if (server.listening) afterBind();
  });
}

/** Stops listening and cuts connections. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

export interface HealthServerOptions {
  readonly ip: string;
  /** 0 leaves it off; the caller of a test passes `anyPort`. */
  readonly port: number;
  readonly routes: Routes;
  /** Let the kernel choose the port. */
  readonly anyPort?: boolean;
}

export interface HealthServer {
  readonly port: number;
  /** Also called when the signal is given. */
  close(): Promise<void>;
}

/**
 * Starts the server; port 0 gives undefined. To be started before anything slow, so that a slow start does not look
 * dead. @throws {ListenError}
 */
export async function startHealthServer(
  { ip, port, routes, anyPort = false }: HealthServerOptions,
  { log }: { readonly log: Logger },
  signal: AbortSignal,
): Promise<HealthServer | undefined> {
  if (port === 0 && !anyPort) return undefined;
  const server = createBoundedServer(routes, log);
  try {
    await listen(server, { host: ip, port });
  } catch (error) {
    throw new ListenError(describeListenError(error as NodeJS.ErrnoException, ip, port), { cause: error });
  }
  // After listening, errors are of accept(2), such as too many open files: the daemon goes on.
  server.on("error", (error) => log.error({ err: error }, "the health server cannot accept a connection"));
  const close = (): Promise<void> => closeServer(server);
  signal.addEventListener("abort", () => void close(), { once: true });
  if (signal.aborted) await close();
  return { port: (server.address() as AddressInfo | null)?.port ?? port, close };
}

function describeListenError(error: NodeJS.ErrnoException, ip: string, port: number): string {
  const where = `cannot serve health on ${isIPv6(ip) ? `[${ip}]` : ip}:${port}`;
  const cures: Readonly<Record<string, string>> = {
    EADDRINUSE: `the port is in use; choose another --healthz-port, or stop the program that has it (ss -ltnp 'sport = :${port}' names it)`,
    EADDRNOTAVAIL: "this host does not have that address; give --healthz-ip one that it has",
    EACCES: "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, so choose a --healthz-port above",
  };
  return `${where}: ${cures[error.code ?? ""] ?? error.message}`;
}
