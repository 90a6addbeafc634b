// The fake's storage: one revision for all, objects by key, and per resource a bounded history of events.
import { isEqualJson } from "./objects.ts";
import type { KubeObject } from "./objects.ts";
import type { ResourceName } from "./resources.ts";

export interface StoreEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly revision: number;
  /** Absent when it was deleted. */
  readonly current?: KubeObject;
  /** Absent when it was added. */
  readonly previous?: KubeObject;
  readonly key: string;
}

export interface Snapshot {
  readonly revision: number;
  /** In key order. */
  readonly entries: readonly (readonly [key: string, object: KubeObject])[];
}

export type StoreListener = (event: StoreEvent) => void;

/** As etcd's after a fresh start of the real server: watching from 1 is already too old. */
const FIRST_REVISION = 100;

interface Table {
  readonly objects: Map<string, KubeObject>;
  readonly history: StoreEvent[];
  /** The last event that no longer is in `history`. */
  droppedRevision: number;
  readonly listeners: Set<StoreListener>;
}

export class Store {
  revision = FIRST_REVISION;
  readonly #tables = new Map<ResourceName, Table>();
  readonly #historyLimit: number;
  /** Consistent reads of this revision and before have expired: etcd's compaction. */
  #compactedRevision = 0;
  /** Watches can start here or later: where the real server's watch cache begins. */
  #watchFloor = FIRST_REVISION;

  constructor({ historyLimit = 10_000 }: { readonly historyLimit?: number } = {}) {
    this.#historyLimit = historyLimit;
  }

  get(resource: ResourceName, key: string): KubeObject | undefined {
    return this.#table(resource).objects.get(key);
  }

  /** Stores an object under the next revision; one that would not change is left alone, without an event. */
  put(resource: ResourceName, key: string, object: KubeObject): KubeObject {
    const table = this.#table(resource);
    const previous = table.objects.get(key);
    if (previous !== undefined) {
      const unchanged = withRevision(object, Number(previous.metadata.resourceVersion));
      if (isEqualJson(unchanged, previous)) return previous;
    }
    const current = withRevision(object, ++this.revision);
    table.objects.set(key, current);
    const added = previous === undefined;
    this.#record(table, {
      type: added ? "ADDED" : "MODIFIED",
      revision: this.revision,
      key,
      current,
      ...(added ? {} : { previous }),
    });
    return current;
  }

  remove(resource: ResourceName, key: string): KubeObject | undefined {
    const table = this.#table(resource);
    const previous = table.objects.get(key);
    if (previous === undefined) return undefined;
    table.objects.delete(key);
    this.revision += 1;
    this.#record(table, { type: "DELETED", revision: this.revision, key, previous });
    return previous;
  }

  /** How things are, or were at `revision`; undefined when that is too long ago. */
  snapshot(resource: ResourceName, revision = this.revision): Snapshot | undefined {
    const table = this.#table(resource);
    const objects = new Map(table.objects);
    if (revision < this.revision) {
      if (revision < this.#compactedRevision || revision < table.droppedRevision) return undefined;
      for (const event of table.history.toReversed()) {
        if (event.revision <= revision) break;
        if (event.previous === undefined) objects.delete(event.key);
        else objects.set(event.key, event.previous);
      }
    }
    return { revision, entries: [...objects].sort(([a], [b]) => (a < b ? -1 : 1)) };
  }

  /** The oldest revision from which a watch can resume. */
  oldestWatchRevision(resource: ResourceName): number {
    return Math.max(this.#watchFloor, this.#table(resource).droppedRevision);
  }

  /** What happened after `revision`; undefined when that is too long ago. */
  eventsSince(resource: ResourceName, revision: number): readonly StoreEvent[] | undefined {
    if (revision < this.oldestWatchRevision(resource)) return undefined;
    return this.#table(resource).history.filter((event) => event.revision > revision);
  }

  /** Calls back, synchronously and in order, at each event from now on. Returns the end of it. */
  subscribe(resource: ResourceName, listener: StoreListener): () => void {
    const { listeners } = this.#table(resource);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** The revision of the last event of a resource: what a bookmark says. */
  lastRevision(resource: ResourceName): number {
    return this.#table(resource).history.at(-1)?.revision ?? this.oldestWatchRevision(resource);
  }

  /** Forgets what happened, for watches: as a restarted server with an empty watch cache. */
  forgetWatchHistory(): void {
    this.#watchFloor = this.revision;
  }

  /** Forgets how things were, for pages of a list: as a compacted etcd. */
  compact(): void {
    this.#compactedRevision = this.revision;
  }

  #record(table: Table, event: StoreEvent): void {
    table.history.push(event);
    if (table.history.length > this.#historyLimit) {
      // Half of it at once, so that a full history does not copy itself at each event.
      const dropped = table.history.splice(0, Math.ceil(this.#historyLimit / 2));
      table.droppedRevision = dropped.at(-1)?.revision ?? 0;
    }
    for (const listener of table.listeners) listener(event);
  }

  #table(resource: ResourceName): Table {
    let table = this.#tables.get(resource);
    if (table === undefined) {
      table = { objects: new Map(), history: [], droppedRevision: 0, listeners: new Set() };
      this.#tables.set(resource, table);
    }
    return table;
  }
}

function withRevision(object: KubeObject, revision: number): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}
