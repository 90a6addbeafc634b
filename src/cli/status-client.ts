// Asks the daemon of this node over its local socket.
import { request } from "node:http";

const ANSWER_TIMEOUT_MS = 5_000;

/** The daemon could not be asked; the message says why and what to do. */
export class StatusClientError extends Error {
  override readonly name = "StatusClientError";
}

export interface SocketAnswer {
  readonly status: number;
  readonly body: string;
}

/** GET over a unix socket. @throws {StatusClientError} */
export function getOverSocket(
  socketPath: string,
  urlPath: string,
  timeoutMs: number = ANSWER_TIMEOUT_MS,
): Promise<SocketAnswer> {
  return new Promise((resolve, reject) => {
    const fail = (message: string, cause?: unknown): void =>
      reject(new StatusClientError(message, { cause }));
    const signal = AbortSignal.timeout(timeoutMs);
    const asking = request({ socketPath, path: urlPath, agent: false, signal }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") }),
      );
      response.on("error", (error) => fail(describe(error, socketPath, signal.aborted), error));
    });
    asking.on("error", (error) => fail(describe(error, socketPath, signal.aborted), error));
    asking.end();
  });
}

function describe(error: NodeJS.ErrnoException, socketPath: string, timedOut: boolean): string {
  if (timedOut)
    return `the daemon does not answer on ${socketPath}; its log says more (journalctl -u flanneld-ts)`;
  switch (error.code ?? "") {
    case "ENOENT":
    case "ECONNREFUSED":
      return (
        `no daemon listens on ${socketPath}; start it (systemctl start flanneld-ts), ` +
        "or name its socket with --socket=PATH if it runs with another --subnet-file or --status-socket"
      );
    case "EACCES":
    case "EPERM":
      return `${socketPath} is for root only; run this as root`;
    default:
      return `cannot ask the daemon on ${socketPath}: ${error.message}`;
  }
}
