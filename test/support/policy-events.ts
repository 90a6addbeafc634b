// Random events of policy sources, about so few objects that they meet, and the plainest memory that could take them.
import * as fc from "fast-check";
import { NAMESPACE_NAME_LABEL, objectKey } from "../../src/policy/snapshot.ts";
import type { ClusterNode, Namespace, Pod, Policy, PolicySnapshot } from "../../src/policy/snapshot.ts";
import { POLICY_KINDS } from "../../src/policy/source.ts";
import type { PolicyEvent, PolicyKind, PolicyObjects } from "../../src/policy/source.ts";
import { labels, NODES, pod, policy } from "./policy-arbitraries.ts";

type Arbitraries = { readonly [Kind in PolicyKind]: fc.Arbitrary<PolicyObjects[Kind]> };

const namespaceName = fc.constantFrom("x", "y", "z");

const OBJECTS: Arbitraries = {
  pods: fc
    .tuple(pod, fc.nat(4), fc.nat(1))
    .map(([one, name, uid]): Pod => Object.assign(one, { name: `pod-${name}`, uid: `uid-${uid}` })),
  namespaces: fc
    .tuple(namespaceName, labels)
    .map(([name, own]): Namespace => ({ name, labels: { ...own, [NAMESPACE_NAME_LABEL]: name } })),
  nodes: fc.constantFrom<ClusterNode[]>(...NODES),
  policies: fc
    .tuple(policy, fc.nat(2), fc.nat(2))
    .map(([one, name, generation]): Policy => Object.assign(one, { name: `policy-${name}`, generation })),
};

const KEYS: { readonly [Kind in PolicyKind]: fc.Arbitrary<string> } = {
  pods: fc.tuple(namespaceName, fc.nat(4)).map(([namespace, name]) => `${namespace}/pod-${name}`),
  namespaces: namespaceName,
  nodes: fc.constantFrom("n1", "n2", "n3"),
  policies: fc.tuple(namespaceName, fc.nat(2)).map(([namespace, name]) => `${namespace}/policy-${name}`),
};

/** A step also says how often it is told, and whether somebody asks for the result after it. */
export interface EventStep {
  readonly event: PolicyEvent;
  readonly times: number;
  readonly isAsked: boolean;
}

const event = fc
  .constantFrom<PolicyKind[]>("pods", "pods", "pods", "pods", "policies", "policies", "namespaces", "nodes")
  .chain((kind): fc.Arbitrary<PolicyEvent> => {
    const object = OBJECTS[kind] as fc.Arbitrary<PolicyObjects[PolicyKind]>;
    return fc.oneof(
      { weight: 6, arbitrary: object.map((one) => ({ type: "put", kind, object: one }) as PolicyEvent) },
      { weight: 3, arbitrary: KEYS[kind].map((key): PolicyEvent => ({ type: "removed", kind, key })) },
      {
        weight: 1,
        arbitrary: fc
          .array(object, { maxLength: 6 })
          .map((objects) => ({ type: "snapshot", kind, objects }) as PolicyEvent),
      },
    );
  });

const beginning = fc.record({
  pods: fc.array(OBJECTS.pods, { maxLength: 8 }),
  policies: fc.array(OBJECTS.policies, { maxLength: 6 }),
  namespaces: fc.array(OBJECTS.namespaces, { maxLength: 3 }),
});

/** Mostly with a cluster at the beginning, so that later events change something. */
export const eventSteps: fc.Arbitrary<readonly EventStep[]> = fc
  .record({
    beginning,
    kinds: fc.shuffledSubarray([...POLICY_KINDS]),
    steps: fc.array(fc.record({ event, times: fc.constantFrom(1, 1, 1, 2), isAsked: fc.boolean() }), {
      minLength: 4,
      maxLength: 14,
      size: "max",
    }),
  })
  .map(({ beginning: objects, kinds, steps }) => {
    const all = { ...objects, nodes: NODES };
    const told = kinds.map((kind): EventStep => {
      const first = { type: "snapshot", kind, objects: all[kind] } as PolicyEvent;
      return { event: first, times: 1, isAsked: false };
    });
    return told.concat(steps);
  });

/** Remembers objects by key and nothing else. */
export interface EventModel {
  apply(event: PolicyEvent): void;
  snapshot(nodeName: string): PolicySnapshot;
}

export function createEventModel(): EventModel {
  const books: { readonly [Kind in PolicyKind]: Map<string, PolicyObjects[Kind]> } = {
    pods: new Map(),
    namespaces: new Map(),
    nodes: new Map(),
    policies: new Map(),
  };
  return {
    apply: (told) => {
      const book = books[told.kind] as Map<string, PolicyObjects[PolicyKind]>;
      if (told.type === "removed") return void book.delete(told.key);
      if (told.type === "snapshot") book.clear();
      for (const object of told.type === "put" ? [told.object] : told.objects)
        book.set("namespace" in object ? objectKey(object) : object.name, object);
    },
    snapshot: (nodeName) => ({
      nodeName,
      nodes: [...books.nodes.values()],
      namespaces: [...books.namespaces.values()],
      pods: [...books.pods.values()],
      policies: [...books.policies.values()],
    }),
  };
}
