// What one address may ask of another over all protocols and ports: nothing, everything, or which. Pure.
import type { Ip } from "../net/ip.ts";
import { familyOf } from "../net/ip.ts";
import type { PacketVerdict } from "./evaluate.ts";
import type { Reachability } from "./explain-report.ts";
import { ECHO_REQUEST } from "./packet.ts";
import type { Packet } from "./packet.ts";
import { mergeRanges } from "./port-match.ts";
import type { PortRange } from "./port-match.ts";
import { objectKey, POLICY_PROTOCOLS } from "./snapshot.ts";
import type { Policy, PolicyProtocol } from "./snapshot.ts";

export interface ReachInput {
  readonly evaluate: (packet: Packet) => PacketVerdict;
  /** By `namespace/name`. */
  readonly policies: ReadonlyMap<string, Policy>;
  /** Ports that the destination declares under names. */
  readonly namedPorts: readonly { readonly protocol: PolicyProtocol; readonly port: number }[];
}

export interface Reach {
  readonly reachability: Reachability;
  /** Of a packet of a protocol without ports: what no rule for ports can accept. */
  readonly verdict: PacketVerdict;
  /** Where it is `partly`: what is allowed, e.g. `ping`, `TCP 80, 443`. */
  readonly open: readonly string[];
}

const LAST_PORT = 65_535;

/** A packet that begins a connection. */
export function newPacket(src: Ip, dst: Ip, rest: Pick<Packet, "protocol" | "port" | "icmpType">): Packet {
  return { src, dst, state: "new", ...rest };
}

export function echoPacket(src: Ip, dst: Ip): Packet {
  return newPacket(src, dst, { protocol: "ICMP", icmpType: ECHO_REQUEST[familyOf(dst)] });
}

/** @param onlyWhether the first port that is open is enough: `open` is then not complete */
export function reachOf(src: Ip, dst: Ip, input: ReachInput, onlyWhether = false): Reach {
  const verdict = input.evaluate(newPacket(src, dst, { protocol: "other" }));
  // What passes without a port passes with any.
  if (verdict.verdict === "accept") return { reachability: "allowed", verdict, open: [] };
  const open: string[] = [];
  if (input.evaluate(echoPacket(src, dst)).verdict === "accept") open.push("ping");
  for (const protocol of POLICY_PROTOCOLS) {
    if (onlyWhether && open.length > 0) break;
    const ranges = openRanges(src, dst, protocol, verdict, input);
    if (ranges.length > 0) open.push(formatRanges(protocol, ranges));
  }
  return { reachability: open.length === 0 ? "denied" : "partly", verdict, open };
}

function openRanges(
  src: Ip,
  dst: Ip,
  protocol: PolicyProtocol,
  verdict: PacketVerdict,
  input: ReachInput,
): readonly PortRange[] {
  const starts = boundaries(protocol, verdict, input);
  const ranges = starts.flatMap((from, index): readonly PortRange[] => {
    const packet = newPacket(src, dst, { protocol, port: from });
    const to = (starts[index + 1] ?? LAST_PORT + 1) - 1;
    return input.evaluate(packet).verdict === "accept" ? [[from, to]] : [];
  });
  return mergeRanges(ranges);
}

/** Ports at which the answer can change, sorted: where a rule's range begins or has ended, and the named ones. */
function boundaries(
  protocol: PolicyProtocol,
  { egress, ingress }: PacketVerdict,
  { policies, namedPorts }: ReachInput,
): readonly number[] {
  const starts = new Set([0]);
  const add = (from: number, to: number): void => void starts.add(from).add(to + 1);
  for (const { direction, isolatedBy } of [egress, ingress]) {
    for (const key of isolatedBy) {
      for (const { ports = [] } of policies.get(key)?.[direction] ?? []) {
        for (const port of ports)
          if (port.kind === "numbers" && port.protocol === protocol) add(port.from, port.to);
      }
    }
  }
  for (const named of namedPorts) if (named.protocol === protocol) add(named.port, named.port);
  return [...starts].filter((port) => port <= LAST_PORT).sort((a, b) => a - b);
}

const MAX_RANGES = 12;

function formatRanges(protocol: PolicyProtocol, ranges: readonly PortRange[]): string {
  const [first] = ranges;
  if (first?.[0] === 0 && first[1] === LAST_PORT) return `all of ${protocol}`;
  const texts = ranges.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`));
  const rest = texts.length - MAX_RANGES;
  return `${protocol} ${texts.slice(0, MAX_RANGES).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

/** Policies by key, for `ReachInput`. */
export function policiesByKey(policies: readonly Policy[]): ReadonlyMap<string, Policy> {
  return new Map(policies.map((policy) => [objectKey(policy), policy]));
}

/** Several answers as one. */
export function joinReachability(answers: readonly Reachability[]): Reachability {
  const [first = "denied"] = answers;
  return answers.every((answer) => answer === first) ? first : "partly";
}
