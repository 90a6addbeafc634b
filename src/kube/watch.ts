// One watch of one kind of objects, from a version on until its stream ends.
import type { IncomingMessage } from "node:http";
import type { KubeClient, Query } from "./api-client.ts";
import { KubeApiError } from "./errors.ts";
import { explainConnectionFailure, explainErrorEvent } from "./explain-failure.ts";
import { withIdleLimit } from "./idle.ts";
import { splitLines } from "./line-splitter.ts";

export type WatchedEvent =
  /** The server has accepted the watch. */
  | { readonly type: "opened" }
  /** Added or modified: after a gap one cannot know which. */
  | { readonly type: "put"; readonly object: unknown; readonly resourceVersion: string }
  | { readonly type: "delete"; readonly object: unknown; readonly resourceVersion: string }
  | { readonly type: "bookmark"; readonly resourceVersion: string };

export interface WatchRequest {
  readonly resource: string;
  readonly path: string;
  readonly query: Query;
  /** Events after this version. */
  readonly from: string;
  readonly timeoutSeconds: number;
  /** Milliseconds without a byte after which it is given up. */
  readonly idleMs: number;
}

/** Ends when the server ends it, and quietly when it went idle. @throws {KubeApiError} */
export async function* watchObjects(
  request: WatchRequest,
  { client }: { readonly client: KubeClient },
  signal: AbortSignal,
): AsyncGenerator<WatchedEvent> {
  const what = `watch ${request.resource}`;
  const query: Query = {
    ...request.query,
    watch: "true",
    resourceVersion: request.from,
    allowWatchBookmarks: "true",
    timeoutSeconds: String(request.timeoutSeconds),
  };
  const response = await client.open({ what, path: request.path, query, signal });
  let idle = false;
  const onIdle = (): void => {
    idle = true;
    response.destroy();
  };
  try {
    yield { type: "opened" };
    const pieces = withIdleLimit(response as AsyncIterable<Buffer>, request.idleMs, onIdle);
    for await (const line of splitLines(pieces)) yield parseEvent(what, line);
  } catch (error) {
    if (idle) return;
    if (signal.aborted) throw signal.reason;
    throw explainConnectionFailure(what, client.description, error);
  } finally {
    discard(response);
  }
}

/** Ends the connection: an answer that is not read to its end cannot be used again. */
function discard(response: IncomingMessage): void {
  response.on("error", () => undefined);
  response.destroy();
}

/** @throws {KubeApiError} for an ERROR event, and for a line that is none */
function parseEvent(what: string, line: string): WatchedEvent {
  let event: { type?: unknown; object?: { metadata?: { resourceVersion?: unknown } | null } | null } | null;
  try {
    event = JSON.parse(line) as typeof event;
  } catch (error) {
    throw new KubeApiError(`${what}: the server sent a line that is not JSON`, {
      retryable: true,
      cause: error,
    });
  }
  const object = event?.object;
  if (event?.type === "ERROR") throw explainErrorEvent(what, object);
  const resourceVersion = object?.metadata?.resourceVersion;
  if (typeof resourceVersion !== "string" || resourceVersion === "")
    throw new KubeApiError(`${what}: the server sent an event without a resourceVersion`, {
      retryable: true,
    });
  switch (event?.type) {
    case "ADDED":
    case "MODIFIED":
      return { type: "put", object, resourceVersion };
    case "DELETED":
      return { type: "delete", object, resourceVersion };
    default:
      // Bookmarks, and types of a future version: they too say how far the server is.
      return { type: "bookmark", resourceVersion };
  }
}
