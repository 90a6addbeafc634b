// The verdict on one packet and its reason, written from the specification alone: compiled rules must agree with it.
import { cidrContainsIp, parseCidr } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { familyOf } from "../net/ip.ts";
import type { Ip } from "../net/ip.ts";
import { judgeRules } from "./evaluate-rules.ts";
import type { NearestMiss, RuleReference } from "./evaluate-rules.ts";
import { isEchoRequest, isNeighborDiscovery } from "./packet.ts";
import type { Packet } from "./packet.ts";
import { selects } from "./selector.ts";
import { DEFAULT_POLICY_SETTINGS } from "./settings.ts";
import type { PolicySemantics } from "./settings.ts";
import { compareClaims, hasOwnAddress, objectKey } from "./snapshot.ts";
import type { ClusterNode, Direction, Pod, Policy, PolicySnapshot, Verdict } from "./snapshot.ts";

/** Why one direction accepts. */
export type AcceptReason =
  | "established" // part of, or an error about, a connection that was accepted
  | "neighbor-discovery"
  | "not-a-pod" // that end is no pod, so no policy is about it
  | "node" // that end is a node or a pod in its network: never subject to policy
  | "own-node" // node to its own pod, or pod to its own node where the setting says so
  | "self"
  | "not-isolated" // no policy selects the pod in this direction
  | "echo" // ICMP echo, by setting
  | "no-listener" // multicast where no pod of the node is isolated
  | "rule";

/** Why one direction denies. */
export type DenyReason =
  | "no-rule" // isolated, and no rule allows it
  | "unknown-pod" // an address for pods that no known pod has
  | "invalid" // no connection that the kernel can make out, at an isolated pod
  | "multicast"; // would also reach isolated pods, and no rule can be about it

export interface DirectionVerdict {
  readonly direction: Direction;
  readonly verdict: Verdict;
  readonly reason: AcceptReason | DenyReason;
  /** `namespace/name` of the pod whose policies count in this direction. */
  readonly pod?: string;
  /** `namespace/name` of the policies that isolate the pod in this direction. */
  readonly isolatedBy: readonly string[];
  /** The first rule that accepts. */
  readonly acceptedBy?: RuleReference;
  /** Of a denied packet: the rule that was closest to accept. */
  readonly nearestMiss?: NearestMiss;
}

export interface PacketVerdict {
  /** Both ends must agree. */
  readonly verdict: Verdict;
  readonly egress: DirectionVerdict;
  readonly ingress: DirectionVerdict;
}

/** The verdict on a packet under a snapshot. For many packets use `createEvaluator`. */
export function evaluatePacket(
  snapshot: PolicySnapshot,
  packet: Packet,
  semantics: PolicySemantics = DEFAULT_POLICY_SETTINGS,
): PacketVerdict {
  return createEvaluator(snapshot, semantics)(packet);
}

export function createEvaluator(
  snapshot: PolicySnapshot,
  semantics: PolicySemantics = DEFAULT_POLICY_SETTINGS,
): (packet: Packet) => PacketVerdict {
  let owners: World["owners"] | undefined;
  const world: World = {
    snapshot,
    semantics,
    // Of a large cluster some milliseconds, which many an evaluator that is asked nothing need not spend.
    get owners() {
      owners ??= ownersOf(snapshot.pods);
      return owners;
    },
  };
  return (packet) => {
    const exempt = exemption(packet);
    const [egress, ingress] = exempt
      ? [accept("egress", exempt), accept("ingress", exempt)]
      : [evaluateEgress(world, packet), evaluateIngress(world, packet)];
    const verdict = egress.verdict === "accept" && ingress.verdict === "accept" ? "accept" : "deny";
    return { verdict, egress, ingress };
  };
}

/** What evaluation works on. */
export interface World {
  readonly snapshot: PolicySnapshot;
  readonly semantics: PolicySemantics;
  /** The one pod that has an address, if any. */
  readonly owners: ReadonlyMap<Ip, Pod>;
}

function ownersOf(pods: readonly Pod[]): ReadonlyMap<Ip, Pod> {
  const owners = new Map<Ip, Pod>();
  for (const pod of pods.filter(hasOwnAddress)) {
    for (const ip of pod.ips) {
      const other = owners.get(ip);
      if (other === undefined || compareClaims(pod, other) < 0) owners.set(ip, pod);
    }
  }
  return owners;
}

function exemption(packet: Packet): AcceptReason | undefined {
  if (packet.state === "established" || packet.state === "related") return "established";
  return isNeighborDiscovery(packet) ? "neighbor-discovery" : undefined;
}

function accept(
  direction: Direction,
  reason: AcceptReason,
  more: Partial<DirectionVerdict> = {},
): DirectionVerdict {
  return { direction, verdict: "accept", reason, isolatedBy: [], ...more };
}

