// Verdicts in words: who isolates, which rule accepts, and what the nearest rule wants that the packet has not. Pure.
import type { DirectionVerdict } from "./evaluate.ts";
import type { NearestMiss, RuleReference } from "./evaluate-rules.ts";
import type { Packet } from "./packet.ts";
import { formatSelector } from "./selector.ts";
import { objectKey } from "./snapshot.ts";
import type {
  Direction,
  Pod,
  Policy,
  PolicyPeer,
  PolicyPort,
  PolicyRule,
  PolicySnapshot,
} from "./snapshot.ts";

/** What the words are about. */
export interface WordsInput {
  readonly snapshot: PolicySnapshot;
  readonly packet: Packet;
  /** As asked, e.g. `TCP 80`. */
  readonly service: string;
  /** Who has the addresses; absent for one that no pod has. */
  readonly src: Pod | undefined;
  readonly dst: Pod | undefined;
}

/** `shop/allow-db egress[0]` */
export function formatRule({ policy, rule }: RuleReference, direction: Direction): string {
  return `${policy} ${direction}[${rule}]`;
}

/** Why a direction accepts or denies; names and not addresses where there are names, so that pairs can be told together. */
export function describeDirection(verdict: DirectionVerdict, input: WordsInput): string {
  const { direction, reason, pod = "" } = verdict;
  const own = direction === "egress" ? input.packet.src : input.packet.dst;
  switch (reason) {
    case "established":
      return "part of a connection that was accepted";
    case "neighbor-discovery":
      return "neighbor discovery always passes";
    case "not-a-pod":
      return `${own} is no pod of this cluster, so no policy is about it`;
    case "node":
      return `${nodeWith(input.snapshot, own) ?? own} is no pod, and policies are about pods`;
    case "own-node":
      return direction === "ingress"
        ? "the pod's own node always reaches it"
        : "the pod's own node is open to it by the setting pod-to-node";
    case "self":
      return "a pod always reaches itself";
    case "not-isolated":
      return `no policy isolates ${pod} in ${direction}`;
    case "echo":
      return "ping is open by the setting icmp";
    case "no-listener":
      return "a group, and no pod of the node is isolated";
    case "multicast":
      return "a group, which would reach isolated pods too, and no rule can be about it";
    case "unknown-pod":
      return `${own} is an address for pods that no known pod has: it is closed until the pod is known`;
    case "invalid":
      return "the packet belongs to no connection";
    case "rule":
      return describeAccepted(verdict, input);
    case "no-rule":
      return describeDenied(verdict);
  }
}

function describeAccepted({ direction, acceptedBy }: DirectionVerdict, input: WordsInput): string {
  const found = acceptedBy && ruleOf(input.snapshot, acceptedBy, direction);
  if (acceptedBy === undefined || found === undefined) return "a rule allows it";
  return `${formatRule(acceptedBy, direction)} allows ${describeRule(found.rule, found.policy, direction)}`;
}

function describeDenied({ direction, pod = "", isolatedBy, nearestMiss }: DirectionVerdict): string {
  const isOne = isolatedBy.length === 1;
  const isolated = `${direction} of ${pod} is isolated by ${isOne ? "policy" : "policies"} ${listed(isolatedBy)}`;
  return nearestMiss === undefined
    ? `${isolated}, which ${isOne ? "allows" : "allow"} nothing in this direction`
    : isolated;
}

/** Of a denied packet: the rule that came closest, and what it wants that the packet has not. */
export function describeNearest(
  { direction, nearestMiss }: DirectionVerdict,
  input: WordsInput,
): string | undefined {
  const found = nearestMiss && ruleOf(input.snapshot, nearestMiss, direction);
  if (nearestMiss === undefined || found === undefined) return undefined;
  const allows = describeRule(found.rule, found.policy, direction);
  const miss = describeMiss(nearestMiss, found, direction, input);
  return `${formatRule(nearestMiss, direction)} allows ${allows}, ${miss}`;
}

interface FoundRule {
  readonly policy: Policy;
  readonly rule: PolicyRule;
}

function ruleOf(
  { policies }: PolicySnapshot,
  reference: RuleReference,
  direction: Direction,
): FoundRule | undefined {
  const policy = policies.find((one) => objectKey(one) === reference.policy);
  const rule = policy?.[direction][reference.rule];
  return policy && rule && { policy, rule };
}

