// What a policy source knows: turns what a store says into events, says nothing twice, and remembers what cannot be used.
import type { Logger } from "../net/logger.ts";
import { SharedValues } from "./shared-values.ts";
import type { Pod } from "./snapshot.ts";
import { POLICY_KINDS } from "./source.ts";
import type { PolicyEvent, PolicyKind, PolicyObjects, SkippedObject } from "./source.ts";
import type { FeedEntry } from "./source-objects.ts";

/** More than these say nothing that the first ones do not. */
const MAX_SKIPPED = 200;

type AnyObject = PolicyObjects[PolicyKind];

export interface FeedModules {
  readonly onEvent: (event: PolicyEvent) => void;
  readonly log: Logger;
  /** Every entry comes from `share`. */
  readonly sharesEarly?: boolean;
}

export class ObjectFeed {
  readonly #onEvent: (event: PolicyEvent) => void;
  readonly #log: Logger;
  readonly #sharesEarly: boolean;
  readonly #shared = new SharedValues();
  readonly #known: Record<PolicyKind, Map<string, AnyObject>> = {
    namespaces: new Map(),
    nodes: new Map(),
    pods: new Map(),
    policies: new Map(),
  };
  readonly #skipped: Readonly<Record<PolicyKind, Map<string, string>>> = {
    namespaces: new Map(),
    nodes: new Map(),
    pods: new Map(),
    policies: new Map(),
  };

  /** Of policies only. */
  readonly #versions = new Map<string, string>();

  constructor({ onEvent, log, sharesEarly = false }: FeedModules) {
    this.#onEvent = onEvent;
    this.#log = log;
    this.#sharesEarly = sharesEarly;
  }

  /**
   * The entry with one copy of what thousands of pods have in common. Who reads a long list calls it for each as it comes,
   * so that the copies are garbage before the next one is read, and do not grow old with the list.
   */
  share<Kind extends PolicyKind>(kind: Kind, entry: FeedEntry<Kind>): FeedEntry<Kind> {
    if (kind !== "pods" || entry.object === undefined) return entry;
    return { ...entry, object: this.#share(entry.object as Pod) as PolicyObjects[Kind] };
  }

  /** All there is of a kind, and of what is known the keys in `keep`, if they are not among it. */
  snapshot<Kind extends PolicyKind>(
    kind: Kind,
    entries: Iterable<FeedEntry<Kind>>,
    keep: ReadonlySet<string> = new Set(),
  ): void {
    const before = this.#known[kind];
    const now = new Map<string, AnyObject>();
    const listed = new Set<string>();
    for (const entry of entries) {
      listed.add(entry.key);
      this.#judge(kind, entry);
      const object = this.#merge(kind, before.get(entry.key), entry);
      if (object !== undefined) now.set(entry.key, object);
    }
    for (const [key, object] of before) if (keep.has(key) && !listed.has(key)) now.set(key, object);
    if (kind === "policies")
      for (const key of this.#versions.keys()) if (!listed.has(key)) this.#versions.delete(key);
    for (const key of this.#skipped[kind].keys()) if (!listed.has(key)) this.#skipped[kind].delete(key);
    this.#known[kind] = now;
    this.#tell({ type: "snapshot", kind, objects: [...now.values()] });
  }

  put<Kind extends PolicyKind>(kind: Kind, entry: FeedEntry<Kind>): void {
    this.#judge(kind, entry);
    const before = this.#known[kind].get(entry.key);
    const now = this.#merge(kind, before, entry);
    if (now === undefined) {
      if (this.#known[kind].delete(entry.key)) this.#tell({ type: "removed", kind, key: entry.key });
      return;
    }
    this.#known[kind].set(entry.key, now);
    if (now !== before) this.#tell({ type: "put", kind, object: now });
  }

  remove(kind: PolicyKind, key: string): void {
    this.#skipped[kind].delete(key);
    if (kind === "policies") this.#versions.delete(key);
    if (this.#known[kind].delete(key)) this.#tell({ type: "removed", kind, key });
  }

  /** The store's version of a policy, if it was told. */
  versionOf(policyKey: string): string | undefined {
    return this.#versions.get(policyKey);
  }

  keys(kind: PolicyKind): Iterable<string> {
    return this.#known[kind].keys();
  }

  skipped(): readonly SkippedObject[] {
    return POLICY_KINDS.flatMap((kind) =>
      [...this.#skipped[kind]].map(([key, reason]) => ({ kind, key, reason })),
    ).slice(0, MAX_SKIPPED);
  }

  /** Undefined: it is gone, or nothing of it can be used. */
  #merge(
    kind: PolicyKind,
    before: AnyObject | undefined,
    entry: FeedEntry<PolicyKind>,
  ): AnyObject | undefined {
    if (kind === "policies" && entry.version !== undefined) this.#versions.set(entry.key, entry.version);
    // A namespace without its labels would match what it should not; the last ones that could be read stay.
    if (entry.object === undefined) return kind === "namespaces" ? before : undefined;
    const isOwnCopy = kind === "pods" && !this.#sharesEarly;
    const shared = isOwnCopy ? this.#share(entry.object as Pod) : entry.object;
    return before !== undefined && isEqual(before, shared) ? before : shared;
  }

  #share(pod: Pod): Pod {
    return {
      ...pod,
      namespace: this.#shared.text(pod.namespace),
      nodeName: this.#shared.text(pod.nodeName),
      labels: this.#shared.labels(pod.labels),
      ports: this.#shared.ports(pod.ports),
    };
  }

  #judge(kind: PolicyKind, { key, reason, object }: FeedEntry<PolicyKind>): void {
    const skipped = this.#skipped[kind];
    if (reason === undefined) {
      skipped.delete(key);
      return;
    }
    if (skipped.get(key) === reason || (!skipped.has(key) && skipped.size >= MAX_SKIPPED)) return;
    skipped.set(key, reason);
    const left =
      object === undefined ? "nothing of it is used" : "the rest of it is used; what is wrong allows nothing";
    this.#log.warn(
      { kind, key, reason, cure: `correct ${kind} ${key}` },
      `${kind} ${key} has faults: ${left}`,
    );
  }

  /** Kind and object belong together: both come from one entry. */
  #tell(event: {
    readonly type: PolicyEvent["type"];
    readonly kind: PolicyKind;
    readonly key?: string;
    readonly object?: AnyObject;
    readonly objects?: readonly AnyObject[];
  }): void {
    this.#onEvent(event as PolicyEvent);
  }
}

/** Of plain data. */
function isEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  const [left, right] = [a, b] as readonly Readonly<Record<string, unknown>>[];
  return keys.every((key) => Object.hasOwn(b, key) && isEqual(left?.[key], right?.[key]));
}
