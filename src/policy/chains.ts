// Rules of the fixed chains: what passes before policies are asked, who is unknown, how denied packets end.
import type { Family } from "../net/ip.ts";
import type { PolicyNames } from "./names.ts";
import { ECHO_REQUEST, NEIGHBOR_DISCOVERY_TYPES } from "./packet.ts";
import type { PolicySettings } from "./settings.ts";
import type { Direction } from "./snapshot.ts";

/** Arguments of one iptables rule, in the spelling and order of iptables-save. */
export type Rule = readonly string[];

export interface ChainInput {
  readonly family: Family;
  readonly settings: PolicySettings;
  readonly names: PolicyNames;
  /** Name of the set of known pods. */
  readonly knownSet: string;
}

const SIDE: Readonly<Record<Direction, "src" | "dst">> = { ingress: "dst", egress: "src" };

/** The end of a packet that a direction's policies are about, as the set match names it. */
export function subjectSide(direction: Direction): "src" | "dst" {
  return SIDE[direction];
}

export function matchSet(name: string, side: string): Rule {
  return ["-m", "set", "--match-set", name, side];
}

const KNOWN_CONNECTION: Rule = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "RETURN"];
export const DROP_INVALID: Rule = ["-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"];

/** What returns to FORWARD is not accepted by us but passes on, so that others' rules still apply. */
export function forwardRules({ family, names }: ChainInput): readonly Rule[] {
  return [KNOWN_CONNECTION, ...toPolicy(family, names)];
}

/** The node's own broadcasts come back to it by the bridge that they left by. */
export function inputRules({ family, names, settings }: ChainInput): readonly Rule[] {
  const own = settings.podInterfaces.map((name) => [
    "-i",
    name,
    "-m",
    "addrtype",
    "--src-type",
    "LOCAL",
    "-j",
    "RETURN",
  ]);
  return [KNOWN_CONNECTION, ...own, ...toPolicy(family, names)];
}

function toPolicy(family: Family, names: PolicyNames): readonly Rule[] {
  const discovery = family === 6 ? [["-p", "ipv6-icmp", "-g", names.discovery]] : [];
  return [...discovery, ["-g", names.policy]];
}

/** Also link-local addresses must get through here, which are no pod's. */
export function discoveryRules({ names }: ChainInput): readonly Rule[] {
  return [...NEIGHBOR_DISCOVERY_TYPES.map((type) => icmpRule(6, type)), ["-g", names.policy]];
}

function icmpRule(family: Family, type: number): Rule {
  return family === 4
    ? ["-p", "icmp", "-m", "icmp", "--icmp-type", String(type), "-j", "RETURN"]
    : ["-p", "ipv6-icmp", "-m", "icmp6", "--icmpv6-type", String(type), "-j", "RETURN"];
}

/** First rules of the chain of isolated pods. */
export function isolatedRules({
  family,
  settings,
}: Pick<ChainInput, "family" | "settings">): readonly Rule[] {
  return settings.icmp === "allow-echo"
    ? [DROP_INVALID, icmpRule(family, ECHO_REQUEST[family])]
    : [DROP_INVALID];
}

const GROUPS: Readonly<Record<Family, readonly string[]>> = {
  4: ["224.0.0.0/4", "255.255.255.255/32"],
  6: ["ff00::/8"],
};

/** Chain and set of the isolated pods of a direction. */
export interface DispatchTarget {
  readonly chain: string;
  readonly set: string;
}

/**
 * Egress, then ingress; each chain returns what it allows. Who is on a bridge of ours and is not known is closed: a pod
 * that was not announced yet, a forged address. One packet to a group would also reach isolated pods, whose policies
 * cannot be about it, so groups are open only where no pod is isolated.
 */
export function policyRules(
  input: ChainInput,
  targets: Readonly<Record<Direction, DispatchTarget | undefined>>,
): readonly Rule[] {
  const { family, names, settings, knownSet } = input;
  const { podInterfaces } = settings;
  const dispatch = (direction: Direction): readonly Rule[] => {
    const target = targets[direction];
    return target ? [[...matchSet(target.set, subjectSide(direction)), "-j", target.chain]] : [];
  };
  const unknown = (direction: Direction, option: string): readonly Rule[] =>
    podInterfaces.map((name) => [
      option, name, "-m", "set", "!", "--match-set", knownSet, subjectSide(direction), "-g", names.deny[direction],
    ]); // prettier-ignore
  const groups = targets.ingress
    ? []
    : podInterfaces.flatMap((name) =>
        GROUPS[family].map((group) => ["-d", group, "-o", name, "-j", "RETURN"]),
      );
  return [
    ...dispatch("egress"),
    ...unknown("egress", "-i"),
    ...dispatch("ingress"),
    ...groups,
    ...unknown("ingress", "-o"),
  ];
}

/** Classic BPF over the IP header: load source, compare with destination (man iptables-extensions, bpf). */
const SAME_ENDS: Readonly<Record<Family, string>> = {
  4: program([[12, 16]]),
  6: program([[8, 24], [12, 28], [16, 32], [20, 36]]), // prettier-ignore
};

/** Accepts if the 32-bit words at all pairs of offsets are equal. */
function program(pairs: readonly (readonly [number, number])[]): string {
  const compare = pairs.flatMap(([a, b], index) => {
    const toReject = (pairs.length - index - 1) * 4 + 1;
    return [`32 0 0 ${a}`, "7 0 0 0", `32 0 0 ${b}`, `29 0 ${toReject} 0`];
  });
  const code = [...compare, "6 0 0 65535", "6 0 0 0"];
  return `${code.length},${code.join(",")}`;
}

const LOG_RATE: Rule = ["-m", "limit", "--limit", "10/sec", "--limit-burst", "50"];

/** Only packets that would be denied pay for the question whether a pod talks to itself. */
export function denyRules(
  { family, settings, names, knownSet }: ChainInput,
  direction: Direction,
): readonly Rule[] {
  const rules: Rule[] = [];
  if (settings.hairpin === "allow")
    rules.push([...matchSet(knownSet, "src"), "-m", "bpf", "--bytecode", SAME_ENDS[family], "-j", "RETURN"]);
  // A rule without a target: the member that matches is counted.
  if (settings.countDenied) rules.push(matchSet(names.deniedSet(direction, family), subjectSide(direction)));
  if (settings.logGroup !== undefined)
    rules.push([
      ...LOG_RATE, "-j", "NFLOG", "--nflog-prefix", names.deny[direction], "--nflog-group", String(settings.logGroup),
    ]); // prettier-ignore
  return [...rules, ...endRules(family, settings)];
}

/**
 * A TCP reset refuses at once. It would be lost to clients of a service: for what came over a bridge the kernel sends it past
 * NAT, from an address that the client never called (nf_reject_ipv4.c, nf_send_reset). Port unreachable is translated,
 * but a client on this node is still busy sending when it comes, and hears only the second, after a second.
 */
function endRules(family: Family, { denyWith }: PolicySettings): readonly Rule[] {
  if (denyWith === "drop") return [["-j", "DROP"]];
  const unreachable = family === 4 ? "icmp-port-unreachable" : "icmp6-port-unreachable";
  return [
    ["-p", "tcp", "-m", "conntrack", "!", "--ctstate", "DNAT", "-j", "REJECT", "--reject-with", "tcp-reset"],
    ["-j", "REJECT", "--reject-with", unreachable],
  ];
}
