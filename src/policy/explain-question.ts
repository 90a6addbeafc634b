// The words of `policy explain FROM TO[:PORT[/PROTOCOL]]`, read and looked up in the cluster. Pure.
import { InvalidValueError } from "../net/errors.ts";
import { nearestWord } from "../net/go-flags.ts";
import { tryParseIp } from "../net/ip.ts";
import type { Ip } from "../net/ip.ts";
import { isDnsLabel, isDnsSubdomain, portNameProblem } from "./names-validation.ts";
import { objectKey, POLICY_PROTOCOLS } from "./snapshot.ts";
import type { ClusterNode, Pod, PolicyProtocol, PolicySnapshot } from "./snapshot.ts";

export type End =
  | { readonly kind: "pod"; readonly namespace: string; readonly name: string }
  | { readonly kind: "node"; readonly name: string }
  | { readonly kind: "ip"; readonly ip: Ip };

/** A number, or a name that the destination pod declares; ICMP stands for echo and has no port. */
export type Service =
  | { readonly protocol: PolicyProtocol; readonly port: number | string }
  | { readonly protocol: "ICMP" };

export interface ExplainQuestion {
  readonly from: End;
  readonly to: End;
  /** Absent: every protocol and port. */
  readonly service?: Service;
}

const DEFAULT_NAMESPACE = "default";

/** @throws {InvalidValueError} saying what is wrong and what would be right */
export function parseExplainQuestion(from: string, to: string): ExplainQuestion {
  const { end, service } = splitService(to);
  return {
    from: parseEnd(from, "FROM"),
    to: parseEnd(end, "TO"),
    ...(service !== undefined && { service: parseService(service) }),
  };
}

/** `[fd00::1]:80`, `10.0.0.1:80`, `shop/db:80`; what looks like IPv6 has a port only behind brackets. */
function splitService(text: string): { readonly end: string; readonly service?: string } {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/s.exec(text);
  if (bracketed) return splitResult(bracketed[1] ?? "", bracketed[2]);
  if (tryParseIp(text) !== undefined) return { end: text };
  const colon = text.indexOf(":");
  return colon < 0 ? { end: text } : splitResult(text.slice(0, colon), text.slice(colon + 1));
}

function splitResult(
  end: string,
  service: string | undefined,
): { readonly end: string; readonly service?: string } {
  return service === undefined ? { end } : { end, service };
}

function parseEnd(text: string, what: string): End {
  const ip = tryParseIp(text);
  if (ip !== undefined) return { kind: "ip", ip };
  const parts = text.split("/");
  const [first = "", second] = parts;
  if (parts.length === 2 && first === "node" && isDnsSubdomain(second)) return { kind: "node", name: second };
  if (parts.length === 1 && isDnsSubdomain(first))
    return { kind: "pod", namespace: DEFAULT_NAMESPACE, name: first };
  if (parts.length === 2 && isDnsLabel(first) && isDnsSubdomain(second))
    return { kind: "pod", namespace: first, name: second };
  throw new InvalidValueError(
    `${what} ${JSON.stringify(text)} is none of NAMESPACE/POD, POD, an IP address, node/NAME`,
  );
}

const MAX_PORT = 65_535;
const SERVICE_HELP = "write PORT[/PROTOCOL], for example 80, 53/UDP, http, or 0/ICMP for ping";

/** @throws {InvalidValueError} */
export function parseService(text: string): Service {
  const [portText = "", protocolText = "TCP", more] = text.split("/");
  const name = protocolText.toUpperCase();
  if (name === "ICMP" && more === undefined && /^0?$/.test(portText)) return { protocol: "ICMP" };
  const protocol = POLICY_PROTOCOLS.find((known) => known === name);
  if (protocol === undefined || more !== undefined)
    throw new InvalidValueError(
      `${JSON.stringify(protocolText)} is none of ${POLICY_PROTOCOLS.join(", ")}: ${SERVICE_HELP}`,
    );
  if (/^\d+$/.test(portText)) {
    const port = Number(portText);
    if (port >= 1 && port <= MAX_PORT) return { protocol, port };
    throw new InvalidValueError(`port ${portText} is not from 1 to ${MAX_PORT}`);
  }
  const problem = portNameProblem(portText);
  if (problem !== undefined) throw new InvalidValueError(`${problem}: ${SERVICE_HELP}`);
  return { protocol, port: portText };
}

/** An end that is there, with all of its addresses. */
export interface ResolvedEnd {
  /** In words. */
  readonly label: string;
  readonly ips: readonly Ip[];
  readonly pod?: Pod;
  readonly node?: ClusterNode;
}

/** Nobody has that name; the message names who has one like it. */
export class UnknownEndError extends InvalidValueError {}

/** @throws {UnknownEndError} also for a pod that has no address */
export function resolveEnd(end: End, snapshot: PolicySnapshot): ResolvedEnd {
  switch (end.kind) {
    case "pod":
      return resolvePod(end, snapshot);
    case "node":
      return resolveNode(end.name, snapshot);
    case "ip":
      return resolveIp(end.ip, snapshot);
  }
}

function resolvePod(
  end: { readonly namespace: string; readonly name: string },
  { pods }: PolicySnapshot,
): ResolvedEnd {
  const key = objectKey(end);
  const pod = pods.find((one) => objectKey(one) === key);
  if (pod === undefined) throw new UnknownEndError(`there is no pod ${key}${hint(key, pods.map(objectKey))}`);
  if (pod.finished)
    throw new UnknownEndError(`pod ${key} has finished: its address may be another pod's by now`);
  if (pod.ips.length === 0)
    throw new UnknownEndError(`pod ${key} has no address yet; ask again once it is running`);
  return { label: `pod ${key}${pod.hostNetwork ? " (in the network of its node)" : ""}`, ips: pod.ips, pod };
}

function resolveNode(name: string, { nodes, pods }: PolicySnapshot): ResolvedEnd {
  const node = nodes.find((one) => one.name === name);
  if (node !== undefined && node.addresses.length > 0)
    return { label: `node ${name}`, ips: node.addresses, node };
  if (node !== undefined) throw new UnknownEndError(`no address of node ${name} is known`);
  // A namespace may be called "node".
  const pod = pods.find((one) => one.namespace === "node" && one.name === name);
  const byAddress = pod === undefined ? "" : `; name pod node/${name} by its address ${pod.ips[0] ?? ""}`;
  const names = nodes.map((one) => one.name);
  throw new UnknownEndError(`there is no node ${name}${byAddress || hint(name, names)}`);
}

function resolveIp(ip: Ip, { pods, nodes }: PolicySnapshot): ResolvedEnd {
  const node = nodes.find(({ addresses }) => addresses.includes(ip));
  if (node !== undefined) return { label: `${ip} (node ${node.name})`, ips: [ip], node };
  const owners = pods.filter((pod) => !pod.hostNetwork && !pod.finished && pod.ips.includes(ip));
  const [pod] = owners;
  if (pod === undefined) return { label: ip, ips: [ip] };
  // Of several that claim it evaluation knows the one; its name is in the reason.
  if (owners.length > 1)
    return { label: `${ip} (claimed by ${owners.map(objectKey).join(", ")})`, ips: [ip] };
  return { label: `${ip} (pod ${objectKey(pod)})`, ips: [ip], pod };
}

function hint(word: string, candidates: readonly string[]): string {
  const near = nearestWord(word, candidates);
  return near === undefined ? "" : `; did you mean ${near}?`;
}
