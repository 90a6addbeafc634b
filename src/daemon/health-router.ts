// Routes of the daemon's HTTP servers: what each path answers, and the listener that serves a set of them.
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Logger } from "../net/logger.ts";
import type { StatusReport } from "./status-report.ts";

export interface Reply {
  readonly status: number;
  /** Default: plain text. */
  readonly contentType?: string;
  readonly body: string;
}

export interface RouteRequest {
  readonly query: URLSearchParams;
  /** Empty for GET. */
  readonly body: string;
  /** Given when the client goes before it has its answer. */
  readonly signal: AbortSignal;
}

/** A throw is answered with 500 and logged. */
export type Route = (request: RouteRequest) => Reply | Promise<Reply>;

/** By path for GET (and HEAD), e.g. `/healthz`; by method and path for the others, e.g. `POST /v1/attachments`. */
export type Routes = Readonly<Record<string, Route>>;

/** A garbage collection that lists a thousand attachments is 0.1 MiB. */
const MAX_BODY_BYTES = 1024 * 1024;

/**
 * `/healthz` and `/readyz` with flannel's status codes and first lines (flannel 6); a second line says why not ready, or
 * what is wrong although the node is ready.
 * @param notReadyReason the reason with its cure, or undefined when ready
 * @param problem what a ready node cannot do at present, e.g. reach the store
 */
export function healthRoutes(
  notReadyReason: () => string | undefined,
  problem: () => string | undefined = () => undefined,
): Routes {
  return {
    "/healthz": () => ({ status: 200, body: "flanneld is running" }),
    "/readyz": () => {
      const reason = notReadyReason();
      if (reason !== undefined) return { status: 503, body: `flanneld is not ready yet\n${reason}\n` };
      const trouble = problem();
      return { status: 200, body: `flanneld is ready${trouble === undefined ? "" : `\n${trouble}\n`}` };
    },
  };
}

/** `/status`: the report as JSON. For the local socket only, since it names every peer. */
export function statusRoutes(report: () => StatusReport | Promise<StatusReport>): Routes {
  return {
    "/status": async () => ({
      status: 200,
      contentType: "application/json",
      body: `${JSON.stringify(await report())}\n`,
    }),
  };
}

/** Serves the routes; anything else is 404 or 405. */
export function listenerOf(routes: Routes, log: Logger): RequestListener {
  const byMethodAndPath = new Map(
    Object.entries(routes).map(([name, route]) => [name.startsWith("/") ? `GET ${name}` : name, route]),
  );
  const methodsOf = (path: string): readonly string[] =>
    [...byMethodAndPath.keys()]
      .filter((name) => name.endsWith(` ${path}`))
      .map((name) => name.split(" ")[0] ?? "");
  const answer = async (
    method: string,
    { pathname, searchParams }: URL,
    exchange: Exchange,
  ): Promise<Reply & { readonly allow?: string }> => {
    const route = byMethodAndPath.get(`${method === "HEAD" ? "GET" : method} ${pathname}`);
    if (route === undefined) {
      const allowed = methodsOf(pathname).map((name) => (name === "GET" ? "GET, HEAD" : name));
      if (allowed.length === 0)
        return { status: 404, body: `no such path; there are ${Object.keys(routes).join(", ")}\n` };
      const allow = allowed.join(", ");
      return { status: 405, body: `only ${allow} is answered here\n`, allow };
    }
    try {
      const body = method === "GET" || method === "HEAD" ? "" : await readBody(exchange.request);
      if (body === undefined)
        return { status: 413, body: `the body has more than ${MAX_BODY_BYTES} bytes\n` };
      return await route({ query: searchParams, body, signal: signalOf(exchange.response) });
    } catch (error) {
      log.error({ err: error, path: pathname }, "a request to the daemon's own server failed");
      return { status: 500, body: "internal error; see the daemon's log\n" };
    }
  };
  return (request, response) => {
    const url = parseTarget(request.url ?? "/");
    void answer(request.method ?? "GET", url, { request, response }).then(
      ({ status, contentType = "text/plain; charset=utf-8", body, allow }) => {
        response.writeHead(status, {
          "content-type": contentType,
          "content-length": Buffer.byteLength(body),
          "cache-control": "no-store",
          ...(allow === undefined ? {} : { allow }),
          // What we did not read of a body must not be taken for the next request.
          ...(status === 413 ? { connection: "close" } : {}),
        });
        response.end(body);
      },
    );
  };
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** The base only completes what is not absolute; a target that is no URL at all leads nowhere. */
function parseTarget(target: string): URL {
  const base = "http://localhost";
  return URL.parse(target.startsWith("/") ? `${base}${target}` : target, base) ?? new URL(base);
}

/** Undefined if it is too long. How long it may take is the server's to bound. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Not destroyed when left early: the answer goes by the same socket.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function signalOf(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) controller.abort(new Error("the client has gone"));
  });
  return controller.signal;
}
