// Keeps somebody told of all keys below a prefix: a list, then every change, over any number of outages, losing nothing.
import { setTimeout as delay } from "node:timers/promises";
import { CompactedError, EtcdCallError } from "./client.ts";
import { endingAtAbort } from "./ending-at-abort.ts";
import type { EtcdClient, KeyList, KeyValue, Revision, WatchEvent } from "./client.ts";
import { describeOtherHistory, describeOtherStore, foldHistory, historyOfList } from "./history.ts";
import type { KnownHistory } from "./history.ts";
import { NO_TALLY } from "../net/source-tally.ts";
import type { SourceTally } from "../net/source-tally.ts";

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 5_000;
/** A daemon notices within some seconds that etcd is back, and then puts its keys back. Up to half is taken off. */
const REWOUND_GRACE_MS = 20_000;
/**
 * All keys are listed anew this often, should an event ever be lost; for each thousand keys once more as seldom, since each of
 * thousands of daemons does it. A quarter more or less at random.
 */
const RELIST_INTERVAL_MS = 10 * 60_000;
const KEYS_PER_RELIST_INTERVAL = 1_000;

export interface MirrorOptions {
  readonly client: Pick<EtcdClient, "list" | "watch" | "markAt">;
  readonly prefix: string;
  /** For metrics, and with "the" for messages: "leases". */
  readonly what: string;
  readonly tally?: SourceTally | undefined;
  /** What is kept while an etcd that lost its data is filled again, for the message: "all peers for a while, until ...". */
  readonly keeping: string;
  /** Default REWOUND_GRACE_MS. */
  readonly rewoundGraceMs?: number | undefined;
  /** Calls back once, after so many milliseconds; returns what takes that back. Default: setTimeout. */
  readonly after?: ((ms: number, callback: () => void) => () => void) | undefined;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** Called one after the other. */
export interface MirrorHandlers {
  /** All there is; what is not in it is gone. `rewound`: etcd had lost data since, so perhaps it is not gone by anybody's will. */
  onSnapshot(kvs: readonly KeyValue[], snapshot: { readonly rewound: boolean }): void;
  onEvent(event: WatchEvent): void;
  onConnected(): void;
  /** `away`: etcd does not answer. */
  onProblem(problem: string, away: boolean): void;
  /** History was compacted away; all keys are listed anew. */
  onCompacted?(reason: string): void;
}

interface Progress {
  /** The highest revision that we have been told of. */
  seen: Revision;
  known: KnownHistory | undefined;
  /** Why what we know of the store cannot be trusted. */
  otherHistory: string | undefined;
}

/** Until aborted. Never throws for a store that is away or refuses. */
export async function mirrorPrefix(
  options: MirrorOptions,
  handlers: MirrorHandlers,
  signal: AbortSignal,
): Promise<void> {
  await endingAtAbort(mirror(options, handlers, signal), signal, () => undefined);
}

async function mirror(options: MirrorOptions, handlers: MirrorHandlers, signal: AbortSignal): Promise<void> {
  let retryMs = RETRY_MIN_MS;
  const { what, tally = NO_TALLY } = options;
  const progress: Progress = { seen: 0n, known: undefined, otherHistory: undefined };
  while (!signal.aborted) {
    try {
      await deliverSnapshot(options, progress, handlers, signal);
      retryMs = RETRY_MIN_MS;
      await followEvents(options, progress, handlers, signal);
      if (signal.aborted) return;
      if (progress.otherHistory === undefined) tally.relist(what, "periodic");
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof CompactedError) {
        tally.relist(what, "expired");
        handlers.onCompacted?.(error.message);
        continue;
      }
      if (!(error instanceof EtcdCallError)) throw error;
      if (progress.seen > 0n) tally.relist(what, "error");
      handlers.onProblem(error.message, error.retryable);
      await pause(options, retryMs, signal).catch(() => undefined);
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
    }
  }
}

