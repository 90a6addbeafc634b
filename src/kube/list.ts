// Lists all objects of one kind, page by page, each object handed on and forgotten while the rest still arrives.
import type { IncomingMessage } from "node:http";
import type { KubeClient, Query } from "./api-client.ts";
import { isExpired, KubeApiError } from "./errors.ts";
import { explainConnectionFailure } from "./explain-failure.ts";
import { withIdleLimit } from "./idle.ts";
import { ListFormatError, ListScanner } from "./list-scanner.ts";

/** client-go's page. A server that answers from its cache (resourceVersion=0) sends everything in one. */
const PAGE_SIZE = 500;

export interface ListRequest {
  readonly resource: string;
  readonly path: string;
  readonly query: Query;
  /** The list is at least as new as this; "0" takes what the server has in its cache, undefined asks etcd. */
  readonly minVersion: string | undefined;
  /** Milliseconds without a byte after which it is given up. */
  readonly idleMs: number;
}

/** @throws {KubeApiError}, 410 when a page's token has expired: begin anew, without `minVersion` */
export async function listObjects(
  request: ListRequest,
  onObject: (object: unknown) => void,
  { client }: { readonly client: KubeClient },
  signal: AbortSignal,
): Promise<{ readonly resourceVersion: string }> {
  const what = `list ${request.resource}`;
  let token: string | undefined;
  for (;;) {
    const query: Query = {
      ...request.query,
      // A limit turns "at least as new as" into "exactly", which may have expired (API concepts, "resourceVersion in list").
      limit: isAtLeast(request.minVersion) ? undefined : String(PAGE_SIZE),
      // The token names the version of the first page.
      ...(token === undefined ? { resourceVersion: request.minVersion } : { continue: token }),
    };
    const page = await readPage({ ...request, what, query }, onObject, client, signal);
    if (page.token === undefined) return { resourceVersion: page.resourceVersion };
    token = page.token;
  }
}

/** How far the API's history is, by a small read of etcd itself. @throws {KubeApiError} */
export async function readCurrentVersion(
  { resource, path, idleMs }: Pick<ListRequest, "resource" | "path" | "idleMs">,
  { client }: { readonly client: KubeClient },
  signal: AbortSignal,
): Promise<string> {
  const request = {
    resource,
    path,
    idleMs,
    what: `list ${resource}`,
    query: { limit: "1" },
    minVersion: undefined,
  };
  return (await readPage(request, () => undefined, client, signal)).resourceVersion;
}

function isAtLeast(minVersion: string | undefined): boolean {
  return minVersion !== undefined && minVersion !== "0";
}

async function readPage(
  { what, path, query, idleMs }: ListRequest & { readonly what: string },
  onObject: (object: unknown) => void,
  client: KubeClient,
  signal: AbortSignal,
): Promise<{ readonly resourceVersion: string; readonly token: string | undefined }> {
  const response = await client.open({ what, path, query, signal });
  try {
    const scanner = new ListScanner(onObject);
    for await (const chunk of withIdleLimit(response as AsyncIterable<Buffer>, idleMs, () => stop(response)))
      scanner.write(chunk);
    return readEnvelope(what, scanner.end());
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (isExpired(error)) throw error;
    if (error instanceof ListFormatError)
      throw new KubeApiError(`${what}: ${error.message}`, { retryable: true, cause: error });
    throw explainConnectionFailure(what, client.description, error);
  } finally {
    response.destroy();
  }
}

function stop(response: IncomingMessage): void {
  response.destroy(new Error("the answer stands still"));
}

function readEnvelope(
  what: string,
  envelope: unknown,
): { readonly resourceVersion: string; readonly token: string | undefined } {
  const { metadata } = envelope as { metadata?: { resourceVersion?: unknown; continue?: unknown } };
  const resourceVersion = metadata?.resourceVersion;
  if (typeof resourceVersion !== "string" || resourceVersion === "") {
    throw new KubeApiError(`${what}: the answer has no resourceVersion; is this a Kubernetes API server?`, {
      retryable: true,
    });
  }
  const token = metadata?.continue;
  return { resourceVersion, token: typeof token === "string" && token !== "" ? token : undefined };
}
