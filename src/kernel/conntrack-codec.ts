// Flows as the text of the conntrack tool, both ways; pure.
import { PROTOCOL_NUMBERS } from "../net/flow.ts";
import type { Flow, FlowTuple } from "../net/flow.ts";
import type { Family, Ip } from "../net/ip.ts";
import { familyOf, tryParseIp } from "../net/ip.ts";

const FAMILY_NAMES: Readonly<Record<Family, string>> = { 4: "ipv4", 6: "ipv6" };

export function listArguments(family: Family): readonly string[] {
  return ["-L", "-f", FAMILY_NAMES[family]];
}

/** `src=` of either direction: where the flow comes from, and where it ended up. */
const SOURCES = / src=(\S+) .* src=(\S+) /;

/** True if the line may be about one of the addresses; a table of a million lines must be cheap to skip. */
export function mentionsSource(line: string, addresses: ReadonlySet<string>): boolean {
  const [, original = "", answering = ""] = SOURCES.exec(line) ?? [];
  return addresses.has(original) || addresses.has(answering);
}

/**
 * Reads a line of `conntrack -L`, e.g.
 * `tcp 6 431999 ESTABLISHED src=10.0.0.1 dst=10.96.0.1 sport=4000 dport=80 src=10.0.0.9 dst=10.0.0.1 sport=8080 dport=4000 [ASSURED] mark=0 use=1`.
 * Undefined for anything else.
 */
export function parseFlow(line: string): Flow | undefined {
  const [, number, ...rest] = line.split(" ").filter(Boolean);
  const protocol = Number(number);
  if (!Number.isInteger(protocol)) return undefined;
  const directions: Map<string, string>[] = [];
  for (const token of rest) {
    const [key = "", value] = token.split("=", 2);
    if (value === undefined) continue;
    if (key === "src") directions.push(new Map());
    directions.at(-1)?.set(key, value);
  }
  const [original, reply] = directions.map(parseTuple);
  const [first, last] = [directions[0], directions.at(-1)];
  if (original === undefined || reply === undefined || !first || !last) return undefined;
  const [type, code, id, zone] = [first.get("type"), first.get("code"), first.get("id"), last.get("zone")];
  return {
    family: familyOf(original.src),
    protocol,
    original,
    reply,
    ...(type !== undefined && { icmp: { type: Number(type), code: Number(code), id: Number(id) } }),
    ...(zone !== undefined && { zone: Number(zone) }),
  };
}

function parseTuple(fields: ReadonlyMap<string, string>): FlowTuple | undefined {
  const [src, dst] = ["src", "dst"].map((key) => tryParseIp(fields.get(key) ?? "")) as [Ip?, Ip?];
  if (src === undefined || dst === undefined) return undefined;
  const [srcPort, dstPort] = [fields.get("sport"), fields.get("dport")];
  return {
    src,
    dst,
    ...(srcPort !== undefined && { srcPort: Number(srcPort) }),
    ...(dstPort !== undefined && { dstPort: Number(dstPort) }),
  };
}

const PROTOCOL_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => [number, name]),
);

/**
 * Arguments that delete this flow, and those that differ only in the port or the ICMP id of the end that began: no policy can
 * tell them apart. Undefined for a protocol that the tool cannot name by ports.
 */
export function deleteArguments({
  family,
  protocol,
  original,
  reply,
  icmp,
  zone,
}: Flow): readonly string[] | undefined {
  const name = PROTOCOL_NAMES.get(protocol);
  if (name === undefined) return undefined;
  const isIcmp = name.startsWith("icmp");
  if (isIcmp ? icmp === undefined : original.dstPort === undefined || reply.srcPort === undefined)
    return undefined;
  const ends = icmp
    ? [`--${name}-type`, icmp.type, `--${name}-code`, icmp.code]
    : ["--orig-port-dst", original.dstPort, "--reply-port-src", reply.srcPort];
  const addresses = ["-s", original.src, "-d", original.dst, "-r", reply.src];
  const zones = zone === undefined ? [] : ["-w", zone];
  return ["-D", "-f", FAMILY_NAMES[family], "-p", name, ...addresses, ...ends, ...zones].map(String);
}
