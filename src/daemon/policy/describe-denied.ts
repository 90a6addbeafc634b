// A denied packet in words: whose, in which direction, what it was, and which policies isolate. Pure.
import { PROTOCOL } from "../../kernel/nflog/ip-header-codec.ts";
import type { LoggedPacket } from "../../kernel/nflog/watch-nflog.ts";
import { createEvaluator } from "../../policy/evaluate.ts";
import { describeDirection, describeNearest } from "../../policy/explain-words.ts";
import { indexCluster } from "../../policy/cluster-index.ts";
import { policyNames } from "../../policy/names.ts";
import type { Packet } from "../../policy/packet.ts";
import type { PolicySettings } from "../../policy/settings.ts";
import { DIRECTIONS, objectKey } from "../../policy/snapshot.ts";
import type { Direction, Pod, PolicySnapshot } from "../../policy/snapshot.ts";

export interface DeniedDescription {
  readonly direction: Direction;
  /** `namespace/name`; absent where no known pod has the address. */
  readonly pod?: string;
  readonly peer?: string;
  readonly src: string;
  readonly dst: string;
  /** E.g. `TCP`, `ICMP`, `protocol 47`. */
  readonly protocol: string;
  readonly port?: number;
  /** `namespace/name` of the policies that isolate the pod in this direction. */
  readonly policies: readonly string[];
  readonly why: string;
  /** One line for the log. */
  readonly text: string;
}

const NAMES: Readonly<Record<number, Packet["protocol"]>> = {
  [PROTOCOL.tcp]: "TCP",
  [PROTOCOL.udp]: "UDP",
  [PROTOCOL.sctp]: "SCTP",
  [PROTOCOL.icmp]: "ICMP",
  [PROTOCOL.icmpv6]: "ICMP",
};

/** @returns a function that gives undefined for packets that other programs' rules have logged */
export function createDeniedDescriber(
  snapshot: PolicySnapshot,
  settings: PolicySettings,
): (packet: LoggedPacket) => DeniedDescription | undefined {
  const evaluate = createEvaluator(snapshot, settings);
  const names = policyNames(settings.prefix);
  const owners = new Map<string, Pod>(
    [...indexCluster(snapshot).podsByNamespace.values()]
      .flat()
      .flatMap(({ pod, ips }) => ips.map((ip) => [ip, pod] as const)),
  );
  return (logged) => {
    const direction = DIRECTIONS.find((one) => names.deny[one] === logged.prefix);
    if (direction === undefined) return undefined;
    const packet = packetOf(logged);
    const verdict = evaluate(packet)[direction];
    const { protocol, service } = describeProtocol(logged);
    const input = { snapshot, packet, service, src: owners.get(packet.src), dst: owners.get(packet.dst) };
    const why =
      verdict.verdict === "accept"
        ? "allowed by now: policies or pods have changed in this moment"
        : (describeNearest(verdict, input) ?? describeDirection(verdict, input));
    const [own, other] = direction === "ingress" ? [input.dst, input.src] : [input.src, input.dst];
    const subject = own
      ? objectKey(own)
      : `an unknown pod (${direction === "ingress" ? packet.dst : packet.src})`;
    const isolated = verdict.isolatedBy.length === 0 ? "" : `, isolated by ${verdict.isolatedBy.join(", ")}`;
    return {
      direction,
      ...(own && { pod: objectKey(own) }),
      ...(other && { peer: objectKey(other) }),
      src: packet.src,
      dst: packet.dst,
      protocol,
      ...(logged.ports && { port: logged.ports.dst }),
      policies: verdict.isolatedBy,
      why,
      text: `denied ${direction} of ${subject}: ${service} from ${packet.src} to ${packet.dst}${isolated}`,
    };
  };
}

function packetOf({ src, dst, protocol, ports, icmpType }: LoggedPacket): Packet {
  return {
    src,
    dst,
    protocol: NAMES[protocol] ?? "other",
    state: "new",
    ...(ports && { port: ports.dst }),
    ...(icmpType !== undefined && { icmpType }),
  };
}

function describeProtocol({ protocol, ports, icmpType }: LoggedPacket): {
  readonly protocol: string;
  readonly service: string;
} {
  const name = NAMES[protocol] ?? `protocol ${protocol}`;
  if (ports) return { protocol: name, service: `${name} ${ports.dst}` };
  return { protocol: name, service: icmpType === undefined ? name : `${name} type ${icmpType}` };
}
