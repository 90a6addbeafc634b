// From a pod to the policyPeers that match it: first by its namespace, then by its labels.
import { selects } from "../selector.ts";
import { formatNamespaces } from "../sets.ts";
import type { NamespaceSpec, PeerSpec } from "../sets.ts";
import type { Labels } from "../snapshot.ts";
import { createSelectorIndex } from "./selector-index.ts";
import type { SelectorIndex } from "./selector-index.ts";

export type PodsPeer = PeerSpec & { readonly kind: "pods" };

/** Peers that look into the same namespaces. */
export interface PeerScope<T> {
  readonly namespaces: NamespaceSpec;
  readonly pods: SelectorIndex<T>;
}

export interface PeerIndex<T> {
  readonly add: (peer: PodsPeer, item: T) => void;
  readonly remove: (peer: PodsPeer, item: T) => void;
  /** The scopes that a namespace is in. `labels` are absent while the namespace is not known: no selector matches it. */
  readonly scopesOf: (namespace: string, labels: Labels | undefined) => readonly PeerScope<T>[];
  /** Tells that the labels of the namespace are others from now on. */
  readonly forget: (namespace: string) => void;
}

export function createPeerIndex<T>(): PeerIndex<T> {
  const scopes = new Map<string, PeerScope<T>>();
  const found = new Map<string, readonly PeerScope<T>[]>();
  const find = (namespace: string, labels: Labels | undefined): readonly PeerScope<T>[] =>
    [...scopes.values()].filter(({ namespaces: spec }) =>
      "name" in spec ? spec.name === namespace : labels !== undefined && selects(spec.selector, labels),
    );
  return {
    add: ({ namespaces, pods }, item) => {
      const text = formatNamespaces(namespaces);
      let scope = scopes.get(text);
      if (scope === undefined) {
        scope = { namespaces, pods: createSelectorIndex() };
        scopes.set(text, scope);
        found.clear();
      }
      scope.pods.add(pods, item);
    },
    remove: ({ namespaces, pods }, item) => {
      const text = formatNamespaces(namespaces);
      const scope = scopes.get(text);
      scope?.pods.remove(pods, item);
      if (scope?.pods.isEmpty() !== true) return;
      scopes.delete(text);
      found.clear();
    },
    scopesOf: (namespace, labels) => {
      const known = found.get(namespace) ?? find(namespace, labels);
      found.set(namespace, known);
      return known;
    },
    forget: (namespace) => void found.delete(namespace),
  };
}
