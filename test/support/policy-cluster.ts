// A small cluster to write policy tests about: pods by short names, policies as YAML, packets by name.
import { parse, parseAllDocuments } from "yaml";
import { parseCidr } from "../../src/net/cidr.ts";
import { familyOf, parseIp } from "../../src/net/ip.ts";
import type { Ip } from "../../src/net/ip.ts";
import type { Packet } from "../../src/policy/packet.ts";
import { formatProblem } from "../../src/policy/problems.ts";
import { NAMESPACE_NAME_LABEL, objectKey } from "../../src/policy/snapshot.ts";
import type {
  ClusterNode,
  Labels,
  NamedPort,
  Namespace,
  Pod,
  Policy,
  PolicyProtocol,
  PolicySnapshot,
} from "../../src/policy/snapshot.ts";
import { translatePolicy } from "../../src/policy/translate-policy.ts";

/** Node n has 192.0.2.n, the pod subnets 10.244.n.0/24 and fd00:n::/64, and in them overlay device and bridge. */
export function clusterNode(n: number): ClusterNode {
  const addresses = [
    `192.0.2.${n}`,
    `2001:db8::${n}`,
    `10.244.${n}.0`,
    `10.244.${n}.1`,
    `fd00:${n}::`,
    `fd00:${n}::1`,
  ];
  return {
    name: `n${n}`,
    addresses: addresses.map(parseIp),
    podCidrs: [`10.244.${n}.0/24`, `fd00:${n}::/64`].map(parseCidr),
  };
}

export function namespaceOf(name: string, labels: Labels = {}): Namespace {
  return { name, labels: { ...labels, [NAMESPACE_NAME_LABEL]: name } };
}

/** `pod("x/a", "1.5", {app: "web"})` has 10.244.1.5 and fd00:1::5 on node n1. */
export function podOf(key: string, place: string, labels: Labels = {}, more: Partial<Pod> = {}): Pod {
  const [namespace = "", name = ""] = key.split("/");
  const [node = "", host = ""] = place.split(".");
  return {
    namespace,
    name,
    uid: key,
    nodeName: `n${node}`,
    labels,
    ips: [`10.244.${node}.${host}`, `fd00:${node}::${host}`].map(parseIp),
    hostNetwork: false,
    finished: false,
    terminating: false,
    ports: [],
    ...more,
  };
}

export function namedPort(name: string, port: number, protocol: PolicyProtocol = "TCP"): NamedPort {
  return { name, protocol, port };
}

/** Policies of a YAML text with one or several documents. @throws {Error} naming every problem */
export function policiesOf(text: string): readonly Policy[] {
  return parseAllDocuments(text).map((document) => translated(document.toJS()));
}

/** `policyOf("x/p", "{podSelector: {}}")`: the spec alone. */
export function policyOf(key: string, specText: string): Policy {
  return translated(wrap(key, parse(specText)));
}

function wrap(key: string, spec: unknown): unknown {
  const [namespace, name] = key.split("/");
  return { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { namespace, name }, spec };
}

function translated(object: unknown): Policy {
  const { policy, problems } = translatePolicy(object, { mode: "strict" });
  if (policy === undefined) throw new Error(problems.map(formatProblem).join("\n"));
  return policy;
}

/** Node n1, two nodes, and namespaces as the pods have them, unless given. */
export function snapshotOf(parts: Partial<PolicySnapshot>): PolicySnapshot {
  const pods = parts.pods ?? [];
  const names = [...new Set(pods.map(({ namespace }) => namespace))];
  return {
    nodeName: "n1",
    nodes: [1, 2].map(clusterNode),
    namespaces: names.map((name) => namespaceOf(name)),
    policies: [],
    ...parts,
    pods,
  };
}

/**
 * `x/a -> x/b 53/UDP`: ends are pods or addresses; without a service it is TCP to 80; `8/ICMP` is an ICMP type. Two pods
 * give a packet of each family that both have.
 */
export function packetsOf(text: string, pods: readonly Pod[], more: Partial<Packet> = {}): readonly Packet[] {
  const [from = "", to = ""] = text.split(" -> ");
  const [target = "", service = "80/TCP"] = to.split(" ");
  const [number, protocol] = service.split("/") as [string, Packet["protocol"]];
  const byProtocol: Partial<Record<Packet["protocol"], Partial<Packet>>> = {
    ICMP: { icmpType: Number(number) },
    other: {},
  };
  const detail = byProtocol[protocol] ?? { port: Number(number) };
  const common = { protocol, state: "new" as const, ...detail, ...more };
  const addressesOf = (end: string): readonly Ip[] => {
    const pod = pods.find((one) => objectKey(one) === end);
    return pod ? pod.ips : [parseIp(end)];
  };
  const packets = addressesOf(from).flatMap((src) =>
    addressesOf(target)
      .filter((dst) => familyOf(dst) === familyOf(src))
      .map((dst): Packet => Object.assign({ src, dst }, common)),
  );
  if (packets.length === 0) throw new Error(`${text}: no family in common`);
  return packets;
}
