// Where a cut watch goes on: folds the server's responses into events and the next revision; pure.
import type { IWatchResponse } from "etcd3";
import type { Revision, WatchEvent } from "./client.ts";
import { decodeEvent } from "./codec.ts";

export interface ResumePoint {
  /** First revision that has not been delivered. */
  readonly next: Revision;
  /** Events of a response that came in fragments and is not complete yet; lost with the stream, and sent again then. */
  readonly fragments: readonly WatchEvent[];
}

export type WatchStep =
  | { readonly type: "events"; readonly events: readonly WatchEvent[] }
  | { readonly type: "created"; readonly storeRevision: Revision }
  | { readonly type: "compacted"; readonly compactRevision: Revision }
  | { readonly type: "canceled"; readonly reason: string }
  | { readonly type: "nothing" };

export function resumeFrom(next: Revision): ResumePoint {
  return { next, fragments: [] };
}

/**
 * One response. The resume point moves past delivered events only, since a response's header tells the store's revision
 * and not how far this watch is (etcd3 takes it for that, and loses what lies between). The header counts only in a
 * progress notification, which the server sends when the watch has seen everything.
 */
export function stepWatch(
  point: ResumePoint,
  response: IWatchResponse,
): { readonly point: ResumePoint; readonly step: WatchStep } {
  const stop = { next: point.next, fragments: [] };
  const compactRevision = BigInt(response.compact_revision || 0);
  if (compactRevision > 0n) return { point: stop, step: { type: "compacted", compactRevision } };
  if (response.canceled) return { point: stop, step: { type: "canceled", reason: response.cancel_reason } };
  const storeRevision = BigInt(response.header?.revision ?? 0);
  if (response.created) return { point, step: { type: "created", storeRevision } };
  const events = [...point.fragments, ...response.events.map(decodeEvent)];
  // All events of a revision are in one response, of which a fragment is a piece.
  if (response.fragment) return { point: { next: point.next, fragments: events }, step: { type: "nothing" } };
  if (events.length === 0) {
    const next = storeRevision >= point.next ? storeRevision + 1n : point.next;
    return { point: resumeFrom(next), step: { type: "nothing" } };
  }
  const fresh = events.filter((event) => revisionOf(event) >= point.next);
  const next = fresh.reduce(
    (max, event) => (revisionOf(event) >= max ? revisionOf(event) + 1n : max),
    point.next,
  );
  return {
    point: resumeFrom(next),
    step: fresh.length > 0 ? { type: "events", events: fresh } : { type: "nothing" },
  };
}

function revisionOf(event: WatchEvent): Revision {
  return event.type === "put" ? event.kv.modRevision : event.modRevision;
}
