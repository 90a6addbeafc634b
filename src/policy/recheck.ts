// Which established connections end when policies become stricter: those that a policy of a pod of this node denies now.
import { PROTOCOL_NUMBERS } from "../net/flow.ts";
import type { Flow } from "../net/flow.ts";
import type { Ip } from "../net/ip.ts";
import type { DirectionVerdict, PacketVerdict } from "./evaluate.ts";
import type { Packet } from "./packet.ts";

export interface FlowJudgeInput {
  /** By the policies of now. */
  readonly evaluate: (packet: Packet) => PacketVerdict;
  /**
   * By the policies of before. Where given, what an end denied before and denies now goes on: a connection that passed as
   * related to another one was never allowed by itself. One that each end has allowed at one of both times ends: where one
   * pass opened this end and closed the other, it may have been made between the two.
   */
  readonly evaluateBefore?: (packet: Packet) => PacketVerdict;
  /** Addresses of the pods of this node: what other nodes' pods may not do is their nodes' affair. */
  readonly localIps: ReadonlySet<Ip>;
}

/** Answers that are kept: 2 MB. */
const MAX_KNOWN = 10_000;

/** Equal questions are asked once: a server has thousands of clients' connections, and a client thousands to a server. */
export function createFlowJudge({
  evaluate,
  evaluateBefore,
  localIps,
}: FlowJudgeInput): (flow: Flow) => boolean {
  const known = new Map<string, boolean>();
  /** Which ends deny it: the sender's, the receiver's. */
  const denials = ({ egress, ingress }: PacketVerdict, { src, dst }: Packet): readonly [boolean, boolean] => [
    localIps.has(src) && deniesByPolicy(egress),
    localIps.has(dst) && deniesByPolicy(ingress),
  ];
  return (flow) => {
    const packet = packetOfFlow(flow);
    const key = `${packet.src} ${packet.dst} ${flow.protocol} ${packet.port ?? packet.icmpType ?? ""}`;
    let ends = known.get(key);
    if (ends === undefined) {
      const now = denials(evaluate(packet), packet);
      const before = evaluateBefore && now.includes(true) ? denials(evaluateBefore(packet), packet) : [];
      ends = now.includes(true) && !now.some((isDenied, end) => isDenied && before[end]);
      if (known.size === MAX_KNOWN) known.clear();
      known.set(key, ends);
    }
    return ends;
  };
}

/** Not because the pod is unknown, for example: then nothing is known of its policies either. */
function deniesByPolicy({ verdict, reason }: DirectionVerdict): boolean {
  return verdict === "deny" && reason === "no-rule";
}

const PROTOCOLS: ReadonlyMap<number, Packet["protocol"]> = new Map([
  [PROTOCOL_NUMBERS.tcp, "TCP"],
  [PROTOCOL_NUMBERS.udp, "UDP"],
  [PROTOCOL_NUMBERS.sctp, "SCTP"],
  [PROTOCOL_NUMBERS.icmp, "ICMP"],
  [PROTOCOL_NUMBERS.icmpv6, "ICMP"],
] as const);

/** The flow's first packet as the filter sees it: after the destination was translated, before the source is. */
export function packetOfFlow({ protocol, original, reply, icmp }: Flow): Packet {
  const port = reply.srcPort;
  return {
    src: original.src,
    dst: reply.src,
    state: "new",
    protocol: PROTOCOLS.get(protocol) ?? "other",
    ...(port !== undefined && { port }),
    ...(icmp && { icmpType: icmp.type }),
  };
}
