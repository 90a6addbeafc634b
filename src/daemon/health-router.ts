// Routes of the daemon's HTTP servers: what each path answers, and the listener that serves a set of them.
import type { RequestListener } from "node:http";
import type { Logger } from "../net/logger.ts";
import type { StatusReport } from "./status-report.ts";

export interface Reply {
  readonly status: number;
  /** Default: plain text. */
  readonly contentType?: string;
  readonly body: string;
}

/** Answers GET (and HEAD). A throw is answered with 500 and logged. */
export type Route = () => Reply | Promise<Reply>;

/** By path, e.g. `/healthz`. */
export type Routes = Readonly<Record<string, Route>>;

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
  const byPath = new Map(Object.entries(routes));
  const answer = async (method: string | undefined, path: string): Promise<Reply> => {
    const route = byPath.get(path);
    if (route === undefined)
      return { status: 404, body: `no such path; there are ${[...byPath.keys()].join(", ")}\n` };
    if (method !== "GET" && method !== "HEAD") return { status: 405, body: "only GET is answered\n" };
    try {
      return await route();
    } catch (error) {
      log.error({ err: error, path }, "a request to the daemon's own server failed");
      return { status: 500, body: "internal error; see the daemon's log\n" };
    }
  };
  return (request, response) => {
    const path = (request.url ?? "/").replace(/\?.*$/s, "");
    void answer(request.method, path).then(({ status, contentType = "text/plain; charset=utf-8", body }) => {
      response.writeHead(status, {
        "content-type": contentType,
        "content-length": Buffer.byteLength(body),
        "cache-control": "no-store",
        ...(status === 405 ? { allow: "GET, HEAD" } : {}),
      });
      response.end(body);
    });
  };
}
