// Masquerade and forward rules, and the blackhole of the own subnet, as flannel has them; pure.
import { CHAIN_PREFIX } from "../host/ownership.ts";
import type { Chain, FirewallRow, FirewallTable, Jump, Route } from "../host/state.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Family } from "../net/ip.ts";

export interface TrafficRulesInput {
  readonly family: Family;
  /** The cluster network of the family. */
  readonly network: Cidr;
  /** The subnet of this node. */
  readonly subnet: Cidr;
  /** Masquerade what leaves the network (`--ip-masq`). */
  readonly ipMasq: boolean;
  /** Random source ports: iptables >= 1.6.2, and not switched off by `--ip-masq-fully-random-disable`. */
  readonly randomFully: boolean;
  /** Accept forwarded traffic of the network (`--iptables-forward-rules`). */
  readonly forwardRules: boolean;
  /** Begins the names of our chains. Default: flannel's. */
  readonly chainPrefix?: string;
}

const MASQUERADE_CHAIN = "POSTRTG";
const FORWARD_CHAIN = "FWD";
const MASQUERADE_COMMENT: readonly string[] = ["-m", "comment", "--comment", "flanneld masq"];
const FORWARD_COMMENT: readonly string[] = ["-m", "comment", "--comment", "flanneld forward"];
/** Mark on packets that kube-proxy masquerades itself; doing it twice breaks them (flannel #1279). */
const KUBE_PROXY_MARK = "0x4000/0x4000";
const MULTICAST: Readonly<Record<Family, string>> = { 4: "224.0.0.0/4", 6: "ff00::/8" };

/**
 * Chains, rules, comments and their order are those of flannel's pkg/trafficmngr/iptables, so that either daemon recognises
 * the other's rules on one host (reference: flannel 5.1). The jumps are appended, as flannel's are.
 */
export function planTrafficRules(input: TrafficRulesInput): readonly FirewallRow[] {
  const { family, chainPrefix = CHAIN_PREFIX } = input;
  const [masqueradeChain, forwardChain] = [chainPrefix + MASQUERADE_CHAIN, chainPrefix + FORWARD_CHAIN];
  const masquerade = input.ipMasq
    ? [
        chain(family, "nat", masqueradeChain, masqueradeRules(input)),
        jump(family, "nat", "POSTROUTING", [...MASQUERADE_COMMENT, "-j", masqueradeChain]),
      ]
    : [];
  const forward = input.forwardRules
    ? [
        chain(family, "filter", forwardChain, forwardRules(input)),
        jump(family, "filter", "FORWARD", [...FORWARD_COMMENT, "-j", forwardChain]),
      ]
    : [];
  return [...masquerade, ...forward];
}

function masqueradeRules({
  family,
  network,
  subnet,
  randomFully,
}: TrafficRulesInput): readonly (readonly string[])[] {
  const comment = MASQUERADE_COMMENT;
  const masquerade = ["-j", "MASQUERADE", ...(randomFully ? ["--random-fully"] : [])];
  return [
    ["-m", "mark", "--mark", KUBE_PROXY_MARK, ...comment, "-j", "RETURN"],
    // Between pods the source stays.
    ["-s", subnet, "-d", network, ...comment, "-j", "RETURN"],
    ["-s", network, "-d", subnet, ...comment, "-j", "RETURN"],
    // Who comes from outside to a pod of this node keeps its source.
    ["!", "-s", network, "-d", subnet, ...comment, "-j", "RETURN"],
    ["-s", network, "!", "-d", MULTICAST[family], ...comment, ...masquerade],
    // Who comes from outside to a pod of another node: the answer must come back this way.
    ["!", "-s", network, "-d", network, ...comment, ...masquerade],
  ];
}

function forwardRules({ network }: TrafficRulesInput): readonly (readonly string[])[] {
  return [
    ["-s", network, ...FORWARD_COMMENT, "-j", "ACCEPT"],
    ["-d", network, ...FORWARD_COMMENT, "-j", "ACCEPT"],
  ];
}

function chain(
  family: Family,
  table: FirewallTable,
  name: string,
  rules: readonly (readonly string[])[],
): Chain {
  return { kind: "chain", family, table, name, rules };
}

function jump(family: Family, table: FirewallTable, from: string, rule: readonly string[]): Jump {
  return { kind: "jump", family, table, from, position: "append", rule };
}

/** The last choice among routes of one prefix: the highest metric there is. */
const LAST_METRIC = 0xffff_ffff;

/**
 * Routes that drop what is sent to pods of this node that do not exist, instead of letting the default route send it back
 * to the router (`--ip-blackhole-route`). flannel's has the default metric, so it either is refused since the bridge has
 * its connected route already, or wins over that route and cuts the local pods off.
 */
export function planBlackhole(subnets: readonly Cidr[]): readonly Route[] {
  return subnets.map((dst) => ({ dst, type: "blackhole", onlink: false, metric: LAST_METRIC }));
}
