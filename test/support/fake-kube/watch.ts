// Watch requests: events as lines of JSON from a revision on, bookmarks, timeouts, and the ways a stream can break.
import type { ServerResponse } from "node:http";
import { expired } from "./api-error.ts";
import type { ApiError } from "./api-error.ts";
import { renderObject } from "./list.ts";
import type { KubeObject } from "./objects.ts";
import { apiVersionOf } from "./resources.ts";
import type { ResourceType } from "./resources.ts";
import type { ObjectFilter } from "./selectors.ts";
import type { Store, StoreEvent } from "./store.ts";

export interface WatchQuery {
  /** 0: first the objects that are there, as ADDED. */
  readonly fromRevision: number;
  readonly wantsBookmarks: boolean;
  /** Then the server ends the stream in good order. */
  readonly timeoutMs: number;
  readonly bookmarkIntervalMs: number;
}

/** One open watch. */
export interface WatchStream {
  readonly type: ResourceType;
  /** Breaks the connection: after a whole line, or in the middle of one. */
  cut(where: "between-lines" | "inside-line"): void;
  /** Holds back everything until it is resumed: the peer is there and says nothing. */
  stall(): void;
  resume(): void;
  /** Sends a bookmark now. */
  bookmark(): void;
  /** Ends in good order, as at its timeout. */
  end(): void;
}

/** The error of a watch that starts too long ago; undefined when it can be served. */
export function watchRefusal(store: Store, type: ResourceType, fromRevision: number): ApiError | undefined {
  const oldest = store.oldestWatchRevision(type.resource);
  if (fromRevision === 0 || fromRevision >= oldest) return undefined;
  return expired(`too old resource version: ${fromRevision} (${oldest})`);
}

/** The line by which a stream with status 200 tells an error. */
export function renderErrorEvent(error: ApiError): string {
  return `${JSON.stringify({ type: "ERROR", object: error.body })}\n`;
}

interface WatchModules {
  readonly store: Store;
  readonly filter: ObjectFilter;
  readonly response: ServerResponse;
  /** Told false, a bookmark that is due is not sent. */
  readonly mayBookmark: () => boolean;
  readonly onEnd: () => void;
}

/** Serves a watch that is not refused, until its timeout, its client's end, or `end`. */
export function serveWatch(type: ResourceType, query: WatchQuery, modules: WatchModules): WatchStream {
  const { store, filter, response } = modules;
  let heldBack: string[] | undefined;
  let seenRevision = query.fromRevision === 0 ? store.revision : query.fromRevision;

  const send = (line: string): void => {
    if (heldBack === undefined) response.write(line);
    else heldBack.push(line);
  };
  const sendEvent = (event: StoreEvent): void => {
    if (event.revision <= query.fromRevision) return;
    seenRevision = event.revision;
    const line = translateEvent(type, event, filter);
    if (line !== undefined) send(line);
  };
  const bookmark = (): void =>
    send(renderBookmark(type, Math.max(seenRevision, store.lastRevision(type.resource))));

  response.writeHead(200, { "Content-Type": "application/json" });
  response.flushHeaders();
  if (query.fromRevision === 0) {
    // In no order, as the watch cache gives them: here reversed, so that nobody relies on one.
    for (const [, object] of store.snapshot(type.resource)?.entries.toReversed() ?? []) {
      if (filter(object)) send(renderEvent("ADDED", type, object));
    }
  } else {
    for (const event of store.eventsSince(type.resource, query.fromRevision) ?? []) sendEvent(event);
  }
  const unsubscribe = store.subscribe(type.resource, sendEvent);
  const bookmarks = query.wantsBookmarks
    ? setInterval(() => modules.mayBookmark() && bookmark(), query.bookmarkIntervalMs)
    : undefined;
  const stop = (): void => {
    unsubscribe();
    clearInterval(bookmarks);
    clearTimeout(timeout);
    modules.onEnd();
  };
  const end = (): void => {
    // Nothing may be written after the end; what happens from here on belongs to the next watch.
    stop();
    response.end();
  };
  const timeout = setTimeout(end, query.timeoutMs);
  response.once("close", stop);
  return {
    type,
    cut: (where) => {
      stop();
      const half = `{"type":"MODIFIED","object":{"kind":"${type.kind}","metadata":{"na`;
      if (where === "inside-line") response.write(half, () => response.destroy());
      else response.write("", () => response.destroy());
    },
    stall: () => {
      heldBack ??= [];
    },
    resume: () => {
      const lines = heldBack ?? [];
      heldBack = undefined;
      for (const line of lines) response.write(line);
    },
    bookmark,
    end,
  };
}

/**
 * What a watcher with a selector sees of a change: an object that begins to match was added, one that no longer does
 * was deleted, with its last matching content but the revision of the event (apiserver cacher, `sendWatchCacheEvent`).
 */
function translateEvent(type: ResourceType, event: StoreEvent, filter: ObjectFilter): string | undefined {
  const isMatching = event.current !== undefined && filter(event.current);
  const wasMatching = event.previous !== undefined && filter(event.previous);
  if (isMatching && event.current !== undefined) {
    return renderEvent(wasMatching ? "MODIFIED" : "ADDED", type, event.current);
  }
  if (!wasMatching || event.previous === undefined) return undefined;
  const { metadata } = event.previous;
  const last = { ...event.previous, metadata: { ...metadata, resourceVersion: String(event.revision) } };
  return renderEvent("DELETED", type, last);
}

function renderEvent(
  event: "ADDED" | "MODIFIED" | "DELETED",
  type: ResourceType,
  object: KubeObject,
): string {
  return `{"type":"${event}","object":${renderObject(type, object)}}\n`;
}

function renderBookmark(type: ResourceType, revision: number): string {
  const metadata = { resourceVersion: String(revision), creationTimestamp: null };
  return `${JSON.stringify({ type: "BOOKMARK", object: { kind: type.kind, apiVersion: apiVersionOf(type), metadata } })}\n`;
}
