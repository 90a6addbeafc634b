// The cluster as the policy engine has been told of it, event by event, and what follows from it for this node.
import { compilePolicy } from "./compile.ts";
import type { CompiledPolicy } from "./compile.ts";
import type { PolicySettings } from "./settings.ts";
import { objectKey } from "./snapshot.ts";
import type { PolicySnapshot } from "./snapshot.ts";
import { POLICY_KINDS } from "./source.ts";
import type { PolicyEvent, PolicyKind, PolicyObjects } from "./source.ts";

export interface PolicyGraphOptions {
  /** The node whose rules are compiled. */
  readonly nodeName: string;
  readonly settings: PolicySettings;
}

export interface PolicyGraph {
  /** Only memory changes. Repeated, reordered and needless events are normal. */
  apply(event: PolicyEvent): void;
  /** True once a snapshot of each kind has been seen: before, what is not known may only not be known yet. */
  synced(): boolean;
  /**
   * Equals `compilePolicy(snapshot(), settings)`. What is as it was is the same object as in the last answer: the whole
   * answer, the array of firewall rows, each row, each set whose members did not change.
   */
  compiled(): CompiledPolicy;
  /** All that is known, in no particular order. */
  snapshot(): PolicySnapshot;
}

type Books = { readonly [Kind in PolicyKind]: Map<string, PolicyObjects[Kind]> };

export function createPolicyGraph({ nodeName, settings }: PolicyGraphOptions): PolicyGraph {
  const books: Books = { pods: new Map(), namespaces: new Map(), nodes: new Map(), policies: new Map() };
  const seen = new Set<PolicyKind>();
  let last: CompiledPolicy | undefined;
  const snapshot = (): PolicySnapshot => ({
    nodeName,
    nodes: [...books.nodes.values()],
    namespaces: [...books.namespaces.values()],
    pods: [...books.pods.values()],
    policies: [...books.policies.values()],
  });
  return {
    apply: (event) => {
      applyEvent(books, event);
      if (event.type === "snapshot") seen.add(event.kind);
      last = undefined;
    },
    synced: () => POLICY_KINDS.every((kind) => seen.has(kind)),
    compiled: () => (last ??= compilePolicy(snapshot(), settings)),
    snapshot,
  };
}

function applyEvent(books: Books, event: PolicyEvent): void {
  const book = books[event.kind] as Map<string, PolicyObjects[PolicyKind]>;
  switch (event.type) {
    case "put":
      book.set(keyOf(event.object), event.object);
      return;
    case "removed":
      book.delete(event.key);
      return;
    case "snapshot":
      book.clear();
      for (const object of event.objects) book.set(keyOf(object), object);
  }
}

function keyOf(object: PolicyObjects[PolicyKind]): string {
  return "namespace" in object ? objectKey(object) : object.name;
}