function deny(
  direction: Direction,
  reason: DenyReason,
  more: Partial<DirectionVerdict> = {},
): DirectionVerdict {
  return { direction, verdict: "deny", reason, isolatedBy: [], ...more };
}

function evaluateEgress(world: World, packet: Packet): DirectionVerdict {
  const direction = "egress";
  const { src, dst } = packet;
  if (isNode(world, src)) return accept(direction, "node");
  const pod = world.owners.get(src);
  const home = pod ? nodeOf(world, pod.nodeName) : homeOf(world, src);
  if (pod === undefined && home === undefined) return accept(direction, "not-a-pod");
  if (world.semantics.podToNode === "allow" && home?.addresses.includes(dst))
    return accept(direction, "own-node");
  if (pod === undefined) return deny(direction, "unknown-pod");
  return evaluatePod(world, packet, direction, pod);
}

function evaluateIngress(world: World, packet: Packet): DirectionVerdict {
  const direction = "ingress";
  const { src, dst } = packet;
  if (isGroup(dst)) return evaluateGroup(world, packet);
  if (isNode(world, dst)) return accept(direction, "node");
  const pod = world.owners.get(dst);
  const home = pod ? nodeOf(world, pod.nodeName) : homeOf(world, dst);
  // Also to a pod that is not known yet: kubelet may ask it before anybody else has heard of it.
  if (home?.addresses.includes(src)) return accept(direction, "own-node");
  if (pod === undefined) return home ? deny(direction, "unknown-pod") : accept(direction, "not-a-pod");
  return evaluatePod(world, packet, direction, pod);
}

function evaluatePod(world: World, packet: Packet, direction: Direction, pod: Pod): DirectionVerdict {
  const { semantics } = world;
  const policies = isolatingPolicies(world, pod, direction);
  const about = { pod: objectKey(pod), isolatedBy: policies.map(objectKey) };
  if (policies.length === 0) return accept(direction, "not-isolated", about);
  if (packet.state === "invalid") return deny(direction, "invalid", about);
  if (packet.src === packet.dst && semantics.hairpin === "allow") return accept(direction, "self", about);
  if (semantics.icmp === "allow-echo" && isEchoRequest(packet)) return accept(direction, "echo", about);
  const { acceptedBy, nearestMiss } = judgeRules(world, packet, direction, policies);
  if (acceptedBy) return accept(direction, "rule", { ...about, acceptedBy });
  return deny(direction, "no-rule", { ...about, ...(nearestMiss && { nearestMiss }) });
}

function isolatingPolicies({ snapshot }: World, pod: Pod, direction: Direction): readonly Policy[] {
  return snapshot.policies.filter(
    (policy) =>
      policy.namespace === pod.namespace &&
      policy.types.includes(direction) &&
      selects(policy.podSelector, pod.labels),
  );
}

/** Multicast and broadcast between pods of one bridge: one packet for whoever listens. */
function evaluateGroup(world: World, packet: Packet): DirectionVerdict {
  const sender = world.owners.get(packet.src);
  const home = sender ? sender.nodeName : homeOf(world, packet.src)?.name;
  if (home === undefined || isNode(world, packet.src)) return accept("ingress", "not-a-pod");
  const listeners = new Set(
    [...world.owners].flatMap(([ip, pod]) => (familyOf(ip) === familyOf(packet.dst) ? pod : [])),
  );
  const isolated = [...listeners].some(
    (pod) => pod.nodeName === home && isolatingPolicies(world, pod, "ingress").length > 0,
  );
  return isolated ? deny("ingress", "multicast") : accept("ingress", "no-listener");
}

/** Multicast (RFC 5771, RFC 4291) and the limited broadcast. */
const GROUPS: Readonly<Record<4 | 6, readonly Cidr[]>> = {
  4: [parseCidr("224.0.0.0/4"), parseCidr("255.255.255.255/32")],
  6: [parseCidr("ff00::/8")],
};

function isGroup(ip: Ip): boolean {
  return GROUPS[familyOf(ip)].some((group) => cidrContainsIp(group, ip));
}

function isNode({ snapshot }: World, ip: Ip): boolean {
  return snapshot.nodes.some(({ addresses }) => addresses.includes(ip));
}

function nodeOf({ snapshot }: World, name: string): ClusterNode | undefined {
  return snapshot.nodes.find((node) => node.name === name);
}

/** The node whose pods have addresses like this one. */
function homeOf({ snapshot }: World, ip: Ip): ClusterNode | undefined {
  return snapshot.nodes.find(({ podCidrs }) => podCidrs.some((cidr) => cidrContainsIp(cidr, ip)));
}