async function deliverSnapshot(
  options: MirrorOptions,
  progress: Progress,
  handlers: MirrorHandlers,
  signal: AbortSignal,
): Promise<void> {
  const { kvs, revision, store, rewound } = await listKeys(options, progress, handlers, signal);
  progress.seen = revision;
  progress.known = historyOfList(kvs, store);
  progress.otherHistory = undefined;
  handlers.onConnected();
  handlers.onSnapshot(kvs, { rewound });
}

/**
 * An etcd that is behind what it has told us has lost its data or was restored from a backup. Other daemons are about to put
 * their keys back; to take its list at its word would cut off their pods until then.
 */
async function listKeys(
  options: MirrorOptions,
  { seen, known, otherHistory }: Progress,
  handlers: MirrorHandlers,
  signal: AbortSignal,
): Promise<KeyList & { readonly rewound: boolean }> {
  const { client, prefix, what, tally = NO_TALLY, keeping, rewoundGraceMs = REWOUND_GRACE_MS } = options;
  const list = await client.list(prefix);
  const other = otherHistory ?? describeOtherStore(known?.store, list.store);
  if (list.revision >= seen && other === undefined) return { ...list, rewound: false };
  const why = other ?? `it is at revision ${list.revision} and was at ${seen}`;
  tally.relist(what, "other-history");
  handlers.onProblem(`etcd has lost data (${why}); keeping ${keeping}`, false);
  await pause(options, rewoundGraceMs, signal);
  return { ...(await client.list(prefix)), rewound: true };
}

/** Until it is time to list anew, or the store turns out to have another history. @throws {CompactedError | EtcdCallError} */
async function followEvents(
  options: MirrorOptions,
  progress: Progress,
  handlers: MirrorHandlers,
  signal: AbortSignal,
): Promise<void> {
  const { client, prefix, what, tally = NO_TALLY, after = afterTimeout } = options;
  const enough = new AbortController();
  const cancelRelist = after(relistDelayMs(options, progress.known?.count ?? 0), () => enough.abort());
  let wasCut = false;
  const onState = ({ connected, reason }: { connected: boolean; reason?: string }): void => {
    if (!connected) {
      wasCut = true;
      tally.cut(what);
      handlers.onProblem(`the watch of the ${what} is interrupted: ${reason ?? "no reason given"}`, true);
      return;
    }
    handlers.onConnected();
    if (wasCut) void checkHistory(client, prefix, progress).then((isOther) => isOther && enough.abort());
    wasCut = false;
  };
  const ending = AbortSignal.any([signal, enough.signal]);
  try {
    for await (const batch of client.watch(prefix, progress.seen + 1n, { signal: ending, onState })) {
      for (const event of batch) {
        progress.seen = event.type === "put" ? event.kv.modRevision : event.modRevision;
        progress.known = progress.known && foldHistory(progress.known, event);
        handlers.onEvent(event);
      }
    }
  } finally {
    cancelRelist();
  }
}

/**
 * Asks a server that we have lost for a while what it had at the revision that we know. If it has been filled again beyond that
 * meanwhile, nothing else would show: the watch just goes on in the other history. Never throws.
 * @returns true if it is another history
 */
async function checkHistory(
  client: MirrorOptions["client"],
  prefix: string,
  progress: Progress,
): Promise<boolean> {
  const { seen, known } = progress;
  if (known === undefined) return false;
  try {
    const found = await client.markAt(prefix, seen);
    progress.otherHistory ??= describeOtherHistory(known, found);
    return progress.otherHistory !== undefined;
  } catch {
    // Compacted, gone again, or behind us: the watch finds out by itself.
    return false;
  }
}

function relistDelayMs({ random }: Pick<MirrorOptions, "random">, count: number): number {
  return RELIST_INTERVAL_MS * Math.max(1, count / KEYS_PER_RELIST_INTERVAL) * (0.75 + random() / 2);
}

function afterTimeout(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}

/** Waits, with up to half of it taken off at random so that daemons do not march in step. @throws when aborted */
async function pause(
  { random }: Pick<MirrorOptions, "random">,
  ms: number,
  signal: AbortSignal,
): Promise<void> {
  await delay(ms * (1 - random() / 2), undefined, { signal });
}
