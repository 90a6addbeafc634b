// Runs compiled policy on one packet, as the kernel would: chains, gotos, sets. Throws at anything that a kernel would refuse.
import type { IpsetRow } from "../../src/host/ipset-state.ts";
import type { Chain, FirewallRow } from "../../src/host/state.ts";
import { cidrContainsIp, parseCidr } from "../../src/net/cidr.ts";
import type { Cidr } from "../../src/net/cidr.ts";
import { familyOf, parseIp } from "../../src/net/ip.ts";
import type { Family, Ip } from "../../src/net/ip.ts";
import type { Packet } from "../../src/policy/packet.ts";
import { readBpf, runBpf } from "./classic-bpf.ts";

/** A packet at one hook of one node. */
export interface HookPacket extends Packet {
  readonly hook: "FORWARD" | "INPUT" | "OUTPUT";
  readonly inDevice: string;
  readonly outDevice: string;
  /** The source is an address of the node that the packet is on. */
  readonly srcIsLocal: boolean;
}

export interface Outcome {
  /** `pass`: our rules leave the packet to whatever comes after them. */
  readonly verdict: "pass" | "drop";
  /** Rules that were looked at: the cost of the packet. */
  readonly rulesVisited: number;
  /** Set members that a rule without a target counted, as `SET MEMBER`. */
  readonly counted: readonly string[];
}

export interface Interpreter {
  readonly run: (packet: HookPacket) => Outcome;
}

interface LoadedSet {
  readonly row: IpsetRow;
  readonly exact: ReadonlySet<string>;
  /** Prefixes of a hash:net set by containment. */
  readonly contains: (ip: Ip) => boolean;
}

const MAX_CHAIN_NAME = 28;
const MAX_SET_NAME = 31;
const MAX_DEPTH = 16;
const BUILT_IN = new Set(["FORWARD", "INPUT", "OUTPUT"]);

export function createInterpreter(compiled: {
  readonly firewall: readonly FirewallRow[];
  readonly sets: readonly IpsetRow[];
}): Interpreter {
  const sets = loadSets(compiled.sets);
  const readRules: ReadRules = new Map();
  const families = new Map<Family, Map<string, readonly (readonly string[])[]>>();
  for (const family of [4, 6] as const) {
    const rows = compiled.firewall.filter((row) => row.family === family);
    const chains = new Map<string, readonly (readonly string[])[]>([...BUILT_IN].map((name) => [name, []]));
    for (const row of rows.filter((row): row is Chain => row.kind === "chain")) {
      check(row.name.length <= MAX_CHAIN_NAME, `chain name ${row.name} is too long`);
      check(!chains.has(row.name), `chain ${row.name} is there twice`);
      chains.set(row.name, row.rules);
    }
    for (const row of rows) {
      if (row.kind !== "jump") continue;
      check(row.position === "first" && BUILT_IN.has(row.from), `jump from ${row.from} has no place`);
      chains.set(row.from, [row.rule, ...(chains.get(row.from) ?? [])]);
    }
    for (const [name, rules] of chains)
      for (const rule of rules) checkRule(name, rule, family, chains, sets, readRules);
    families.set(family, chains);
  }
  return { run: (packet) => runPacket(packet, families.get(familyOf(packet.dst)) ?? new Map(), readRules) };
}

/** Remembered: the same few addresses are asked for over and over, and IPv6 is slow to read. */
const answers = new Map<Cidr, Map<Ip, boolean>>();

function contains(cidr: Cidr, ip: Ip): boolean {
  let known = answers.get(cidr);
  if (known === undefined) answers.set(cidr, (known = new Map<Ip, boolean>()));
  const answer = known.get(ip) ?? cidrContainsIp(cidr, ip);
  known.set(ip, answer);
  return answer;
}

function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

function loadSets(rows: readonly IpsetRow[]): ReadonlyMap<string, LoadedSet> {
  const sets = new Map<string, LoadedSet>();
  for (const row of rows) {
    check(row.name.length <= MAX_SET_NAME, `set name ${row.name} is too long`);
    check(!sets.has(row.name), `set ${row.name} is there twice`);
    const members = [...row.members];
    check(new Set(members).size === row.members.length, `set ${row.name} has a member twice`);
    check(
      members.every((member, i) => i === 0 || (members[i - 1] ?? "") < member),
      `set ${row.name} is unsorted`,
    );
    for (const member of members) checkMember(row, member);
    const prefixes = members.filter((member) => member.includes("/")).map(parseCidr);
    const exact = new Set(members);
    sets.set(row.name, {
      row,
      exact,
      contains: (ip) => exact.has(ip) || prefixes.some((prefix) => contains(prefix, ip)),
    });
  }
  return sets;
}

