// What lies below `<prefix>/policy/`, folded into namespaces, pods, nodes and policies for the feed. No effects.
import type { KeyValue } from "../etcd/client.ts";
import { mergePod, readStoredObject } from "./etcd-codec.ts";
import { parsePolicyKey } from "./etcd-keys.ts";
import type { PolicyKey } from "./etcd-keys.ts";
import type { ObjectFeed } from "./object-feed.ts";
import { NAMESPACE_NAME_LABEL, objectKey } from "./snapshot.ts";
import type { PolicyKind } from "./source.ts";
import { readEntry } from "./source-objects.ts";
import type { FeedEntry } from "./source-objects.ts";

/** A pod's value as read: one that cannot be used still takes its key. */
type ReadPod = FeedEntry<"pods">;

interface PodParts {
  declared?: ReadPod;
  /** Node -> what it says. */
  readonly registered: Map<string, ReadPod>;
}

export class EtcdPolicyState {
  readonly #prefix: string;
  readonly #feed: ObjectFeed;
  #namespaces = new Map<string, FeedEntry<"namespaces">>();
  #pods = new Map<string, PodParts>();
  /** Namespace -> keys of its policies and pods, by which it exists without an object of its own. */
  #implied = new Map<string, Set<string>>();
  /** Keys of what etcd has lost, and of which nobody has told anything since. */
  #lost: Readonly<Record<"namespaces" | "policies", Set<string>>> = {
    namespaces: new Set(),
    policies: new Set(),
  };

  constructor(prefix: string, feed: ObjectFeed) {
    this.#prefix = prefix;
    this.#feed = feed;
  }

  /** Policies that are still in force though etcd has lost them: people must apply them again. */
  get lostPolicies(): ReadonlySet<string> {
    return this.#lost.policies;
  }

  /**
   * All there is. `rewound`: etcd has lost data. Daemons put back their pods and nodes; what people have applied nobody puts
   * back, and to forget it would open what it closes: it stays, until it is applied again or this daemon ends.
   */
  replace(kvs: readonly KeyValue[], { rewound }: { readonly rewound: boolean }): void {
    this.#namespaces = new Map();
    this.#pods = new Map();
    this.#implied = new Map();
    const nodes: FeedEntry<"nodes">[] = [];
    const policies: FeedEntry<"policies">[] = [];
    for (const { key: text, value } of kvs) {
      const key = parsePolicyKey(this.#prefix, text);
      if (key === undefined) continue;
      if (key.kind === "nodes") nodes.push(readValue("nodes", key.name, value));
      else if (key.kind === "policies")
        policies.push(readValue("policies", objectKey(key), value, key.namespace));
      else if (key.kind === "namespaces")
        this.#namespaces.set(key.name, readValue("namespaces", key.name, value));
      else this.#setPod(key, readValue("pods", objectKey(key), value, key.namespace));
      if (key.kind !== "namespaces" && key.kind !== "nodes") this.#imply(key.namespace, text);
    }
    const isLost = (kind: "namespaces" | "policies", listed: ReadonlySet<string>): Set<string> =>
      new Set([...(rewound ? this.#feed.keys(kind) : this.#lost[kind])].filter((key) => !listed.has(key)));
    this.#lost = {
      namespaces: isLost("namespaces", new Set(this.#namespaces.keys())),
      policies: isLost("policies", new Set(policies.map(({ key }) => key))),
    };
    const implied = [...this.#implied.keys()].filter((name) => !this.#hasLabels(name)).map(impliedNamespace);
    this.#feed.snapshot("namespaces", [...this.#namespaces.values(), ...implied], this.#lost.namespaces);
    this.#feed.snapshot("nodes", nodes);
    this.#feed.snapshot(
      "pods",
      [...this.#pods].map(([key, parts]) => mergeParts(key, parts)),
    );
    this.#feed.snapshot("policies", policies, this.#lost.policies);
  }

  put(text: string, value: string): void {
    const key = parsePolicyKey(this.#prefix, text);
    switch (key?.kind) {
      case undefined:
        return;
      case "namespaces": {
        const entry = readValue("namespaces", key.name, value);
        this.#lost.namespaces.delete(key.name);
        this.#namespaces.set(key.name, entry);
        this.#feed.put("namespaces", entry);
        return;
      }
      case "nodes":
        this.#feed.put("nodes", readValue("nodes", key.name, value));
        return;
      case "policies":
        this.#lost.policies.delete(objectKey(key));
        this.#enter(key.namespace, text);
        this.#feed.put("policies", readValue("policies", objectKey(key), value, key.namespace));
        return;
      case "pods":
      case "registered":
        this.#enter(key.namespace, text);
        this.#setPod(key, readValue("pods", objectKey(key), value, key.namespace));
        this.#tellPod(objectKey(key));
    }
  }

  remove(text: string): void {
    const key = parsePolicyKey(this.#prefix, text);
    switch (key?.kind) {
      case undefined:
        return;
      case "namespaces":
        this.#namespaces.delete(key.name);
        if (this.#implied.has(key.name)) this.#feed.put("namespaces", impliedNamespace(key.name));
        else this.#feed.remove("namespaces", key.name);
        return;
      case "nodes":
        this.#feed.remove("nodes", key.name);
        return;
      case "policies":
        this.#feed.remove("policies", objectKey(key));
        this.#leave(key.namespace, text);
        return;
      case "pods":
      case "registered":
        this.#setPod(key, undefined);
        this.#tellPod(objectKey(key));
        this.#leave(key.namespace, text);
    }
  }

  #setPod(key: PolicyKey & { readonly kind: "pods" | "registered" }, entry: ReadPod | undefined): void {
    const id = objectKey(key);
    const parts: PodParts = this.#pods.get(id) ?? { registered: new Map() };
    if (key.kind === "pods") {
      if (entry === undefined) delete parts.declared;
      else parts.declared = entry;
    } else if (entry === undefined) parts.registered.delete(key.node);
    else parts.registered.set(key.node, entry);
    if (parts.declared === undefined && parts.registered.size === 0) this.#pods.delete(id);
    else this.#pods.set(id, parts);
  }

  #tellPod(id: string): void {
    const parts = this.#pods.get(id);
    if (parts === undefined) this.#feed.remove("pods", id);
    else this.#feed.put("pods", mergeParts(id, parts));
  }

  /** True if there is more to know of the namespace than its name. */
  #hasLabels(namespace: string): boolean {
    return this.#namespaces.has(namespace) || this.#lost.namespaces.has(namespace);
  }

  /** True if the namespace was not implied before. */
  #imply(namespace: string, key: string): boolean {
    const keys = this.#implied.get(namespace);
    if (keys === undefined) this.#implied.set(namespace, new Set([key]));
    else keys.add(key);
    return keys === undefined;
  }

  #enter(namespace: string, key: string): void {
    if (this.#imply(namespace, key) && !this.#hasLabels(namespace))
      this.#feed.put("namespaces", impliedNamespace(namespace));
  }

  #leave(namespace: string, key: string): void {
    const keys = this.#implied.get(namespace);
    keys?.delete(key);
    if (keys?.size !== 0) return;
    this.#implied.delete(namespace);
    if (!this.#hasLabels(namespace)) this.#feed.remove("namespaces", namespace);
  }
}

function readValue<Kind extends PolicyKind>(
  kind: Kind,
  key: string,
  value: string,
  namespace?: string,
): FeedEntry<Kind> {
  const name = namespace === undefined ? key : key.slice(namespace.length + 1);
  const { input, reason, isUnreadable } = readStoredObject(value, {
    name,
    ...(namespace !== undefined && { namespace }),
  });
  const entry = readEntry(kind, input, key);
  if (reason === undefined) return entry;
  // A namespace or pod that is no object at all is not known; a policy is there, and closed.
  if (isUnreadable && kind !== "policies") return { key, reason };
  return { ...entry, reason };
}

function mergeParts(key: string, { declared, registered }: PodParts): ReadPod {
  // In one order, so that all nodes choose the same where nothing else decides.
  const told = [...registered].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
  const object = mergePod(
    declared?.object,
    told.flatMap((entry) => entry.object ?? []),
  );
  const reasons = [declared, ...told].flatMap((entry) => entry?.reason ?? []);
  return { key, ...(object && { object }), ...(reasons.length > 0 && { reason: reasons.join("; ") }) };
}

function impliedNamespace(name: string): FeedEntry<"namespaces"> {
  return { key: name, object: { name, labels: { [NAMESPACE_NAME_LABEL]: name } } };
}
