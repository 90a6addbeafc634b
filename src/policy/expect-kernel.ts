// What the kernel of this node must hold for the verdict on one pair of addresses to be true. Pure.
import type { IpsetRow } from "../host/ipset-state.ts";
import { hasMember } from "../host/member-list.ts";
import type { Chain, FirewallRow } from "../host/state.ts";
import { tryParseCidr, cidrContainsIp } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Ip } from "../net/ip.ts";
import type { CompiledPolicy } from "./compile.ts";
import type { ExplainedPair } from "./explain-report.ts";
import { policyNames } from "./names.ts";
import type { PolicySettings } from "./settings.ts";
import { DIRECTIONS } from "./snapshot.ts";
import type { Direction } from "./snapshot.ts";

export interface ExpectedMember {
  readonly set: string;
  /** As `ipset test` takes it: `10.0.0.1`, or `10.0.0.1,tcp:80`. */
  readonly member: string;
  readonly isIn: boolean;
  /** What it means, e.g. `known pods of this node`. */
  readonly meaning: string;
}

export interface KernelExpectation {
  readonly firewall: readonly FirewallRow[];
  readonly members: readonly ExpectedMember[];
  /** For people. */
  readonly facts: readonly string[];
}

export interface ExpectInput {
  readonly compiled: CompiledPolicy;
  readonly settings: PolicySettings;
  /** Addresses of this node's pods. */
  readonly localIps: ReadonlySet<string>;
  /** What this node's pods get their addresses from. */
  readonly podCidrs: readonly Cidr[];
}

/** Nothing is expected for a direction whose pod is on another node. */
export function expectInKernel(pair: ExplainedPair, input: ExpectInput): KernelExpectation {
  const parts = DIRECTIONS.filter((direction) => isEnforcedHere(pair, direction, input)).map((direction) =>
    expectDirection(pair, direction, input),
  );
  if (parts.length === 0) return { firewall: [], members: [], facts: [] };
  return {
    firewall: [...fixedRows(pair, input), ...parts.flatMap(({ firewall }) => firewall)],
    members: parts.flatMap(({ members }) => members),
    facts: parts.flatMap(({ facts }) => facts),
  };
}

/** Also a pod that is not known is closed here, if it is here. */
function isEnforcedHere(
  pair: ExplainedPair,
  direction: Direction,
  { localIps, podCidrs }: ExpectInput,
): boolean {
  const ip = subjectOf(pair, direction);
  const isUnknown = pair[direction].reason === "unknown-pod";
  return localIps.has(ip) || (isUnknown && podCidrs.some((cidr) => cidrContainsIp(cidr, ip)));
}

function subjectOf({ src, dst }: ExplainedPair, direction: Direction): Ip {
  return direction === "egress" ? src : dst;
}

/** What every packet of the family meets: the jumps of the built-in chains, and the chains that no pod has for itself. */
function fixedRows({ family }: ExplainedPair, { compiled, settings }: ExpectInput): readonly FirewallRow[] {
  const names = policyNames(settings.prefix);
  const fixed = new Set([
    names.forward,
    names.input,
    names.discovery,
    names.policy,
    names.deny.egress,
    names.deny.ingress,
  ]);
  return compiled.firewall.filter(
    (row) => row.family === family && (row.kind === "jump" || fixed.has(row.name)),
  );
}

function expectDirection(
  pair: ExplainedPair,
  direction: Direction,
  { compiled, settings }: ExpectInput,
): KernelExpectation {
  const { family } = pair;
  const names = policyNames(settings.prefix);
  const ip = subjectOf(pair, direction);
  const { reason, pod = ip } = pair[direction];
  const ofFamily = compiled.sets.filter((set) => set.family === family);
  const known = ofFamily.filter(({ name }) => name.startsWith(names.knownSet(family, "")));
  const podSets = ofFamily.filter(({ name }) => name.startsWith(names.podSet(direction, family, "")));
  const hasPod = podSets.filter(({ members }) => hasMember(members, ip));
  const profile = compiled.profiles.find(
    (one) =>
      one.family === family && one.direction === direction && hasPod.some(({ name }) => name === one.set),
  );
  // Chains and sets of pods have names that differ in their beginning only.
  const digestOf = ({ name }: IpsetRow): string => name.slice(names.podSet(direction, family, "").length);
  const chainNames = new Set(hasPod.map((set) => names.podChain(direction, digestOf(set))));
  const chains = compiled.firewall.filter(
    (row): row is Chain => row.kind === "chain" && row.family === family && chainNames.has(row.name),
  );
  const peer = direction === "egress" ? pair.dst : pair.src;
  const chain = chains.find(({ name }) => name === profile?.chain);
  const members = [
    ...known.map((set) => memberOf(set, ip, "the pods of this node that are known")),
    ...nearestSets(podSets, hasPod).map((set) => memberOf(set, ip, `pods isolated in ${direction}`)),
    ...(chain ? namedSets(chain, peer, pair, ofFamily) : []),
  ];
  const fact =
    profile !== undefined
      ? `${direction} of ${pod} (${ip}): chain ${profile.chain}, set ${profile.set}`
      : reason === "unknown-pod"
        ? `${direction} of ${ip}: in no set of known pods, so closed on ${settings.podInterfaces.join(", ")}`
        : `${direction} of ${pod} (${ip}): not isolated, in no set of isolated pods`;
  return { firewall: chains, members, facts: [fact] };
}

/** More sets than this of others are not asked whether the pod is in them by mistake. */
const MAX_OTHER_SETS = 16;

/** The pod's own sets, that of all isolated pods, which leads to them, and some of others. */
function nearestSets(podSets: readonly IpsetRow[], own: readonly IpsetRow[]): readonly IpsetRow[] {
  const root = podSets.slice(-1);
  return [...new Set([...own, ...root, ...podSets.slice(0, MAX_OTHER_SETS)])];
}

function memberOf(set: IpsetRow, member: string, meaning: string): ExpectedMember {
  return { set: set.name, member, isIn: holds(set, member), meaning };
}

/** Peers and named ports that the rules of a chain ask for. */
function namedSets(
  { rules }: Chain,
  peer: Ip,
  pair: ExplainedPair,
  sets: readonly IpsetRow[],
): readonly ExpectedMember[] {
  const [protocol = "", port] = pair.service.toLowerCase().split(" ");
  return rules.flatMap((rule) =>
    rule.flatMap((word, index): readonly ExpectedMember[] => {
      const set = word === "--match-set" ? sets.find(({ name }) => name === rule[index + 1]) : undefined;
      if (set === undefined) return [];
      if (set.type !== "hash:ip,port") return [memberOf(set, peer, "peers of a rule")];
      // Without a number there is nothing to ask.
      return /^\d+$/.test(port ?? "")
        ? [memberOf(set, `${pair.dst},${protocol}:${port}`, "named ports of a rule")]
        : [];
    }),
  );
}

/** As the kernel answers: an address is in a set of networks if one of them contains it. */
function holds({ type, members }: IpsetRow, member: string): boolean {
  if (hasMember(members, member)) return true;
  if (type !== "hash:net") return false;
  return [...members].some((text) => {
    const cidr = tryParseCidr(text);
    return cidr !== undefined && cidrContainsIp(cidr, member as Ip);
  });
}
