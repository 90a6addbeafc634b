// From a snapshot to the chains and sets of this node; the same snapshot always gives the same rows.
import type { IpsetRow } from "../host/ipset-state.ts";
import type { Chain, FirewallRow, Jump } from "../host/state.ts";
import type { Family, Ip } from "../net/ip.ts";
import { denyRules, discoveryRules, forwardRules, inputRules, policyRules } from "./chains.ts";
import type { ChainInput, Rule } from "./chains.ts";
import { indexCluster } from "./cluster-index.ts";
import type { ClusterIndex } from "./cluster-index.ts";
import { compileDirection } from "./compile-direction.ts";
import type { CompiledProfile, DirectionPlan } from "./compile-direction.ts";
import { contentDigest } from "./digest.ts";
import { policyNames } from "./names.ts";
import { ipsOfFamily, resolveSet, sortMembers } from "./resolve.ts";
import { setType } from "./sets.ts";
import type { SetSpec } from "./sets.ts";
import type { PolicySettings } from "./settings.ts";
import { DIRECTIONS } from "./snapshot.ts";
import type { PolicySnapshot } from "./snapshot.ts";

export interface CompiledPolicy {
  readonly firewall: readonly FirewallRow[];
  /**
   * In the order in which members may be added at any time without opening anything: peers and ports, then pods of chains,
   * of branches, of the whole direction, and last the known pods. Removing goes the other way. New sets and new members
   * come before the firewall changes, old ones go after it; names of chains and sets follow from their content, so that
   * the old rules never see a half of the new.
   */
  readonly sets: readonly IpsetRow[];
  /** Why the chains are there: for people. */
  readonly profiles: readonly CompiledProfile[];
  /** What each set of peers or ports is about, by its name: for people, and for updating members alone. */
  readonly specs: ReadonlyMap<string, SetSpec>;
}

/** Compiles for the node `snapshot.nodeName`; only policies that select pods of this node appear. */
export function compilePolicy(snapshot: PolicySnapshot, settings: PolicySettings): CompiledPolicy {
  const index = indexCluster(snapshot);
  const parts = settings.families.map((family) => compileFamily(index, settings, family));
  return {
    firewall: parts.flatMap(({ firewall }) => firewall),
    sets: parts.flatMap(({ sets }) => sets),
    profiles: parts.flatMap(({ profiles }) => profiles),
    specs: new Map(parts.flatMap(({ specs }) => Array.from(specs))),
  };
}

function compileFamily(index: ClusterIndex, settings: PolicySettings, family: Family): CompiledPolicy {
  const names = policyNames(settings.prefix);
  const egress = compileDirection(index, settings, family, "egress");
  const ingress = compileDirection(index, settings, family, "ingress");
  // The set of known pods is replaced along with what it relies on, and changes by members where that stays.
  const relies = [egress, ingress].map(({ target }) => target?.chain ?? "").join(" ");
  const knownSet = names.knownSet(family, contentDigest(relies));
  const input: ChainInput = { family, settings, names, knownSet };
  const specs = new Map([...egress.specs, ...ingress.specs]);
  return {
    firewall: compileFirewall(input, egress, ingress),
    sets: compileSets(input, index, specs, [...egress.podSets, ...ingress.podSets]),
    profiles: [...egress.profiles, ...ingress.profiles],
    specs,
  };
}

const COMMENT: Rule = ["-m", "comment", "--comment", "flanneld policy"];

function compileFirewall(
  input: ChainInput,
  egress: DirectionPlan,
  ingress: DirectionPlan,
): readonly FirewallRow[] {
  const { family, names, settings } = input;
  const chain = (name: string, rules: readonly Rule[]): Chain => ({
    kind: "chain",
    family,
    table: "filter",
    name,
    rules,
  });
  const jump = (from: string, to: string): Jump => ({
    kind: "jump",
    family,
    table: "filter",
    from,
    position: "first",
    rule: [...COMMENT, "-j", to],
  });
  const forward = [chain(names.forward, forwardRules(input)), jump("FORWARD", names.forward)];
  const own = [chain(names.input, inputRules(input)), jump("INPUT", names.input)];
  return [
    ...forward,
    ...(settings.podToNode === "policy" ? own : []),
    ...(family === 6 ? [chain(names.discovery, discoveryRules(input))] : []),
    chain(names.policy, policyRules(input, { egress: egress.target, ingress: ingress.target })),
    ...[...egress.chains, ...ingress.chains].map(({ name, rules }) => chain(name, rules)),
    chain(names.deny.egress, denyRules(input, "egress")),
    chain(names.deny.ingress, denyRules(input, "ingress")),
  ];
}

function compileSets(
  { family, names, settings, knownSet }: ChainInput,
  index: ClusterIndex,
  specs: ReadonlyMap<string, SetSpec>,
  podSets: readonly { readonly name: string; readonly ips: readonly Ip[] }[],
): readonly IpsetRow[] {
  const known = sortMembers(index.localPods.flatMap((pod) => ipsOfFamily(pod, family)));
  const row = (
    name: string,
    members: readonly string[],
    { type = "hash:ip", counters = false }: Partial<Pick<IpsetRow, "type" | "counters">> = {},
  ): IpsetRow => ({ kind: "set", name, type, family, members, counters });
  const denied = settings.countDenied
    ? DIRECTIONS.map((direction) => row(names.deniedSet(direction, family), known, { counters: true }))
    : [];
  return [
    ...Array.from(specs, ([name, spec]) => row(name, resolveSet(spec, index), { type: setType(spec) })),
    ...podSets.map(({ name, ips }) => row(name, sortMembers(ips))),
    ...denied,
    row(knownSet, known),
  ];
}
