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
import { sortMembers } from "./resolve.ts";
import { makeAnew } from "./reuse.ts";
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
  /** Sets of peers and ports by name. */
  readonly specs: ReadonlyMap<string, SetSpec>;
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
  readonly leaf: Reuse<Leaf>;
  readonly branch: Reuse<Branch>;
  /** By its digest, which says all of its rules. */
  readonly chain: Reuse<Chain>;
}

const NEW_PARTS: DirectionParts = { leaf: makeAnew, branch: makeAnew, chain: makeAnew };

/** In whatever order the pods come. */
export function compileDirection(
  isolated: readonly IsolatedPod[],
  place: ChainPlace,
  parts = NEW_PARTS,
): DirectionPlan {
  const leaves = [...Map.groupBy(isolated, ({ chain }) => chain.digest)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([digest, pods]) => parts.leaf(digest, pods, () => compileLeaf(digest, pods, place, parts)));
  const tree = buildDispatch<Leaf, Branch>(leaves, (children) => {
    const content = children.map(({ digest }) => digest).join(" ");
    return parts.branch(content, children, () => compileBranch(content, children, place, parts));
  });
  const { root, nodes = [] } = tree ?? {};
  return {
    target: root && targetOf(root),
    chains: [...leaves, ...nodes.filter(({ kind }) => kind === "branch")].map(({ chain }) => chain),
    podSets: nodes.map(({ set }) => set),
    specs: new Map(leaves.flatMap(({ specs }) => Array.from(specs))),
    profiles: leaves.map(({ profile }) => profile),
  };
}

function targetOf({ chain, set }: Pods): DispatchTarget {
  return { chain: chain.name, set: set.name };
}

function compileLeaf(
  digest: string,
  pods: readonly IsolatedPod[],
  place: ChainPlace,
  parts: DirectionParts,
): Leaf {
  const { direction, family } = place;
  const rows = podsOf(digest, pods, place);
  const [first] = pods;
  const chain = parts.chain(digest, [], () => rows.chain(first?.chain.rules ?? []));
  return {
    kind: "leaf",
    digest,
    ips: rows.ips,
    chain,
    set: rows.set,
    specs: first?.chain.specs ?? new Map(),
    profile: {
      direction,
      family,
      chain: chain.name,
      set: rows.set.name,
      policies: unionOf(pods),
      pods: pods.map(({ key }) => key).sort(),
    },
  };
}

function compileBranch(
  content: string,
  children: readonly (Leaf | Branch)[],
  place: ChainPlace,
  parts: DirectionParts,
): Branch {
  const digest = contentDigest(content);
  const rows = podsOf(digest, children, place);
  const chain = parts.chain(digest, [], () => rows.chain(branchRules(children.map(targetOf), place)));
  return { kind: "branch", digest, ips: rows.ips, chain, set: rows.set };
}

function podsOf(
  digest: string,
  pods: readonly { readonly ips: readonly Ip[] }[],
  { direction, family, settings }: ChainPlace,
) {
  const names = policyNames(settings.prefix);
  const ips = pods.flatMap((each) => each.ips);
  return {
    ips,
    set: podSet(names.podSet(direction, family, digest), family, ips.length > 1 ? sortMembers(ips) : ips),
    chain: (rules: readonly Rule[]) => policyChain(names.podChain(direction, digest), family, rules),
  };
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

function branchRules(
  children: readonly DispatchTarget[],
  { direction, settings }: ChainPlace,
): readonly Rule[] {
  const { deny } = policyNames(settings.prefix);
  return [
    ...children.map(({ set, chain }) => [...matchSet(set, subjectSide(direction)), "-g", chain]),
    // A pod that is in the set of the branch and in none below: between two updates, or by somebody's hand.
    ["-g", deny[direction]],
  ];
}
