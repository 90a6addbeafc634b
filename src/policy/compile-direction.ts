// One direction of one family: pods that are isolated alike share a chain, and a tree leads to the chains.
import type { IpsetRow } from "../host/ipset-state.ts";
import type { Chain } from "../host/state.ts";
import type { Family, Ip } from "../net/ip.ts";
import { matchSet, subjectSide } from "./chains.ts";
import type { DispatchTarget, Rule } from "./chains.ts";
import type { ChainPlace, NamedSpec, PolicyChain } from "./compile-profile.ts";
import { contentDigest } from "./digest.ts";
import { buildDispatch } from "./dispatch.ts";
import type { DispatchBranch, DispatchLeaf } from "./dispatch.ts";
import { policyNames } from "./names.ts";
import { sortUnique } from "./resolve.ts";
import { keepSame, sameItems } from "./reuse.ts";
import type { Make } from "./reuse.ts";
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
  /** Sets of peers and ports, those of each chain. */
  readonly specs: readonly (readonly NamedSpec[])[];
  readonly profiles: readonly CompiledProfile[];
}

/** A chain, and the set of the pods that it is for. */
interface Pods {
  readonly target: DispatchTarget;
  readonly chain: Chain;
  readonly set: IpsetRow;
  /** The members of the set. */
  readonly ips: readonly string[];
  /** In the branch above, what leads here. */
  readonly rule: Rule;
}

interface Leaf extends DispatchLeaf, Pods {
  readonly specs: readonly NamedSpec[];
  readonly profile: CompiledProfile;
}

interface Branch extends DispatchBranch, Pods {}

/**
 * How the parts of a direction are made; whoever compiles it again and again wraps these to remember (reuse.ts). A digest says
 * what rules there are and what sets they name, so that of what had the same digest before only pods can differ.
 */
export interface DirectionMakers {
  /** The key is the digest of the pods' chain. */
  readonly leaf: Make<IsolatedPod, Leaf>;
  /** The key is the digests of the children. */
  readonly branch: Make<Leaf | Branch, Branch>;
}

export function directionMakers(place: ChainPlace): DirectionMakers {
  const { direction, family, settings } = place;
  const names = policyNames(settings.prefix);
  const targetOf = (digest: string): Pick<Pods, "target" | "rule"> => {
    const chain = names.podChain(direction, digest);
    const set = names.podSet(direction, family, digest);
    return { target: { chain, set }, rule: [...matchSet(set, subjectSide(direction)), "-g", chain] };
  };
  const denied: Rule = ["-g", names.deny[direction]];
  return {
    leaf: (digest, pods, before) => {
      const [first] = pods;
      const { target, rule } = before ?? targetOf(digest);
      const ips = sortUnique(pods.flatMap((pod) => pod.ips));
      return {
        kind: "leaf",
        digest,
        target,
        rule,
        chain: before?.chain ?? policyChain(target.chain, family, first?.chain.rules ?? []),
        set: keepSame(before?.set, podSet(target.set, family, ips)),
        ips,
        specs: before?.specs ?? first?.chain.specs ?? [],
        profile: keepSame(before?.profile, { direction, family, ...target, ...describePods(pods) }),
      };
    },
    branch: (content, children, before) => {
      const digest = before?.digest ?? contentDigest(content);
      const { target, rule } = before ?? targetOf(digest);
      const ips = sortUnique(new Array<string>().concat(...children.map((child) => child.ips)));
      return {
        kind: "branch",
        digest,
        target,
        rule,
        chain: before?.chain ?? policyChain(target.chain, family, branchRules(children, denied)),
        set: keepSame(before?.set, podSet(target.set, family, ips)),
        ips,
      };
    },
  };
}

/** In whatever order the pods come. */
export function compileDirection(
  isolated: readonly IsolatedPod[],
  { leaf, branch }: DirectionMakers,
): DirectionPlan {
  const groups = groupByChain(isolated);
  const leaves = [...groups.keys()].sort().map((digest) => leaf(digest, groups.get(digest) ?? []));
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

/** By digest. Not Map.groupBy: most groups are of one pod, and it makes room for many. */
function groupByChain(isolated: readonly IsolatedPod[]): ReadonlyMap<string, readonly IsolatedPod[]> {
  const groups = new Map<string, IsolatedPod[]>();
  for (const pod of isolated) {
    const group = groups.get(pod.chain.digest);
    if (group === undefined) groups.set(pod.chain.digest, [pod]);
    else group.push(pod);
  }
  return groups;
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

/** `denied`: for a pod that is in the set of the branch and in none below, between two updates or by somebody's hand. */
function branchRules(children: readonly Pods[], denied: Rule): readonly Rule[] {
  return [...children.map(({ rule }) => rule), denied];
}
