// One direction of one family: pods that are isolated alike share a chain, and a tree leads to the chains.
import type { Family, Ip } from "../net/ip.ts";
import { matchSet, subjectSide } from "./chains.ts";
import type { DispatchTarget, Rule } from "./chains.ts";
import type { ChainPlace, PolicyChain } from "./compile-profile.ts";
import { buildDispatch, nodesBottomUp } from "./dispatch.ts";
import type { DigestOf } from "./dispatch.ts";
import { policyNames } from "./names.ts";
import type { PolicyNames } from "./names.ts";
import type { SetSpec } from "./sets.ts";
import type { Direction } from "./snapshot.ts";

/** Pods of this node that may do the same in one direction, for whatever policies. */
export interface CompiledProfile {
  readonly direction: Direction;
  readonly family: Family;
  readonly chain: string;
  /** The set of their addresses. */
  readonly set: string;
  /** `namespace/name` of the policies that isolate any of them, sorted. */
  readonly policies: readonly string[];
  /** `namespace/name`, sorted. */
  readonly pods: readonly string[];
}

/** A pod of this node that some policy isolates in the direction, with an address of the family. */
export interface IsolatedPod {
  /** `namespace/name`. */
  readonly key: string;
  /** Of the family, and the pod's own. */
  readonly ips: readonly Ip[];
  readonly chain: PolicyChain;
  /** `namespace/name` of the policies that isolate it, sorted. */
  readonly policies: readonly string[];
}

export interface DirectionPlan {
  /** Where isolated pods go; absent if there are none. */
  readonly target: DispatchTarget | undefined;
  readonly chains: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
  /** Sets of pods, those of children before those of their branches. */
  readonly podSets: readonly { readonly name: string; readonly ips: readonly Ip[] }[];
  /** Sets of peers and ports by name. */
  readonly specs: ReadonlyMap<string, SetSpec>;
  readonly profiles: readonly CompiledProfile[];
}

/** In whatever order the pods come. */
export function compileDirection(
  isolated: readonly IsolatedPod[],
  place: ChainPlace,
  digestOf?: DigestOf,
): DirectionPlan {
  const { direction, family, settings } = place;
  const names = policyNames(settings.prefix);
  const profiles = [...Map.groupBy(isolated, ({ chain }) => chain.digest)].sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  const root = buildDispatch(
    profiles.map(([digest, pods]) => ({ kind: "leaf", digest, ips: pods.flatMap(({ ips }) => ips) })),
    digestOf,
  );
  const targetOf = (digest: string): DispatchTarget => ({
    chain: names.podChain(direction, digest),
    set: names.podSet(direction, family, digest),
  });
  const nodes = root ? nodesBottomUp(root) : [];
  const leaves = profiles.map(([digest, [pod]]) => ({
    name: targetOf(digest).chain,
    rules: pod?.chain.rules ?? [],
  }));
  const branches = nodes.flatMap((node) => {
    if (node.kind === "leaf") return [];
    const children = node.children.map(({ digest }) => targetOf(digest));
    return { name: targetOf(node.digest).chain, rules: branchRules(children, direction, names) };
  });
  return {
    target: root && targetOf(root.digest),
    chains: [...leaves, ...branches],
    podSets: nodes.map(({ digest, ips }) => ({ name: targetOf(digest).set, ips })),
    specs: new Map(profiles.flatMap(([, [pod]]) => Array.from(pod?.chain.specs ?? []))),
    profiles: profiles.map(([digest, pods]) => ({
      direction,
      family,
      chain: names.podChain(direction, digest),
      set: names.podSet(direction, family, digest),
      policies: unionOf(pods),
      pods: pods.map(({ key }) => key).sort(),
    })),
  };
}

/** Policies of pods with one chain are mostly the same. */
function unionOf([first, ...others]: readonly IsolatedPod[]): readonly string[] {
  const policies = first?.policies ?? [];
  if (others.every((pod) => pod.policies === policies)) return policies;
  return [...new Set([...policies, ...others.flatMap((pod) => pod.policies)])].sort();
}

function branchRules(
  children: readonly DispatchTarget[],
  direction: Direction,
  names: PolicyNames,
): readonly Rule[] {
  return [
    ...children.map(({ set, chain }) => [...matchSet(set, subjectSide(direction)), "-g", chain]),
    // A pod that is in the set of the branch and in none below: between two updates, or by somebody's hand.
    ["-g", names.deny[direction]],
  ];
}
