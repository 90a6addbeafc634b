// One direction of one family: which pods are isolated alike, their shared chains, and the tree that leads to them.
import type { Family, Ip } from "../net/ip.ts";
import { isolatedRules, matchSet, subjectSide } from "./chains.ts";
import type { DispatchTarget, Rule } from "./chains.ts";
import type { AddressedPod, ClusterIndex } from "./cluster-index.ts";
import { contentDigest } from "./digest.ts";
import { buildDispatch, nodesBottomUp } from "./dispatch.ts";
import { policyNames } from "./names.ts";
import type { PolicyNames } from "./names.ts";
import { portArguments } from "./port-match.ts";
import { mergeAllowances } from "./profile.ts";
import type { Allowance } from "./profile.ts";
import { ipsOfFamily } from "./resolve.ts";
import { selects } from "./selector.ts";
import { formatSetSpec } from "./sets.ts";
import type { SetSpec } from "./sets.ts";
import type { PolicySettings } from "./settings.ts";
import { objectKey } from "./snapshot.ts";
import type { Direction, Policy } from "./snapshot.ts";

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

/** A chain that will be, with the pods that it is for. */
interface Profile {
  readonly digest: string;
  readonly rules: readonly Rule[];
  readonly pods: AddressedPod[];
  readonly policies: Set<string>;
}

export function compileDirection(
  index: ClusterIndex,
  settings: PolicySettings,
  family: Family,
  direction: Direction,
): DirectionPlan {
  const names = policyNames(settings.prefix);
  const writer: RuleWriter = { names, settings, family, direction, specs: new Map() };
  const profiles = profilesOf(index, writer);
  const root = buildDispatch(
    profiles.map(({ digest, pods }) => ({
      kind: "leaf",
      digest,
      ips: pods.flatMap((pod) => ipsOfFamily(pod, family)),
    })),
  );
  const targetOf = ({ digest }: { readonly digest: string }): DispatchTarget => ({
    chain: names.podChain(direction, digest),
    set: names.podSet(direction, family, digest),
  });
  const nodes = root ? nodesBottomUp(root) : [];
  const branches = nodes.flatMap((node) =>
    node.kind === "leaf"
      ? []
      : { name: targetOf(node).chain, rules: branchRules(node.children.map(targetOf), direction, names) },
  );
  return {
    target: root && targetOf(root),
    chains: [
      ...profiles.map((profile) => ({ name: targetOf(profile).chain, rules: profile.rules })),
      ...branches,
    ],
    podSets: nodes.map((node) => ({ name: targetOf(node).set, ips: node.ips })),
    specs: writer.specs,
    profiles: profiles.map((profile) => ({
      direction,
      family,
      chain: targetOf(profile).chain,
      set: targetOf(profile).set,
      policies: [...profile.policies].sort(),
      pods: profile.pods.map(({ pod }) => objectKey(pod)).sort(),
    })),
  };
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

/** Isolated pods of this node by what they may do, sorted by digest. */
function profilesOf(index: ClusterIndex, writer: RuleWriter): readonly Profile[] {
  const { direction, family } = writer;
  const profiles = new Map<string, Profile>();
  const bySelection = new Map<string, Pick<Profile, "digest" | "rules">>();
  for (const pod of index.localPods) {
    if (ipsOfFamily(pod, family).length === 0) continue;
    const policies = isolatingPolicies(index, pod, direction);
    if (policies.length === 0) continue;
    const selection = policies.map(objectKey).sort().join(" ");
    const written = bySelection.get(selection) ?? writeProfile(policies, writer);
    bySelection.set(selection, written);
    const profile = profiles.get(written.digest) ?? { ...written, pods: [], policies: new Set() };
    profile.pods.push(pod);
    for (const policy of policies) profile.policies.add(objectKey(policy));
    profiles.set(written.digest, profile);
  }
  return [...profiles.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1));
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

/** What is needed to write rules; `specs` collects the sets that they name. */
interface RuleWriter {
  readonly names: PolicyNames;
  readonly settings: PolicySettings;
  readonly family: Family;
  readonly direction: Direction;
  readonly specs: Map<string, SetSpec>;
}

function writeProfile(policies: readonly Policy[], writer: RuleWriter): Pick<Profile, "digest" | "rules"> {
  const { names, direction, family } = writer;
  const allowances = mergeAllowances(policies, direction, family);
  const isOpen = allowances.some(({ ports, peers }) => ports.kind === "any" && peers === undefined);
  const rules = [
    ...isolatedRules(writer),
    ...allowances.flatMap((allowance) => allowanceRules(allowance, writer)),
    ...(isOpen ? [] : [["-g", names.deny[direction]]]),
  ];
  return { rules, digest: contentDigest(`${direction} ${family} ${JSON.stringify(rules)}`) };
}

function allowanceRules({ ports, peers }: Allowance, writer: RuleWriter): readonly Rule[] {
  const { family, direction } = writer;
  const peerSide = direction === "ingress" ? "src" : "dst";
  const peerMatch = peers ? matchSet(nameSet({ kind: "peers", family, peers }, writer), peerSide) : [];
  switch (ports.kind) {
    case "any":
      return [[...peerMatch, "-j", "RETURN"]];
    case "numbers": {
      const protocol = ["-p", ports.protocol.toLowerCase()];
      return portArguments(ports.protocol, ports.ranges).map((numbers) =>
        protocol.concat(peerMatch, numbers, ["-j", "RETURN"]),
      );
    }
    case "named": {
      // The name is the destination's own: its address and number are one member.
      const scope = direction === "ingress" ? "local" : "cluster";
      const set = nameSet({ kind: "named-ports", family, scope, names: ports.names }, writer);
      return [[...peerMatch, ...matchSet(set, "dst,dst"), "-j", "RETURN"]];
    }
  }
}

function nameSet(spec: SetSpec, { names, family, specs }: RuleWriter): string {
  const digest = contentDigest(`${family} ${spec.kind} ${formatSetSpec(spec)}`);
  const name = spec.kind === "peers" ? names.peerSet(family, digest) : names.portSet(family, digest);
  specs.set(name, spec);
  return name;
}
