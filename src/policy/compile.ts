// From a snapshot to the chains and sets of this node; the same snapshot always gives the same rows.
import type { IpsetRow } from "../host/ipset-state.ts";
import type { FirewallRow } from "../host/state.ts";
import { indexCluster } from "./cluster-index.ts";
import type { AddressedPod, ClusterIndex } from "./cluster-index.ts";
import { compileDirection, directionMakers } from "./compile-direction.ts";
import type { CompiledProfile, IsolatedPod } from "./compile-direction.ts";
import { compileFamily, compileSet, familyMakers } from "./compile-family.ts";
import type { FamilyPlan } from "./compile-family.ts";
import { compileProfile } from "./compile-profile.ts";
import type { ChainPlace, NamedSpec, PolicyChain } from "./compile-profile.ts";
import { ipsOfFamily, resolveSet } from "./resolve.ts";
import { selects } from "./selector.ts";
import type { SetSpec } from "./sets.ts";
import type { PolicySettings } from "./settings.ts";
import { objectKey } from "./snapshot.ts";
import type { Direction, Policy, PolicySnapshot } from "./snapshot.ts";

export interface CompiledPolicy {
  readonly firewall: readonly FirewallRow[];
  /**
   * Peers and ports (they have `specs`); then what isolates, in the order in which members may be added: pods of chains, of
   * branches, of the whole direction, and last the known pods. Removing goes the other way (host/set-plan.ts). New sets and
   * members come before the firewall changes; names of chains and sets follow from their content, so that the old rules
   * never see a half of the new.
   */
  readonly sets: readonly IpsetRow[];
  /** Why the chains are there: for people. */
  readonly profiles: readonly CompiledProfile[];
  /** What each set of peers or ports is about, by its name: for people, and for updating members alone. */
  readonly specs: ReadonlyMap<string, SetSpec>;
}

/**
 * Compiles for the node `snapshot.nodeName`; only policies that select pods of this node appear. The order of objects in
 * the snapshot does not matter; of each key there is one.
 */
export function compilePolicy(snapshot: PolicySnapshot, settings: PolicySettings): CompiledPolicy {
  const index = indexCluster(snapshot);
  const plans = settings.families.map((family) => {
    const planOf = (direction: Direction) => {
      const place = { settings, family, direction };
      return compileDirection(isolatedPods(index, place), directionMakers(place));
    };
    const known = index.localPods.flatMap((pod) => ipsOfFamily(pod, family));
    const directions = { egress: planOf("egress"), ingress: planOf("ingress") };
    return compileFamily({ settings, family }, directions, known, familyMakers(settings, family));
  });
  const specs = joinSpecs(plans.map((plan) => plan.specs));
  return joinPlans(plans, specs, (name, spec) => compileSet(name, spec, resolveSet(spec, index)));
}

/** What the sets of peers and ports of all families are about. */
export function joinSpecs(families: readonly (readonly NamedSpec[])[]): ReadonlyMap<string, SetSpec> {
  const all = new Map<string, SetSpec>();
  for (const specs of families) for (const { name, spec } of specs) all.set(name, spec);
  return all;
}

/** The plans of all families as one; `rowOf` is asked for the sets of peers and ports, that is of the `specs` of the plans. */
export function joinPlans(
  plans: readonly FamilyPlan[],
  specs: ReadonlyMap<string, SetSpec>,
  rowOf: (name: string, spec: SetSpec) => IpsetRow,
): CompiledPolicy {
  const sets: IpsetRow[] = [];
  for (const plan of plans) {
    for (const { name, spec } of plan.specs) sets.push(rowOf(name, spec));
    sets.push(...plan.podSets);
  }
  return {
    firewall: plans.flatMap(({ firewall }) => firewall),
    sets,
    profiles: plans.flatMap(({ profiles }) => profiles),
    specs,
  };
}

function isolatedPods(index: ClusterIndex, place: ChainPlace): readonly IsolatedPod[] {
  const chains = new Map<string, PolicyChain>();
  return index.localPods.flatMap((local): readonly IsolatedPod[] => {
    const ips = ipsOfFamily(local, place.family);
    const isolating = ips.length > 0 ? isolatingPolicies(index, local, place.direction) : [];
    if (isolating.length === 0) return [];
    const policies = isolating.map(objectKey).sort();
    const selection = policies.join(" ");
    const chain = chains.get(selection) ?? compileProfile(isolating, place);
    chains.set(selection, chain);
    return [{ key: objectKey(local.pod), ips, chain, policies }];
  });
}

function isolatingPolicies(
  index: ClusterIndex,
  { pod }: AddressedPod,
  direction: Direction,
): readonly Policy[] {
  return (index.policiesByNamespace.get(pod.namespace) ?? []).filter(
    ({ types, podSelector }) => types.includes(direction) && selects(podSelector, pod.labels),
  );
}