function checkMember({ name, type, family }: IpsetRow, member: string): void {
  const where = `member ${member} of ${name}`;
  const [address = "", port] = member.split(",");
  check((type === "hash:ip,port") === (port !== undefined), `${where} does not fit ${type}`);
  if (port !== undefined) check(/^(tcp|udp|sctp):[1-9]\d*$/.test(port), `${where} has no port`);
  if (address.includes("/")) {
    check(type === "hash:net", `${where} is a prefix`);
    check(
      parseCidr(address) === address && !address.endsWith("/0"),
      `${where} is not a prefix that ipset takes`,
    );
    check(!address.endsWith("/32") || family === 6, `${where} is spelled unlike ipset`);
  } else check(parseIp(address) === address, `${where} is not canonical`);
  check(familyOf(parseIp(address.split("/")[0] ?? "")) === family, `${where} is of the other family`);
}

/** Every match of a rule, read; `match` says whether the packet passes it. */
interface ReadRule {
  readonly matches: readonly { readonly negated: boolean; readonly test: (packet: HookPacket) => boolean }[];
  readonly countedSets: readonly (readonly [set: LoadedSet, side: string])[];
  readonly verb: "-j" | "-g" | undefined;
  readonly target: string;
}

const TARGETS = new Set(["RETURN", "DROP", "REJECT", "NFLOG"]);

/** Rules as one interpreter has read them: the same rule means other members in another. */
type ReadRules = Map<readonly string[], ReadRule>;

function checkRule(
  chain: string,
  rule: readonly string[],
  family: Family,
  chains: ReadonlyMap<string, unknown>,
  sets: ReadonlyMap<string, LoadedSet>,
  readRules: ReadRules,
): void {
  const read = readRule(rule, family, sets);
  readRules.set(rule, read);
  const where = `rule "${rule.join(" ")}" of ${chain}`;
  if (read.verb === "-g") check(!BUILT_IN.has(chain), `${where} goes from a built-in chain`);
  check(
    read.verb === undefined || TARGETS.has(read.target) || chains.has(read.target),
    `${where} leads nowhere`,
  );
}

const PROTOCOLS: Readonly<Record<string, Packet["protocol"]>> = {
  tcp: "TCP", udp: "UDP", sctp: "SCTP", icmp: "ICMP", "ipv6-icmp": "ICMP",
}; // prettier-ignore

type Test = (packet: HookPacket) => boolean;

/** A rule while it is read. */
interface Reading {
  readonly family: Family;
  readonly sets: ReadonlyMap<string, LoadedSet>;
  /** The next token. */
  readonly next: () => string;
  readonly modules: Set<string>;
  readonly countedSets: (readonly [set: LoadedSet, side: string])[];
  protocol: string;
}

/** Every option with which the compiler may ask something of a packet; others are refused. */
const OPTIONS: Readonly<Record<string, (reading: Reading, option: string) => Test>> = {
  "-i": ({ next }) => {
    const name = next();
    return ({ inDevice }) => deviceMatches(name, inDevice);
  },
  "-o": ({ next }) => {
    const name = next();
    return ({ outDevice }) => deviceMatches(name, outDevice);
  },
  "-d": ({ next }) => {
    const cidr = parseCidr(next());
    return ({ dst }) => contains(cidr, dst);
  },
  "-p": readProtocol,
  "--ctstate": ({ next, modules }) => {
    check(modules.has("conntrack"), "--ctstate without conntrack");
    const states = next().toLowerCase().split(",");
    return ({ state }) => states.includes(state);
  },
  "--match-set": readMatchSet,
  "--dport": readPorts,
  "--dports": readPorts,
  "--icmp-type": readIcmpType,
  "--icmpv6-type": readIcmpType,
  "--src-type": ({ next, modules }) => {
    check(modules.has("addrtype") && next() === "LOCAL", "only LOCAL is known");
    return ({ srcIsLocal }) => srcIsLocal;
  },
  "--bytecode": ({ next, modules }) => {
    check(modules.has("bpf"), "--bytecode without bpf");
    const program = readBpf(next());
    return (packet) => runBpf(program, packet);
  },
};

/** Options that say nothing about a packet. */
const SILENT = new Set([
  "--comment", "--limit", "--limit-burst", "--nflog-prefix", "--nflog-group", "--reject-with",
]); // prettier-ignore

function readProtocol(reading: Reading): Test {
  const name = reading.next();
  const wanted = PROTOCOLS[name];
  check(wanted !== undefined, `protocol ${name} is not known`);
  check(name !== "icmp" || reading.family === 4, "icmp in ip6tables");
  check(name !== "ipv6-icmp" || reading.family === 6, "ipv6-icmp in iptables");
  reading.protocol = name;
  return ({ protocol }) => protocol === wanted;
}

