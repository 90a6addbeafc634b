// The law of the graph: whatever it was told in whatever order, it answers as if it had compiled the whole from scratch.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { IpsetRow } from "../../../src/host/ipset-state.ts";
import { compilePolicy } from "../../../src/policy/compile.ts";
import type { CompiledPolicy } from "../../../src/policy/compile.ts";
import { createPolicyGraph } from "../../../src/policy/graph.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import type { PolicySettings } from "../../../src/policy/settings.ts";
import { objectKey } from "../../../src/policy/snapshot.ts";
import type { Pod, Policy, PolicySnapshot, Selector } from "../../../src/policy/snapshot.ts";
import type { PolicyEvent } from "../../../src/policy/source.ts";
import { settings } from "../../support/policy-arbitraries.ts";
import { podOf } from "../../support/policy-cluster.ts";
import { createEventModel, eventSteps } from "../../support/policy-events.ts";
import { runs } from "../../support/property-runs.ts";

test("after any events compiled() is compilePolicy of all there is, and what is as it was is the same object", () => {
  fc.assert(
    fc.property(eventSteps, settings, (steps, settings) => checkSteps(steps, settings)),
    { numRuns: runs(200) },
  );
});

const KINDS = 24;
const kind = fc.nat(KINDS - 1);
const podEvent = fc.record({ n: fc.nat(40), kind, node: fc.constantFrom(1, 1, 1, 2), isPut: fc.boolean() });
const policyEvent = fc.record({ kind, peers: kind, types: fc.subarray(["ingress", "egress"] as const), isPut: fc.boolean() }); // prettier-ignore

function kindOf(n: number): Selector {
  return [{ key: "kind", operator: "In", values: [`kind-${n}`] }];
}

function putPod(n: number, kindOfPod: number, node: number): PolicyEvent {
  const object = podOf(`x/pod-${n}`, `${node}.${n + 2}`, { kind: `kind-${kindOfPod}` });
  return { type: "put", kind: "pods", object };
}

function putPolicy(n: number, peers: number, types: Policy["types"]): PolicyEvent {
  const rules = [{ peers: [{ kind: "pods" as const, pods: kindOf(peers) }] }];
  const object = { namespace: "x", name: `policy-${n}`, podSelector: kindOf(n), types, ingress: rules, egress: rules };
  return { type: "put", kind: "policies", object };
} // prettier-ignore

/** So many chains that dispatch takes several steps, of pods of which few are alike. */
const crowd = Array.from({ length: KINDS }, (_, n) => [
  putPod(n, n, 1),
  putPolicy(n, (n + 1) % KINDS, n % 2 === 0 ? ["ingress"] : ["ingress", "egress"]),
]).flat();

test("the same holds where so many pods are isolated that sets lead to sets", () => {
  const event = fc.oneof(
    podEvent.map(({ n, kind: kindOfPod, node, isPut }): PolicyEvent =>
      isPut ? putPod(n, kindOfPod, node) : { type: "removed", kind: "pods", key: `x/pod-${n}` },
    ),
    policyEvent.map(({ kind: n, peers, types, isPut }): PolicyEvent =>
      isPut ? putPolicy(n, peers, types) : { type: "removed", kind: "policies", key: `x/policy-${n}` },
    ),
  );
  const step = (one: PolicyEvent, isAsked: boolean) => ({ event: one, times: 1, isAsked });
  const start = crowd.map((one, index) => step(one, index === crowd.length - 1));
  fc.assert(
    fc.property(fc.array(fc.tuple(event, fc.boolean()), { maxLength: 12 }), (events) =>
      checkSteps([...start, ...events.map(([one, isAsked]) => step(one, isAsked))], DEFAULT_POLICY_SETTINGS),
    ),
    { numRuns: runs(20) },
  );
});

interface Step {
  readonly event: PolicyEvent;
  readonly times: number;
  readonly isAsked: boolean;
}

function checkSteps(steps: readonly Step[], settings: PolicySettings): void {
  const graph = createPolicyGraph({ nodeName: "n1", settings });
  const model = createEventModel();
  let last: CompiledPolicy | undefined;
  for (const [index, { event, times, isAsked }] of steps.entries()) {
    model.apply(event);
    // Told again it comes as another object, as from a watch that began anew.
    for (let time = 0; time < times; time += 1) graph.apply(time === 0 ? event : structuredClone(event));
    if (!isAsked && index < steps.length - 1) continue;
    const compiled = graph.compiled();
    expect({ ...compiled, sets: compiled.sets.map(plain) }).toEqual(
      compilePolicy(model.snapshot("n1"), settings),
    );
    expect(Array.from(compiled.specs.keys())).toEqual(
      compiled.sets.flatMap(({ name }) => (compiled.specs.has(name) ? name : [])),
    );
    if (last) expectKept(last, compiled);
    expect(graph.compiled()).toBe(compiled);
    last = compiled;
  }
  expect(sorted(graph.snapshot())).toEqual(sorted(model.snapshot("n1")));
}

/** What says the same as before is the same object. */
function expectKept(last: CompiledPolicy, next: CompiledPolicy): void {
  if (isEqual(last.firewall, next.firewall)) expect(next.firewall).toBe(last.firewall);
  const rules = new Map(last.firewall.map((row) => [JSON.stringify(row), row]));
  for (const row of next.firewall) {
    const before = rules.get(JSON.stringify(row));
    if (before) expect(row).toBe(before);
  }
  const sets = new Map(last.sets.map((row) => [row.name, row]));
  for (const row of next.sets) {
    const before = sets.get(row.name);
    if (before && isEqual(plain(before), plain(row))) expect(row).toBe(before);
  }
  const isSetsSame = isEqual(last.sets.map(plain), next.sets.map(plain));
  if (isSetsSame) expect(next.sets).toBe(last.sets);
  const isSame = isEqual(last.firewall, next.firewall) && isEqual(last.profiles, next.profiles);
  if (isSame && isSetsSame && isEqual([...last.specs], [...next.specs])) expect(next).toBe(last);
}

/** Members as an array, whatever pages they are in. */
function plain(set: IpsetRow): IpsetRow {
  return { ...set, members: [...set.members] };
}

function isEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function sorted({ nodeName, nodes, namespaces, pods, policies }: PolicySnapshot): unknown {
  const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
    a.name < b.name ? -1 : 1;
  const byKey = (a: Pod | Policy, b: Pod | Policy): number => (objectKey(a) < objectKey(b) ? -1 : 1);
  return [
    nodeName,
    nodes.toSorted(byName),
    namespaces.toSorted(byName),
    pods.toSorted(byKey),
    policies.toSorted(byKey),
  ];
}
