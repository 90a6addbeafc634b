// Random events of policy sources, about so few objects that they meet, and the plainest memory that could take them.
import * as fc from "fast-check";
import { parseCidr } from "../../src/net/cidr.ts";
import { NAMESPACE_NAME_LABEL, objectKey } from "../../src/policy/snapshot.ts";
import type {
  Namespace, Pod, Policy, PolicyPeer, PolicyRule, PolicySnapshot, Requirement,
} from "../../src/policy/snapshot.ts"; // prettier-ignore
import { POLICY_KINDS } from "../../src/policy/source.ts";
import type { PolicyEvent, PolicyKind, PolicyObjects } from "../../src/policy/source.ts";
import { labels, NODES, pod, policy } from "./policy-arbitraries.ts";

const namespaceName = fc.constantFrom("x", "y", "z");

const needs = (
  key: string,
  operator: Requirement["operator"],
  ...values: readonly string[]
): Requirement => ({
  key,
  operator,
  values,
});
const SELECTORS: readonly (readonly Requirement[])[] = [
  [],
  [needs("app", "In", "a")],
  [needs("app", "In", "a", "b")],
  [needs("app", "Exists")],
  [needs("tier", "NotIn", "a")],
  [needs("tier", "DoesNotExist"), needs("app", "In", "b")],
  [needs("app", "In", "b"), needs("tier", "DoesNotExist")],
];
const selector = fc.constantFrom(...SELECTORS);
const host = (text: string): PolicyPeer => ({ kind: "block", cidr: parseCidr(text), except: [] });

/** So few that sets are shared, overlap, and lose one of their users. */
const peer: fc.Arbitrary<PolicyPeer> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("pods"), pods: selector, namespaces: selector }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("pods"), pods: selector }) },
  { weight: 2, arbitrary: fc.constantFrom(...["10.244.1.2/32", "10.244.2.3/32", "fd00:1::2/128"].map(host)) },
);
const rule: fc.Arbitrary<PolicyRule> = fc.record(
  {
    peers: fc.array(peer, { minLength: 1, maxLength: 3 }),
    ports: fc.constantFrom<NonNullable<PolicyRule["ports"]>[]>(
      [{ kind: "numbers", protocol: "TCP", from: 80, to: 80 }],
      [{ kind: "named", protocol: "TCP", name: "http" }],
    ),
  },
  { requiredKeys: ["peers"] },
);
const simplePolicy: fc.Arbitrary<Omit<Policy, "name">> = fc.record({
  namespace: namespaceName,
  podSelector: selector,
  types: fc.constantFrom<Policy["types"][]>(["ingress"], ["egress"], ["ingress", "egress"]),
  ingress: fc.array(rule, { maxLength: 2 }),
  egress: fc.array(rule, { maxLength: 2 }),
});

const OBJECTS: { readonly [Kind in PolicyKind]: fc.Arbitrary<PolicyObjects[Kind]> } = {
  pods: fc
    .tuple(pod, fc.nat(4), fc.nat(1))
    .map(([one, name, uid]): Pod => Object.assign(one, { name: `pod-${name}`, uid: `uid-${uid}` })),
  namespaces: fc
    .tuple(namespaceName, labels)
    .map(([name, own]): Namespace => ({ name, labels: { ...own, [NAMESPACE_NAME_LABEL]: name } })),
  nodes: fc.constantFrom(...NODES),
  policies: fc
    .tuple(fc.oneof(simplePolicy, simplePolicy, policy), fc.nat(2), fc.nat(2))
    .map(([one, name, generation]): Policy => Object.assign(one, { name: `policy-${name}`, generation })),
};

const KEYS: { readonly [Kind in PolicyKind]: fc.Arbitrary<string> } = {
  pods: fc.tuple(namespaceName, fc.nat(4)).map(([namespace, name]) => `${namespace}/pod-${name}`),
  namespaces: namespaceName,
  nodes: fc.constantFrom("n1", "n2", "n3"),
  policies: fc.tuple(namespaceName, fc.nat(2)).map(([namespace, name]) => `${namespace}/policy-${name}`),
};

/** A part of an object that is known by then takes the place of its own: which object is drawn as a number. */
interface Edit {
  readonly kind: "pods" | "policies";
  readonly at: number;
  readonly from: PolicyObjects[PolicyKind];
  readonly field: string;
}

interface Draft {
  readonly change: PolicyEvent | Edit;
  readonly times: number;
  readonly isAsked: boolean;
}

/** An event with how often it is told, and whether somebody asks for the result after it. */
export interface EventStep {
  readonly event: PolicyEvent;
  readonly times: number;
  readonly isAsked: boolean;
}

const POD_FIELDS = ["labels", "labels", "ports", "ips", "hostNetwork", "finished", "terminating", "createdAtMs", "nodeName", "uid"]; // prettier-ignore
const POLICY_FIELDS = ["podSelector", "types", "ingress", "egress", "generation"];

const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({
    kind: fc.constant("pods"),
    at: fc.nat(20),
    from: OBJECTS.pods,
    field: fc.constantFrom(...POD_FIELDS),
  }),
  fc.record({
    kind: fc.constant("policies"),
    at: fc.nat(20),
    from: OBJECTS.policies,
    field: fc.constantFrom(...POLICY_FIELDS),
  }),
);

const event = fc
  .constantFrom<PolicyKind[]>("pods", "pods", "policies", "namespaces", "namespaces", "nodes")
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

const drafts: fc.Arbitrary<readonly Draft[]> = fc.array(
  fc.record({
    change: fc.oneof({ weight: 3, arbitrary: event }, { weight: 2, arbitrary: edit }),
    times: fc.constantFrom(1, 1, 1, 2),
    isAsked: fc.boolean(),
  }),
  { minLength: 4, maxLength: 16, size: "max" },
);

/** Mostly with a cluster at the beginning, so that later events change something. */
export const eventSteps: fc.Arbitrary<readonly EventStep[]> = fc
  .record({
    pods: fc.array(OBJECTS.pods, { maxLength: 12, size: "max" }),
    policies: fc.array(OBJECTS.policies, { maxLength: 7, size: "max" }),
    namespaces: fc.array(OBJECTS.namespaces, { maxLength: 4, size: "max" }),
    kinds: fc.shuffledSubarray([...POLICY_KINDS], { minLength: 2 }),
    drafts,
  })
  .map(({ kinds, drafts: later, ...objects }) => {
    const all = { ...objects, nodes: NODES };
    const first = kinds.map((kind): Draft => {
      const change = { type: "snapshot", kind, objects: all[kind] } as PolicyEvent;
      return { change, times: 1, isAsked: false };
    });
    return resolveDrafts([...first, ...later]);
  });

function resolveDrafts(drafts: readonly Draft[]): readonly EventStep[] {
  const model = createEventModel();
  return drafts.flatMap(({ change, times, isAsked }): readonly EventStep[] => {
    const told = "type" in change ? change : resolveEdit(change, model.snapshot(""));
    if (told === undefined) return [];
    model.apply(told);
    return [{ event: told, times, isAsked }];
  });
}

function resolveEdit({ kind, at, from, field }: Edit, snapshot: PolicySnapshot): PolicyEvent | undefined {
  const known = snapshot[kind][at % snapshot[kind].length];
  const value: unknown = from[field as never];
  return known && ({ type: "put", kind, object: { ...known, [field]: value } } as PolicyEvent);
}

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