function readMatchSet({ next, modules, sets, family, countedSets }: Reading): Test {
  check(modules.has("set"), "--match-set without set");
  const name = next();
  const set = sets.get(name);
  check(set !== undefined, `there is no set ${name}`);
  check(set.row.family === family, `set ${name} is of the other family`);
  const sides = next();
  check(sides.split(",").length === set.row.type.split(",").length, `${sides} does not fit ${set.row.type}`);
  if (set.row.counters) countedSets.push([set, sides]);
  return (packet) => setMatches(set, sides, packet);
}

function readPorts({ next, modules, protocol }: Reading, option: string): Test {
  check(modules.has(option === "--dport" ? protocol : "multiport"), `${option} without its match`);
  check(["tcp", "udp", "sctp"].includes(protocol), `${option} without a protocol`);
  const ranges = next().split(",").map((text) => text.split(":").map(Number)); // prettier-ignore
  check(
    ranges.flat().length <= (option === "--dport" ? 2 : 15),
    `${ranges.flat().length} values in one rule`,
  );
  return ({ port = -1 }) => ranges.some(([from = 0, to = from]) => from <= port && port <= to);
}

function readIcmpType({ next, modules }: Reading, option: string): Test {
  check(modules.has(option === "--icmp-type" ? "icmp" : "icmp6"), `${option} without its match`);
  const type = Number(next());
  return ({ icmpType }) => icmpType === type;
}

function readRule(rule: readonly string[], family: Family, sets: ReadonlyMap<string, LoadedSet>): ReadRule {
  const matches: { negated: boolean; test: Test }[] = [];
  let at = 0;
  const next = (): string => {
    const token = rule[at];
    check(token !== undefined, `rule "${rule.join(" ")}" ends too early`);
    at += 1;
    return token;
  };
  const reading: Reading = { family, sets, next, modules: new Set(), countedSets: [], protocol: "" };
  let jump: Pick<ReadRule, "verb" | "target"> = { verb: undefined, target: "" };
  while (at < rule.length) {
    const first = next();
    const negated = first === "!";
    const token = negated ? next() : first;
    const option = OPTIONS[token];
    if (option) matches.push({ negated, test: option(reading, token) });
    else if (token === "-m") reading.modules.add(next());
    else if (token === "-j" || token === "-g") jump = { verb: token, target: next() };
    else {
      check(SILENT.has(token), `option ${token} in "${rule.join(" ")}" is not known`);
      next();
    }
  }
  return { matches, countedSets: reading.countedSets, ...jump };
}

function deviceMatches(name: string, device: string): boolean {
  return name.endsWith("+") ? device.startsWith(name.slice(0, -1)) : name === device;
}

function setMatches({ row, exact, contains }: LoadedSet, sides: string, packet: HookPacket): boolean {
  const address = sides.split(",")[0] === "src" ? packet.src : packet.dst;
  if (row.type !== "hash:ip,port") return row.type === "hash:ip" ? exact.has(address) : contains(address);
  check(sides === "dst,dst", `sides ${sides}`);
  return packet.port !== undefined && exact.has(`${address},${packet.protocol.toLowerCase()}:${packet.port}`);
}

function runPacket(
  packet: HookPacket,
  chains: ReadonlyMap<string, readonly (readonly string[])[]>,
  readRules: ReadRules,
): Outcome {
  let rulesVisited = 0;
  const counted: string[] = [];
  const walk = (start: string, depth: number): "return" | "drop" => {
    check(depth <= MAX_DEPTH, `chains are nested ${depth} deep`);
    let rules = chains.get(start) ?? [];
    for (let at = 0; at < rules.length; at += 1) {
      const rule = rules[at] ?? [];
      rulesVisited += 1;
      check(rulesVisited < 10_000, "chains go round in circles");
      const read = readRules.get(rule);
      check(read !== undefined, "a rule was not read");
      if (!read.matches.every(({ negated, test }) => test(packet) !== negated)) continue;
      for (const [set, sides] of read.countedSets)
        counted.push(`${set.row.name} ${sides === "src" ? packet.src : packet.dst}`);
      if (read.verb === undefined || read.target === "NFLOG") continue;
      if (read.target === "DROP" || read.target === "REJECT") return "drop";
      if (read.target === "RETURN") return "return";
      if (read.verb === "-j") {
        if (walk(read.target, depth + 1) === "drop") return "drop";
      } else {
        rules = chains.get(read.target) ?? [];
        at = -1;
      }
    }
    return "return";
  };
  const verdict = walk(packet.hook, 1) === "drop" ? "drop" : "pass";
  return { verdict, rulesVisited, counted };
}
