// Keeps somebody told of all keys below a prefix: a list, then every change, over any number of outages, losing nothing.
import { setTimeout as delay } from "node:timers/promises";
import { CompactedError, EtcdCallError } from "./client.ts";
import { endingAtAbort } from "./ending-at-abort.ts";
import type { EtcdClient, KeyValue, Revision, WatchEvent } from "./client.ts";

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 5_000;
/** A daemon notices within some seconds that etcd is back, and then puts its keys back. Up to half is taken off. */
const REWOUND_GRACE_MS = 20_000;

export interface MirrorOptions {
  readonly client: Pick<EtcdClient, "list" | "watch">;
  readonly prefix: string;
  /** For messages: "the leases". */
  readonly what: string;
  /** What is kept while an etcd that lost its data is filled again, for the message: "all peers for a while, until ...". */
  readonly keeping: string;
  /** Default REWOUND_GRACE_MS. */
  readonly rewoundGraceMs?: number | undefined;
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

/** The highest revision that we have been told of. */
interface Progress {
  seen: Revision;
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
  const progress: Progress = { seen: 0n };
  while (!signal.aborted) {
    try {
      await deliverSnapshot(options, progress, handlers, signal);
      retryMs = RETRY_MIN_MS;
      await followEvents(options, progress, handlers, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof CompactedError) {
        handlers.onCompacted?.(error.message);
        continue;
      }
      if (!(error instanceof EtcdCallError)) throw error;
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
  const { kvs, revision, rewound } = await listKeys(options, progress.seen, handlers, signal);
  progress.seen = revision;
  handlers.onConnected();
  handlers.onSnapshot(kvs, { rewound });
}

/**
 * An etcd that is behind what it has told us has lost its data or was restored from a backup. Other daemons are about to put
 * their keys back; to take its list at its word would cut off their pods until then.
 */
async function listKeys(
  options: MirrorOptions,
  seen: Revision,
  handlers: MirrorHandlers,
  signal: AbortSignal,
): Promise<{ readonly kvs: readonly KeyValue[]; readonly revision: Revision; readonly rewound: boolean }> {
  const { client, prefix, keeping, rewoundGraceMs = REWOUND_GRACE_MS } = options;
  const list = await client.list(prefix);
  if (list.revision >= seen) return { ...list, rewound: false };
  const problem = `etcd has lost data (it is at revision ${list.revision} and was at ${seen}); keeping ${keeping}`;
  handlers.onProblem(problem, false);
  await pause(options, rewoundGraceMs, signal);
  return { ...(await client.list(prefix)), rewound: true };
}

async function followEvents(
  { client, prefix, what }: MirrorOptions,
  progress: Progress,
  handlers: MirrorHandlers,
  signal: AbortSignal,
): Promise<void> {
  const onState = ({ connected, reason }: { connected: boolean; reason?: string }): void => {
    if (connected) handlers.onConnected();
    else handlers.onProblem(`the watch of ${what} is interrupted: ${reason ?? "no reason given"}`, true);
  };
  for await (const batch of client.watch(prefix, progress.seen + 1n, { signal, onState })) {
    for (const event of batch) {
      progress.seen = event.type === "put" ? event.kv.modRevision : event.modRevision;
      handlers.onEvent(event);
    }
  }
}

/** Waits, with up to half of it taken off at random so that daemons do not march in step. @throws when aborted */
async function pause(
  { random }: Pick<MirrorOptions, "random">,
  ms: number,
  signal: AbortSignal,
): Promise<void> {
  await delay(ms * (1 - random() / 2), undefined, { signal });
}
