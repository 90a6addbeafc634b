// One direction of one family: pods that are isolated alike share a chain, and a tree leads to the chains.
import type { IpsetRow } from "../host/ipset-state.ts";
import type { Chain } from "../host/state.ts";
import type { Family, Ip } from "../net/ip.ts";
import { matchSet, subjectSide } from "./chains.ts";
import type { DispatchTarget, Rule } from "./chains.ts";
import type { ChainPlace, PolicyChain } from "./compile-profile.ts";
import { contentDigest } from "./digest.ts";
import { buildDispatch } from "./dispatch.ts";
import type { DispatchBranch, DispatchLeaf } from "./dispatch.ts";
import { policyNames } from "./names.ts";
import type { PolicyNames } from "./names.ts";
import { sortUnique } from "./resolve.ts";
import { keepSame, sameItems } from "./reuse.ts";
import type { Make } from "./reuse.ts";
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
  readonly chains: readonly Chain[];
  /** Sets of pods, those of children before those of their branches. */
  readonly podSets: readonly IpsetRow[];
  /** Sets of peers and ports by name, those of each chain. */
  readonly specs: readonly ReadonlyMap<string, SetSpec>[];
  readonly profiles: readonly CompiledProfile[];
}

/** A chain, and the set of the pods that it is for. */
interface Pods {
  readonly target: DispatchTarget;
  readonly chain: Chain;
  readonly set: IpsetRow;
}

interface Leaf extends DispatchLeaf, Pods {
  readonly specs: ReadonlyMap<string, SetSpec>;
  readonly profile: CompiledProfile;
}

interface Branch extends DispatchBranch, Pods {}

/** What a direction of a family is made by. Digests say what rules there are and what sets they name. */
export interface DirectionMakers {
  /** The key is the digest of the pods' chain. */
  readonly leaf: Make<IsolatedPod, Leaf>;
  /** The key is the digests of the children. */
  readonly branch: Make<Leaf | Branch, Branch>;
}

export function directionMakers(place: ChainPlace): DirectionMakers {
  const { direction, family, settings } = place;
  const names = policyNames(settings.prefix);
  const targetOf = (digest: string): DispatchTarget => ({
    chain: names.podChain(direction, digest),
    set: names.podSet(direction, family, digest),
  });
  return {
    leaf: (digest, pods, before) => {
      const [first] = pods;
      const target = before?.target ?? targetOf(digest);
      const ips = pods.flatMap((pod) => pod.ips);
      return {
        kind: "leaf",
        digest,
        target,
        chain: before?.chain ?? policyChain(target.chain, family, first?.chain.rules ?? []),
        set: keepSame(before?.set, podSet(target.set, family, sortUnique(ips))),
        specs: before?.specs ?? first?.chain.specs ?? new Map(),
        profile: keepSame(before?.profile, { direction, family, ...target, ...describePods(pods) }),
      };
    },
    branch: (content, children, before) => {
      const digest = before?.digest ?? contentDigest(content);
      const target = before?.target ?? targetOf(digest);
      const ips = children.flatMap(({ set }) => Array.from(set.members));
      return {
        kind: "branch",
        digest,
        target,
        chain: before?.chain ?? policyChain(target.chain, family, branchRules(children, direction, names)),
        set: keepSame(before?.set, podSet(target.set, family, sortUnique(ips))),
      };
    },
  };
}

/** In whatever order the pods come. */
export function compileDirection(
  isolated: readonly IsolatedPod[],
  { leaf, branch }: DirectionMakers,
): DirectionPlan {
  const leaves = [...Map.groupBy(isolated, ({ chain }) => chain.digest)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([digest, pods]) => leaf(digest, pods));
  const tree = buildDispatch<Leaf, Branch>(leaves, (children) =>
    branch(children.map(({ digest }) => digest).join(" "), children),
  );
  const { root, nodes = [] } = tree ?? {};
  const branches = nodes.filter(({ kind }) => kind === "branch");
  const chainOf = ({ chain }: Pods): Chain => chain;
  return {
    target: root?.target,
    chains: leaves.map(chainOf).concat(branches.map(chainOf)),
    podSets: nodes.map(({ set }) => set),
    specs: leaves.map(({ specs }) => specs),
    profiles: leaves.map(({ profile }) => profile),
  };
}

/** `members` are sorted and unique. */
export function podSet(name: string, family: Family, members: readonly string[], counters = false): IpsetRow {
  return { kind: "set", name, type: "hash:ip", family, members, counters };
}

export function policyChain(name: string, family: Family, rules: readonly Rule[]): Chain {
  return { kind: "chain", family, table: "filter", name, rules };
}

function describePods(pods: readonly IsolatedPod[]): Pick<CompiledProfile, "policies" | "pods"> {
  return { policies: unionOf(pods), pods: pods.map(({ key }) => key).sort() };
}

/** Policies of pods with one chain are mostly the same. */
function unionOf([first, ...others]: readonly IsolatedPod[]): readonly string[] {
  const policies = first?.policies ?? [];
  if (others.every((pod) => sameItems(pod.policies, policies))) return policies;
  return [...new Set([...policies, ...others.flatMap((pod) => pod.policies)])].sort();
}

function branchRules(
  children: readonly Pods[],
  direction: Direction,
  { deny }: PolicyNames,
): readonly Rule[] {
  return [
    ...children.map(({ target }) => [...matchSet(target.set, subjectSide(direction)), "-g", target.chain]),
    // A pod that is in the set of the branch and in none below: between two updates, or by somebody's hand.
    ["-g", deny[direction]],
  ];
}
