// Which rule of the isolating policies accepts a packet, and which one came closest.
import { cidrContainsIp } from "../net/cidr.ts";
import type { Ip } from "../net/ip.ts";
import type { World } from "./evaluate.ts";
import type { Packet } from "./packet.ts";
import { selects } from "./selector.ts";
import { objectKey } from "./snapshot.ts";
import type { Direction, Pod, Policy, PolicyPeer, PolicyPort, PolicyRule } from "./snapshot.ts";

/** A rule by its place in the object, with the entries that matched; absent where the rule has no such list. */
export interface RuleReference {
  /** `namespace/name`. */
  readonly policy: string;
  /** Place in `spec.ingress` or `spec.egress`, from 0. */
  readonly rule: number;
  readonly peer?: number;
  readonly port?: number;
}

export interface NearestMiss extends RuleReference {
  /** What kept the rule from accepting. */
  readonly failed: "peer" | "port" | "both";
}

export interface RuleJudgement {
  readonly acceptedBy?: RuleReference;
  readonly nearestMiss?: NearestMiss;
}

const CLOSENESS: Readonly<Record<NearestMiss["failed"], number>> = { port: 2, peer: 1, both: 0 };

export function judgeRules(
  world: World,
  packet: Packet,
  direction: Direction,
  policies: readonly Policy[],
): RuleJudgement {
  let nearestMiss: NearestMiss | undefined;
  for (const policy of policies) {
    for (const [index, rule] of policy[direction].entries()) {
      const peer = matchingPeer(world, packet, direction, policy, rule);
      const port = matchingPort(world, packet, rule);
      const reference = {
        policy: objectKey(policy),
        rule: index,
        ...toIndex("peer", peer),
        ...toIndex("port", port),
      };
      if (peer !== undefined && port !== undefined) return { acceptedBy: reference };
      const failed = peer === undefined ? (port === undefined ? "both" : "peer") : "port";
      if (nearestMiss === undefined || CLOSENESS[failed] > CLOSENESS[nearestMiss.failed])
        nearestMiss = { ...reference, failed };
    }
  }
  return nearestMiss ? { nearestMiss } : {};
}

/** A matching entry's index; `any` where the rule has no list, which restricts nothing; undefined if none matches. */
type Match = number | "any" | undefined;

function toIndex<K extends string>(key: K, match: Match): Partial<Record<K, number>> {
  return typeof match === "number" ? ({ [key]: match } as Partial<Record<K, number>>) : {};
}

function found(index: number | undefined): Match {
  return index === undefined || index < 0 ? undefined : index;
}

function matchingPeer(
  world: World,
  packet: Packet,
  direction: Direction,
  policy: Policy,
  rule: PolicyRule,
): Match {
  if (rule.peers === undefined) return "any";
  const address = direction === "ingress" ? packet.src : packet.dst;
  return found(rule.peers.findIndex((peer) => peerMatches(world, peer, policy, address)));
}

function peerMatches(world: World, peer: PolicyPeer, policy: Policy, address: Ip): boolean {
  if (peer.kind === "block")
    return cidrContainsIp(peer.cidr, address) && !peer.except.some((hole) => cidrContainsIp(hole, address));
  const pod = world.owners.get(address);
  if (pod === undefined || !selects(peer.pods, pod.labels)) return false;
  return peer.namespaces ? inNamespaces(world, pod, peer) : pod.namespace === policy.namespace;
}

/** The labels of a namespace that is not known cannot match: a selector with NotIn would take it for a stranger's. */
function inNamespaces({ snapshot }: World, pod: Pod, peer: PolicyPeer & { readonly kind: "pods" }): boolean {
  const namespace = snapshot.namespaces.find(({ name }) => name === pod.namespace);
  return namespace !== undefined && selects(peer.namespaces ?? [], namespace.labels);
}

function matchingPort(world: World, packet: Packet, rule: PolicyRule): Match {
  if (rule.ports === undefined) return "any";
  return found(rule.ports.findIndex((port) => portMatches(world, packet, port)));
}

/** A name is looked up on the destination, whichever end the policy is about. */
function portMatches(world: World, packet: Packet, port: PolicyPort): boolean {
  if (port.protocol !== packet.protocol || packet.port === undefined) return false;
  if (port.kind === "numbers") return port.from <= packet.port && packet.port <= port.to;
  const declared = world.owners.get(packet.dst)?.ports ?? [];
  return declared.some(
    ({ name, protocol, port: number }) =>
      name === port.name && protocol === port.protocol && number === packet.port,
  );
}
