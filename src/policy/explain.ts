// "May FROM reach TO, and why": the evaluator's verdict on every pair of addresses, in words. Pure.
import { InvalidValueError } from "../net/errors.ts";
import { familyOf } from "../net/ip.ts";
import type { Ip } from "../net/ip.ts";
import { createEvaluator } from "./evaluate.ts";
import type { DirectionVerdict, PacketVerdict } from "./evaluate.ts";
import { resolveEnd } from "./explain-question.ts";
import type { ExplainQuestion, ResolvedEnd, Service } from "./explain-question.ts";
import type { ExplainedDirection, ExplainedPair, ExplainReport, Reachability } from "./explain-report.ts";
import { describeDirection, describeNearest, formatRule } from "./explain-words.ts";
import type { WordsInput } from "./explain-words.ts";
import { indexCluster } from "./cluster-index.ts";
import type { Packet } from "./packet.ts";
import { echoPacket, joinReachability, newPacket, policiesByKey, reachOf } from "./reach.ts";
import type { ReachInput } from "./reach.ts";
import type { PolicySemantics } from "./settings.ts";
import { DIRECTIONS, objectKey } from "./snapshot.ts";
import type { Pod, PolicySnapshot } from "./snapshot.ts";

/** A node has a handful of addresses; a list beyond this helps nobody. */
const MAX_PAIRS = 64;

interface Explainer extends Omit<ReachInput, "namedPorts"> {
  readonly snapshot: PolicySnapshot;
  readonly owners: ReadonlyMap<Ip, Pod>;
}

/** @throws {InvalidValueError} if an end is not known, or the two have no family in common */
export function explainReach(
  snapshot: PolicySnapshot,
  semantics: PolicySemantics,
  { from, to, service }: ExplainQuestion,
): ExplainReport {
  const src = resolveEnd(from, snapshot);
  const dst = resolveEnd(to, snapshot);
  const explainer: Explainer = {
    snapshot,
    owners: ownersOf(snapshot),
    evaluate: createEvaluator(snapshot, semantics),
    policies: policiesByKey(snapshot.policies),
  };
  const addresses = pairsOf(src, dst);
  const pairs = addresses
    .slice(0, MAX_PAIRS)
    .flatMap(([a, b]) => (service ? explainService(a, b, service, explainer) : explainAny(a, b, explainer)));
  const notes = [...notesOf(src, dst, pairs), ...elsewhereOf(snapshot, pairs)];
  if (addresses.length > MAX_PAIRS)
    notes.push(`only ${MAX_PAIRS} of ${addresses.length} pairs of addresses were looked at`);
  return {
    from: src.label,
    to: dst.label,
    asked: formatService(service),
    node: snapshot.nodeName,
    verdict: joinReachability(pairs.map(({ verdict }) => verdict)),
    pairs,
    notes,
  };
}

function ownersOf(snapshot: PolicySnapshot): ReadonlyMap<Ip, Pod> {
  const { podsByNamespace } = indexCluster(snapshot);
  return new Map([...podsByNamespace.values()].flat().flatMap(({ pod, ips }) => ips.map((ip) => [ip, pod])));
}

/** @throws {InvalidValueError} */
function pairsOf(src: ResolvedEnd, dst: ResolvedEnd): readonly (readonly [Ip, Ip])[] {
  const pairs = src.ips.flatMap((a) =>
    dst.ips.filter((b) => familyOf(a) === familyOf(b)).map((b) => [a, b] as const),
  );
  if (pairs.length > 0) return pairs;
  const families = ({ ips }: ResolvedEnd): string => (familyOf(ips[0] as Ip) === 4 ? "IPv4" : "IPv6");
  throw new InvalidValueError(
    `${src.label} has ${families(src)} only and ${dst.label} ${families(dst)} only: no packet leads from one to the other`,
  );
}

/** @throws {InvalidValueError} for a name that the destination does not declare */
function explainService(src: Ip, dst: Ip, service: Service, explainer: Explainer): readonly ExplainedPair[] {
  if (service.protocol === "ICMP") return [explainPacket(echoPacket(src, dst), "ping", explainer)];
  const { protocol, port } = service;
  const numbers = typeof port === "number" ? [port] : numbersOf(dst, service.protocol, port, explainer);
  return numbers.map((number) =>
    explainPacket(newPacket(src, dst, { protocol, port: number }), `${protocol} ${number}`, explainer),
  );
}