function describeMiss(
  { failed }: NearestMiss,
  { policy, rule }: FoundRule,
  direction: Direction,
  input: WordsInput,
): string {
  const port = `you asked for ${input.service}${explainNames(rule, input)}`;
  const peer = describeMissedPeer(rule, policy, direction, input);
  switch (failed) {
    case "port":
      return `but ${port}`;
    case "peer":
      return `but ${peer}`;
    case "both":
      return `but ${peer}, and ${port}`;
  }
}

/** A name means the destination's own number. */
function explainNames({ ports = [] }: PolicyRule, { dst }: WordsInput): string {
  const names = ports.flatMap((port) => (port.kind === "named" ? port : []));
  const said = names.map(({ protocol, name }) => {
    const numbers = (dst?.ports ?? []).filter((one) => one.name === name && one.protocol === protocol);
    const who = dst === undefined ? "that address" : objectKey(dst);
    return numbers.length === 0
      ? `${who} declares no ${protocol} port ${name}`
      : `${name} of ${who} is ${protocol} ${numbers.map(({ port }) => port).join(", ")}`;
  });
  return said.length === 0 ? "" : ` (${listed(said)})`;
}

function describeMissedPeer(
  { peers = [] }: PolicyRule,
  policy: Policy,
  direction: Direction,
  { snapshot, packet, src, dst }: WordsInput,
): string {
  const pod = direction === "egress" ? dst : src;
  const address = direction === "egress" ? packet.dst : packet.src;
  const node = nodeWith(snapshot, address);
  if (node !== undefined) return `${node} is none of these (nodes are met by ipBlock only)`;
  if (pod === undefined) return `${address} is none of these`;
  const namespace = snapshot.namespaces.find(({ name }) => name === pod.namespace);
  const asksNamespaces = peers.some((peer) => peer.kind === "pods" && peer.namespaces !== undefined);
  const labels = [`labels ${formatLabels(pod.labels)}`];
  if (asksNamespaces)
    labels.push(
      namespace === undefined
        ? `namespace ${pod.namespace} is not known yet`
        : `labels of its namespace ${formatLabels(namespace.labels)}`,
    );
  const asksOwnNamespaceOnly = peers.some((peer) => peer.kind === "pods") && !asksNamespaces;
  const elsewhere =
    asksOwnNamespaceOnly && pod.namespace !== policy.namespace
      ? `; a podSelector alone means pods of namespace ${policy.namespace}, others need a namespaceSelector too`
      : "";
  return `${objectKey(pod)} is none of these (${labels.join("; ")}${elsewhere})`;
}

function nodeWith({ nodes }: PolicySnapshot, address: string): string | undefined {
  const node = nodes.find(({ addresses }) => addresses.some((one) => one === address));
  return node && `node ${node.name}`;
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return pairs.length === 0 ? "none" : listed(pairs.sort());
}

/** `TCP 5432 to pods app=db of namespace shop` */
export function describeRule({ peers, ports }: PolicyRule, policy: Policy, direction: Direction): string {
  const what = ports === undefined ? "everything" : listed(ports.map(describePort)) || "nothing";
  const who =
    peers === undefined
      ? "everybody"
      : listed(peers.map((peer) => describePeer(peer, policy.namespace))) || "nobody";
  return `${what} ${direction === "egress" ? "to" : "from"} ${who}`;
}

function describePort(port: PolicyPort): string {
  if (port.kind === "named") return `${port.protocol} port "${port.name}"`;
  if (port.from === 0) return `all of ${port.protocol}`;
  return `${port.protocol} ${port.from === port.to ? port.from : `${port.from}-${port.to}`}`;
}

function describePeer(peer: PolicyPeer, namespace: string): string {
  if (peer.kind === "block")
    return peer.except.length === 0 ? peer.cidr : `${peer.cidr} except ${listed(peer.except)}`;
  const pods = peer.pods.length === 0 ? "all pods" : `pods ${formatSelector(peer.pods)}`;
  if (peer.namespaces === undefined) return `${pods} of namespace ${namespace}`;
  return peer.namespaces.length === 0
    ? `${pods} of all namespaces`
    : `${pods} of namespaces ${formatSelector(peer.namespaces)}`;
}

/** More than these are said as a number. */
const MAX_LISTED = 6;

function listed(texts: readonly string[]): string {
  const rest = texts.length - MAX_LISTED;
  return rest > 0 ? `${texts.slice(0, MAX_LISTED).join(", ")} and ${rest} more` : texts.join(", ");
}
