// The local status socket: HTTP on a unix socket that only root can open.
import { createHash } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { connect, createServer } from "node:net";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../net/logger.ts";
import type { Routes } from "./health-router.ts";
import { closeServer, createBoundedServer, listen, ListenError } from "./health-server.ts";

/** sun_path holds 108 bytes with its final zero (unix(7)). */
const MAX_PATH_BYTES = 107;

export interface StatusSocketOptions {
  readonly path: string;
  readonly routes: Routes;
}

export interface StatusSocket {
  /** Closes and unlinks. Also called when the signal is given. */
  close(): Promise<void>;
}

/**
 * Listens with mode 0600. The socket of a dead daemon is replaced, that of a live one is left alone.
 * @throws {ListenError}
 */
export async function startStatusSocket(
  { path, routes }: StatusSocketOptions,
  { log }: { readonly log: Logger },
  signal: AbortSignal,
): Promise<StatusSocket> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new ListenError(
      `the path of the status socket is longer than ${MAX_PATH_BYTES} bytes: ${path}; choose a shorter --status-socket`,
    );
  }
  const server = createBoundedServer(routes, log);
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    await withStartLock(path, signal, async () => {
      await removeStaleSocket(path);
      // In the tick of bind(2), before anybody can connect.
      await listen(server, { path }, () => chmodSync(path, 0o600));
    });
  } catch (error) {
    if (error instanceof ListenError) throw error;
    throw new ListenError(`cannot serve status on ${path}: ${describe(error as NodeJS.ErrnoException)}`, {
      cause: error,
    });
  }
  server.on("error", (error) => log.error({ err: error }, "the status socket cannot accept a connection"));
  // Closing a server unlinks its path (uv_pipe_t).
  const close = (): Promise<void> => closeServer(server);
  signal.addEventListener("abort", () => void close(), { once: true });
  if (signal.aborted) await close();
  return { close };
}

async function removeStaleSocket(path: string): Promise<void> {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) {
    throw new ListenError(`${path} exists and is no socket; remove it or choose another --status-socket`);
  }
  if (await answers(path)) {
    throw new ListenError(
      `another daemon serves ${path}; stop it first (flanneld-ts status --socket=${path} shows its pid), or give this one its own --subnet-file or --status-socket`,
    );
  }
  unlinkSync(path);
}

const LOCK_RETRY_MS = 25;
const LOCK_ATTEMPTS = 80;

/**
 * Lets one daemon at a time look at a socket and replace it; else two that start together could unlink each other's. The
 * lock is an abstract socket (unix(7)), which vanishes with its process as no lock file does. Any user can take the name,
 * so after two seconds we go on without it.
 */
async function withStartLock(path: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  const lock = createServer();
  const name = `\0flanneld-ts-${createHash("sha256").update(path).digest("hex").slice(0, 32)}`;
  for (let attempt = 0; attempt < LOCK_ATTEMPTS && !lock.listening; attempt += 1) {
    const taken = await listen(lock, { path: name }).then(
      () => false,
      () => true,
    );
    if (taken) await delay(LOCK_RETRY_MS, undefined, { signal });
  }
  try {
    await work();
  } finally {
    if (lock.listening) lock.close();
  }
}

/** True if a process listens on the socket, even one that hangs. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      // EAGAIN: a full backlog, so somebody listens.
      if (error.code === "EAGAIN") resolve(true);
      else if (error.code === "ECONNREFUSED" || error.code === "ENOENT") resolve(false);
      else reject(error);
    });
  });
}

function describe(error: NodeJS.ErrnoException): string {
  if (error.code === "EACCES" || error.code === "EPERM")
    return "permission denied; the daemon must run as root";
  if (error.code === "EROFS") return "the file system is read-only; choose another --status-socket";
  return error.message;
}
