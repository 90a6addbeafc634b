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
import { keepSame, makeAnew } from "./reuse.ts";
import type { Reuse } from "./reuse.ts";
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
  readonly ips: readonly Ip[];
  readonly chain: Chain;
  readonly set: IpsetRow;
}

interface Leaf extends DispatchLeaf, Pods {
  readonly specs: ReadonlyMap<string, SetSpec>;
  readonly profile: CompiledProfile;
}

interface Branch extends DispatchBranch, Pods {}

/** What may be there from the last time, for one direction of one family. */
export interface DirectionParts {
  /** By the digest of its chain. */
  readonly leaf: Reuse<Leaf>;
  /** By the digests of its children. */
  readonly branch: Reuse<Branch>;
}

const NEW_PARTS: DirectionParts = { leaf: makeAnew, branch: makeAnew };

/** In whatever order the pods come. */
export function compileDirection(
  isolated: readonly IsolatedPod[],
  place: ChainPlace,
  parts = NEW_PARTS,
): DirectionPlan {
  const naming: Naming = { ...place, names: policyNames(place.settings.prefix) };
  const leaves = [...Map.groupBy(isolated, ({ chain }) => chain.digest)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([digest, pods]) => parts.leaf(digest, pods, (before) => compileLeaf(digest, pods, naming, before)));
  const tree = buildDispatch<Leaf, Branch>(leaves, (children) => {
    const content = children.map(({ digest }) => digest).join(" ");
    return parts.branch(content, children, (before) => {
      const digest = before?.digest ?? contentDigest(content);
      return compileBranch(digest, children, naming, before);
    });
  });
  const { root, nodes = [] } = tree ?? {};
  return {
    target: root && targetOf(root),
    chains: [...leaves, ...nodes.filter(({ kind }) => kind === "branch")].map(({ chain }) => chain),
    podSets: nodes.map(({ set }) => set),
    specs: leaves.map(({ specs }) => specs),
    profiles: leaves.map(({ profile }) => profile),
  };
}

interface Naming extends ChainPlace {
  readonly names: PolicyNames;
}

function targetOf({ chain, set }: Pods): DispatchTarget {
  return { chain: chain.name, set: set.name };
}

/** The digest says what rules there are and what sets they name. */
function compileLeaf(digest: string, pods: readonly IsolatedPod[], naming: Naming, before?: Leaf): Leaf {
  const { direction, family, names } = naming;
  const [first] = pods;
  const chain = names.podChain(direction, digest);
  const ips = pods.flatMap((pod) => pod.ips);
  const set = setOf(digest, ips, naming);
  const profile: CompiledProfile = {
    direction,
    family,
    chain,
    set: set.name,
    policies: unionOf(pods),
    pods: pods.map(({ key }) => key).sort(),
  };
  return {
    kind: "leaf",
    digest,
    ips,
    chain: before?.chain ?? policyChain(chain, family, first?.chain.rules ?? []),
    set: keepSame(before?.set, set),
    specs: before?.specs ?? first?.chain.specs ?? new Map(),
    profile: keepSame(before?.profile, profile),
  };
}

/** The digest says which children it has. */
function compileBranch(
  digest: string,
  children: readonly (Leaf | Branch)[],
  naming: Naming,
  before?: Branch,
): Branch {
  const { direction, family, names } = naming;
  const chain = names.podChain(direction, digest);
  const ips = children.flatMap((child) => child.ips);
  return {
    kind: "branch",
    digest,
    ips,
    chain: before?.chain ?? policyChain(chain, family, branchRules(children.map(targetOf), naming)),
    set: keepSame(before?.set, setOf(digest, ips, naming)),
  };
}

function setOf(digest: string, ips: readonly Ip[], { direction, family, names }: Naming): IpsetRow {
  return podSet(names.podSet(direction, family, digest), family, sortUnique([...ips]));
}

/** `members` are sorted and unique. */
export function podSet(name: string, family: Family, members: readonly string[], counters = false): IpsetRow {
  return { kind: "set", name, type: "hash:ip", family, members, counters };
}

export function policyChain(name: string, family: Family, rules: readonly Rule[]): Chain {
  return { kind: "chain", family, table: "filter", name, rules };
}

/** Policies of pods with one chain are mostly the same. */
function unionOf([first, ...others]: readonly IsolatedPod[]): readonly string[] {
  const policies = first?.policies ?? [];
  if (others.every((pod) => pod.policies === policies)) return policies;
  return [...new Set([...policies, ...others.flatMap((pod) => pod.policies)])].sort();
}

function branchRules(children: readonly DispatchTarget[], { direction, names }: Naming): readonly Rule[] {
  return [
    ...children.map(({ set, chain }) => [...matchSet(set, subjectSide(direction)), "-g", chain]),
    // A pod that is in the set of the branch and in none below: between two updates, or by somebody's hand.
    ["-g", names.deny[direction]],
  ];
}
