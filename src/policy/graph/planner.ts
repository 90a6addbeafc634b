// From the pods of this node and the policies that isolate them to the plans of all families; what is as it was is not made anew.
import type { Family, Ip } from "../../net/ip.ts";
import { compileDirection, directionMakers } from "../compile-direction.ts";
import type { DirectionMakers, DirectionPlan, IsolatedPod } from "../compile-direction.ts";
import { compileFamily, familyMakers } from "../compile-family.ts";
import type { FamilyMakers, FamilyPlan } from "../compile-family.ts";
import { compileProfile } from "../compile-profile.ts";
import type { ChainPlace, PolicyChain } from "../compile-profile.ts";
import { createMemory, sameItems } from "../reuse.ts";
import type { PolicySettings } from "../settings.ts";
import { objectKey } from "../snapshot.ts";
import type { Direction, Policy } from "../snapshot.ts";

/** The policies that isolate a pod in one direction. */
export interface Selection {
  /** Their keys as one text. */
  readonly id: string;
  /** Their keys, sorted. */
  readonly names: readonly string[];
  /** In the order of their keys. */
  readonly policies: readonly Policy[];
}

export function selectionOf(policies: readonly Policy[]): Selection {
  const byKey = new Map(policies.map((policy) => [objectKey(policy), policy]));
  const names = [...byKey.keys()].sort();
  return { id: names.join(" "), names, policies: names.flatMap((name) => byKey.get(name) ?? []) };
}

/** A pod of this node. An object with other contents is another object. */
export interface PlannedPod {
  readonly key: string;
  readonly ips: Readonly<Record<Family, readonly Ip[]>>;
  readonly selections: Readonly<Record<Direction, Selection>>;
}

/** One plan for each family of the settings. */
export type Planner = (pods: readonly PlannedPod[]) => readonly FamilyPlan[];

export function createPlanner(settings: PolicySettings): Planner {
  const planners = settings.families.map((family) => createFamilyPlanner(settings, family));
  return (pods) => planners.map((plan) => plan(pods));
}

function createFamilyPlanner(settings: PolicySettings, family: Family) {
  const planEgress = createDirectionPlanner({ settings, family, direction: "egress" });
  const planIngress = createDirectionPlanner({ settings, family, direction: "ingress" });
  const memory = createMemory();
  const makers = familyMakers(settings, family);
  const remembering: FamilyMakers = {
    fixed: memory.reuse(makers.fixed),
    specs: memory.reuse(makers.specs),
    knownSet: memory.reuse(makers.knownSet),
    deniedSet: memory.reuse(makers.deniedSet),
  };
  return (pods: readonly PlannedPod[]): FamilyPlan => {
    const known = pods.flatMap(({ ips }) => ips[family]);
    const plans = { egress: planEgress(pods), ingress: planIngress(pods) };
    const plan = compileFamily({ settings, family }, plans, known, remembering);
    memory.sweep();
    return plan;
  };
}

function createDirectionPlanner(place: ChainPlace) {
  const isolate = createIsolation(place);
  const memory = createMemory();
  const { leaf, branch } = directionMakers(place);
  const makers: DirectionMakers = { leaf: memory.reuse(leaf), branch: memory.reuse(branch) };
  let last: { readonly isolated: readonly IsolatedPod[]; readonly plan: DirectionPlan } | undefined;
  return (pods: readonly PlannedPod[]): DirectionPlan => {
    const isolated = isolate(pods);
    if (last !== undefined && sameItems(last.isolated, isolated)) return last.plan;
    last = { isolated, plan: compileDirection(isolated, makers) };
    memory.sweep();
    return last.plan;
  };
}

/** Compiles a chain once for all pods with the same policies. */
function createIsolation(place: ChainPlace) {
  const memory = createMemory();
  const chainOf = memory.reuse<Policy, PolicyChain>((_, policies) => compileProfile(policies, place));
  const isolatedOf = new WeakMap<PlannedPod, IsolatedPod>();
  const isolate = (pod: PlannedPod): IsolatedPod | undefined => {
    const { id, names, policies } = pod.selections[place.direction];
    const ips = pod.ips[place.family];
    if (policies.length === 0 || ips.length === 0) return undefined;
    const chain = chainOf(id, policies);
    const known = isolatedOf.get(pod);
    if (known?.chain === chain) return known;
    const isolated = { key: pod.key, ips, chain, policies: names };
    isolatedOf.set(pod, isolated);
    return isolated;
  };
  return (pods: readonly PlannedPod[]): readonly IsolatedPod[] => {
    const isolated: IsolatedPod[] = [];
    for (const pod of pods) {
      const one = isolate(pod);
      if (one !== undefined) isolated.push(one);
    }
    memory.sweep();
    return isolated;
  };
}