function numbersOf(dst: Ip, protocol: string, name: string, { owners }: Explainer): readonly number[] {
  const pod = owners.get(dst);
  if (pod === undefined)
    throw new InvalidValueError(
      `${dst} is no pod, so port name "${name}" means nothing there: give a number`,
    );
  const ports = pod.ports.filter((one) => one.name === name && one.protocol === protocol);
  if (ports.length > 0) return [...new Set(ports.map(({ port }) => port))];
  const declared = pod.ports.map((one) => `${one.name} (${one.protocol} ${one.port})`).join(", ");
  throw new InvalidValueError(
    `pod ${objectKey(pod)} declares no ${protocol} port "${name}"; it declares ${declared || "none with a name"}`,
  );
}

function explainPacket(packet: Packet, service: string, explainer: Explainer): ExplainedPair {
  const verdict = explainer.evaluate(packet);
  return pairOf(packet, service, verdict, verdict.verdict === "accept" ? "allowed" : "denied", explainer);
}

function explainAny(src: Ip, dst: Ip, explainer: Explainer): ExplainedPair {
  const namedPorts = explainer.owners.get(dst)?.ports ?? [];
  const { reachability, verdict, open } = reachOf(src, dst, { ...explainer, namedPorts });
  const packet = newPacket(src, dst, { protocol: "other" });
  const pair = pairOf(packet, ANY, verdict, reachability, explainer);
  return open.length === 0 ? pair : { ...pair, open };
}

function pairOf(
  packet: Packet,
  service: string,
  { egress, ingress }: PacketVerdict,
  verdict: Reachability,
  { snapshot, owners }: Explainer,
): ExplainedPair {
  const { src, dst } = packet;
  const input: WordsInput = { snapshot, packet, service, src: owners.get(src), dst: owners.get(dst) };
  return {
    family: familyOf(src),
    src,
    dst,
    service,
    verdict,
    egress: explainDirection(egress, input),
    ingress: explainDirection(ingress, input),
  };
}

function explainDirection(verdict: DirectionVerdict, input: WordsInput): ExplainedDirection {
  const rule = verdict.acceptedBy ?? verdict.nearestMiss;
  const nearest = describeNearest(verdict, input);
  return {
    verdict: verdict.verdict,
    reason: verdict.reason,
    ...(verdict.pod !== undefined && { pod: verdict.pod }),
    isolatedBy: verdict.isolatedBy,
    ...(rule && { rule: formatRule(rule, verdict.direction) }),
    text: describeDirection(verdict, input),
    ...(nearest !== undefined && { nearest }),
  };
}

const ANY = "any port and protocol";

export function formatService(service: Service | undefined): string {
  if (service === undefined) return ANY;
  return service.protocol === "ICMP" ? "ping" : `${service.protocol} ${service.port}`;
}

function notesOf(src: ResolvedEnd, dst: ResolvedEnd, pairs: readonly ExplainedPair[]): string[] {
  const notes: string[] = [];
  const isHairpin = pairs.some((pair) => pair.src === pair.dst);
  if (isHairpin)
    notes.push("a packet to the pod's own address never leaves it; only by a service does policy see it");
  if (pairs.some(({ ingress }) => ingress.reason === "not-a-pod"))
    notes.push(
      `if ${dst.ips[0] ?? ""} is the address of a service, ask for one of its pods: policies see packets behind the service`,
    );
  for (const { pod } of [src, dst]) {
    if (pod?.hostNetwork === true)
      notes.push(`${objectKey(pod)} is in the network of its node: to policies it is the node`);
    if (pod?.terminating === true) notes.push(`${objectKey(pod)} is being deleted`);
  }
  return notes;
}

/** Each node enforces for its own pods. */
function elsewhereOf({ pods, nodeName }: PolicySnapshot, pairs: readonly ExplainedPair[]): readonly string[] {
  return DIRECTIONS.flatMap((direction) => {
    const key = pairs.find((pair) => pair[direction].isolatedBy.length > 0)?.[direction].pod;
    const pod = key === undefined ? undefined : pods.find((one) => objectKey(one) === key);
    return pod === undefined || pod.nodeName === nodeName
      ? []
      : `${direction} of ${objectKey(pod)} is enforced on node ${pod.nodeName}: whether its kernel agrees, ask there`;
  });
}
