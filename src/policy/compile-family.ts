// One family of a node: the firewall rows around both directions, and the rows of sets.
import type { IpsetRow } from "../host/ipset-state.ts";
import type { MemberList } from "../host/member-list.ts";
import type { Chain, FirewallRow, Jump } from "../host/state.ts";
import type { Family, Ip } from "../net/ip.ts";
import { denyRules, discoveryRules, forwardRules, inputRules, policyRules } from "./chains.ts";
import type { ChainInput, DispatchTarget, Rule } from "./chains.ts";
import { podSet, policyChain } from "./compile-direction.ts";
import type { CompiledProfile, DirectionPlan } from "./compile-direction.ts";
import type { NamedSpec } from "./compile-profile.ts";
import { contentDigest } from "./digest.ts";
import { policyNames } from "./names.ts";
import { sortUnique } from "./resolve.ts";
import { keepSame } from "./reuse.ts";
import type { Make } from "./reuse.ts";
import { setType } from "./sets.ts";
import type { SetSpec } from "./sets.ts";
import type { PolicySettings } from "./settings.ts";
import { DIRECTIONS } from "./snapshot.ts";
import type { Direction } from "./snapshot.ts";

/** What is compiled of a family apart from the members of its sets of peers and ports. */
export interface FamilyPlan {
  readonly firewall: readonly FirewallRow[];
  /** Sets of peers and ports, once each, sorted by name. */
  readonly specs: readonly NamedSpec[];
  /** Sets of this node's pods, in the order in which members may be added. */
  readonly podSets: readonly IpsetRow[];
  readonly profiles: readonly CompiledProfile[];
}

/** Rows that are there whatever pods are isolated: before and after the chains of these. */
interface FixedRows {
  readonly knownSet: string;
  readonly before: readonly FirewallRow[];
  readonly after: readonly FirewallRow[];
}

/** How the parts of a family are made; whoever compiles it again and again wraps these to remember (reuse.ts). */
export interface FamilyMakers {
  /** Of the targets of egress and ingress. */
  readonly fixed: Make<DispatchTarget | undefined, FixedRows>;
  readonly specs: Make<readonly NamedSpec[], readonly NamedSpec[]>;
  /** The key is the name, the parts are the members. */
  readonly knownSet: Make<string, IpsetRow>;
  readonly deniedSet: Make<string, IpsetRow>;
}

export function familyMakers(settings: PolicySettings, family: Family): FamilyMakers {
  const names = policyNames(settings.prefix);
  return {
    fixed: (_, [egress, ingress], last) => {
      // The set of known pods is replaced along with what it relies on, and changes by members where that stays.
      const relies = [egress, ingress].map((target) => target?.chain ?? "").join(" ");
      const knownSet = names.knownSet(family, contentDigest(relies));
      const rows = compileFixed({ family, settings, names, knownSet }, egress, ingress);
      // The settings say how many rows there are.
      return {
        knownSet,
        before: rows.before.map((row, index) => keepSame(last?.before[index], row)),
        after: rows.after.map((row, index) => keepSame(last?.after[index], row)),
      };
    },
    specs: (_, specs, before) => sortSpecs(specs, before),
    knownSet: (name, members) => podSet(name, family, members),
    deniedSet: (name, members) => podSet(name, family, members, true),
  };
}

/** `known`: the addresses of the family that pods of this node have. */
export function compileFamily(
  { settings, family }: { readonly settings: PolicySettings; readonly family: Family },
  { egress, ingress }: Readonly<Record<Direction, DirectionPlan>>,
  known: readonly Ip[],
  makers: FamilyMakers,
): FamilyPlan {
  const { deniedSet } = policyNames(settings.prefix);
  const fixed = makers.fixed("fixed", [egress.target, ingress.target]);
  const members = sortUnique([...known]);
  const denied = settings.countDenied
    ? DIRECTIONS.map((direction) => makers.deniedSet(deniedSet(direction, family), members))
    : [];
  return {
    // Not spread: that is a small object for each of hundreds of rows, at each event.
    firewall: fixed.before.concat(egress.chains, ingress.chains, fixed.after),
    specs: makers.specs("specs", egress.specs.concat(ingress.specs)),
    podSets: egress.podSets.concat(ingress.podSets, denied, makers.knownSet(fixed.knownSet, members)),
    profiles: egress.profiles.concat(ingress.profiles),
  };
}

/** `before` if it has the same names. */
function sortSpecs(
  chains: readonly (readonly NamedSpec[])[],
  before?: readonly NamedSpec[],
): readonly NamedSpec[] {
  const all = new Map<string, NamedSpec>();
  for (const specs of chains) for (const named of specs) all.set(named.name, named);
  if (before?.length === all.size && before.every(({ name }) => all.has(name))) return before;
  return [...all.keys()].sort().flatMap((name) => all.get(name) ?? []);
}

/** The row of a set of peers or ports. `members` are sorted and unique. */
export function compileSet(name: string, spec: SetSpec, members: MemberList): IpsetRow {
  return { kind: "set", name, type: setType(spec), family: spec.family, members, counters: false };
}

const COMMENT: Rule = ["-m", "comment", "--comment", "flanneld policy"];

function compileFixed(
  input: ChainInput,
  egress: DispatchTarget | undefined,
  ingress: DispatchTarget | undefined,
): Omit<FixedRows, "knownSet"> {
  const { family, names, settings } = input;
  const chain = (name: string, rules: readonly Rule[]): Chain => policyChain(name, family, rules);
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
  return {
    before: [
      ...forward,
      ...(settings.podToNode === "policy" ? own : []),
      ...(family === 6 ? [chain(names.discovery, discoveryRules(input))] : []),
      chain(names.policy, policyRules(input, { egress, ingress })),
    ],
    after: [
      chain(names.deny.egress, denyRules(input, "egress")),
      chain(names.deny.ingress, denyRules(input, "ingress")),
    ],
  };
}
