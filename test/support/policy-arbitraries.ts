// Random clusters, policies and packets, small enough that everything meets: labels, addresses, ports, blocks.
import * as fc from "fast-check";
import { cidrContains, cidrLength, parseCidr } from "../../src/net/cidr.ts";
import { familyOf, parseIp } from "../../src/net/ip.ts";
import type { Ip } from "../../src/net/ip.ts";
import type { Packet } from "../../src/policy/packet.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../src/policy/settings.ts";
import type { PolicySettings } from "../../src/policy/settings.ts";
import { DIRECTIONS, NAMESPACE_NAME_LABEL, POLICY_PROTOCOLS } from "../../src/policy/snapshot.ts";
import type {
  ClusterNode, Namespace, Pod, Policy, PolicyPeer, PolicyPort, PolicyRule, PolicySnapshot, Requirement,
} from "../../src/policy/snapshot.ts"; // prettier-ignore

export const NODES: readonly ClusterNode[] = [1, 2].map((n) => ({
  name: `n${n}`,
  addresses: [
    `192.0.2.${n}`,
    `10.244.${n}.0`,
    `10.244.${n}.1`,
    `2001:db8::${n}`,
    `fd00:${n}::`,
    `fd00:${n}::1`,
  ].map(parseIp),
  podCidrs: [`10.244.${n}.0/24`, `fd00:${n}::/64`].map(parseCidr),
}));

const label = fc.constantFrom("a", "b");
export const labels = fc.record({ app: label, tier: label }, { requiredKeys: [] });
const requirement: fc.Arbitrary<Requirement> = fc.oneof(
  fc.record({
    key: fc.constantFrom("app", "tier"),
    operator: fc.constantFrom("In", "NotIn"),
    values: fc.subarray(["a", "b"], { minLength: 1 }),
  }),
  fc.record({
    key: fc.constantFrom("app", "tier"),
    operator: fc.constantFrom("Exists", "DoesNotExist"),
    values: fc.constant([]),
  }),
);
const selector = fc.oneof(fc.constant([]), fc.array(requirement, { minLength: 1, maxLength: 2 }));
const namespaceName = fc.constantFrom("x", "x", "y", "z");

/** Addresses 2 to 5 of each node's subnets: few, so that pods claim the same. */
const podAddresses = (node: number, host: number, families: number) =>
  [
    [`10.244.${node}.${host}`],
    [`fd00:${node}::${host}`],
    [`10.244.${node}.${host}`, `fd00:${node}::${host}`],
  ][families]?.map(parseIp) ?? [];

const rarely = fc.integer({ min: 0, max: 7 }).map((n) => n === 0);
const protocol = fc.constantFrom("TCP" as const, ...POLICY_PROTOCOLS);
const portNumber = fc.constantFrom(80, 81, 443, 8080);
const portName = fc.constantFrom("http", "dns");

/** Without a name and a uid. */
export const pod: fc.Arbitrary<Pod> = fc
  .record({
    namespace: namespaceName,
    labels,
    node: fc.constantFrom(1, 2),
    host: fc.integer({ min: 2, max: 5 }),
    families: fc.constantFrom(0, 1, 2, 2, 2),
    hostNetwork: rarely,
    finished: rarely,
    terminating: rarely,
    createdAtMs: fc.nat(3),
    ports: fc.array(fc.record({ name: portName, protocol, port: portNumber }), { maxLength: 3 }),
  })
  .map(toPod);

function toPod(
  drawn: Omit<Pod, "name" | "uid" | "nodeName" | "ips"> & { node: number; host: number; families: number },
): Pod {
  const { node, host, families, ...rest } = drawn;
  const ips = rest.hostNetwork ? [parseIp(`192.0.2.${node}`)] : podAddresses(node, host, families);
  return { ...rest, name: "", uid: "", nodeName: `n${node}`, ips };
}

const blocks = [
  "0.0.0.0/0", "10.244.0.0/16", "10.244.1.0/24", "10.244.1.2/31", "10.244.2.4/32", "192.0.2.0/24", "198.51.100.0/24", "198.51.100.0/25",
  "224.0.0.0/4", "::/0", "fd00:1::/64", "fd00:2::4/126", "2001:db8::/32", "2001:db8:1::/48", "ff00::/8",
].map(parseCidr); // prettier-ignore

const block = fc.constantFrom(...blocks).chain((cidr) => {
  const holes = blocks.filter((hole) => cidrContains(cidr, hole) && cidrLength(hole) > cidrLength(cidr));
  return fc.subarray(holes).map((except): PolicyPeer => ({ kind: "block", cidr, except }));
});
const peer: fc.Arbitrary<PolicyPeer> = fc.oneof(
  block,
  fc.record({ kind: fc.constant("pods"), pods: selector }),
  fc.record({ kind: fc.constant("pods"), pods: selector, namespaces: selector }),
);
const policyPort: fc.Arbitrary<PolicyPort> = fc.oneof(
  fc
    .record({ protocol, from: portNumber })
    .map(({ protocol, from }): PolicyPort => ({ kind: "numbers", protocol, from, to: from })),
  fc
    .record({ protocol, from: portNumber, length: fc.nat(400) })
    .map(({ protocol, from, length }): PolicyPort => ({
      kind: "numbers",
      protocol,
      from,
      to: from + length,
    })),
  protocol.map((protocol): PolicyPort => ({ kind: "numbers", protocol, from: 0, to: 65_535 })),
  fc.record({ kind: fc.constant("named"), protocol, name: portName }),
);
const manyPorts = fc.integer({ min: 14, max: 40 }).map((count): readonly PolicyPort[] =>
  Array.from({ length: count }, (_, i) => ({
    kind: "numbers",
    protocol: "TCP",
    from: 80 + 3 * i,
    to: 80 + 3 * i + (i % 2),
  })),
);
const rule: fc.Arbitrary<PolicyRule> = fc.record(
  {
    peers: fc.array(peer, { maxLength: 3 }),
    ports: fc.oneof(
      { weight: 8, arbitrary: fc.array(policyPort, { maxLength: 3 }) },
      { weight: 1, arbitrary: manyPorts },
    ),
  },
  { requiredKeys: [] },
);
const rules = fc.array(rule, { maxLength: 3 });
export const policy: fc.Arbitrary<Omit<Policy, "name">> = fc.record({
  namespace: namespaceName,
  podSelector: fc.oneof(fc.constant([]), selector),
  types: fc.subarray([...DIRECTIONS], { minLength: 1 }),
  ingress: rules,
  egress: rules,
});

const namespaces: fc.Arbitrary<readonly Namespace[]> = fc
  .tuple(labels, labels, fc.option(labels, { nil: undefined }))
  .map((all) =>
    ["x", "y", "z"].flatMap((name, index) => {
      const own = all[index];
      // One that has not been announced yet.
      return own ? { name, labels: { ...own, [NAMESPACE_NAME_LABEL]: name } } : [];
    }),
  );

const snapshots: fc.Arbitrary<PolicySnapshot> = fc
  .record({
    namespaces,
    pods: fc.array(pod, { minLength: 2, maxLength: 9, size: "max" }),
    policies: fc.array(policy, { minLength: 1, maxLength: 7, size: "max" }),
  })
  .map(({ namespaces, pods, policies }) => ({
    nodeName: "n1",
    nodes: NODES,
    namespaces,
    pods: pods.map((one, index) => Object.assign(one, { name: `pod-${index}`, uid: `uid-${index}` })),
    policies: policies.map((one, index) => Object.assign(one, { name: `policy-${index}` })),
  }));

const SOURCES = [
  "10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.2.2", "10.244.2.3", "10.244.2.4", "10.244.2.5",
  "10.244.1.9", "192.0.2.1", "192.0.2.2", "10.244.1.1", "10.244.2.0", "198.51.100.7", "198.51.100.200", "203.0.113.9",
  "fd00:1::2", "fd00:1::3", "fd00:1::4", "fd00:1::5", "fd00:2::2", "fd00:2::3", "fd00:2::4", "fd00:2::5",
  "fd00:2::9", "2001:db8::1", "fd00:2::1", "2001:db8:1::7", "2001:db9::1",
].map(parseIp); // prettier-ignore
const TARGETS = [...SOURCES, ...["224.0.0.251", "255.255.255.255", "ff02::fb"].map(parseIp)];

const anyProtocol = fc.constantFrom<Packet["protocol"][]>(
  "TCP",
  "TCP",
  "TCP",
  "TCP",
  "UDP",
  "UDP",
  "SCTP",
  "SCTP",
  "ICMP",
  "other",
);

/** Mostly between pods that exist, in one family. */
function packetsIn(snapshot: PolicySnapshot): fc.Arbitrary<Packet> {
  const alive = snapshot.pods
    .filter(({ hostNetwork, finished }) => !hostNetwork && !finished)
    .flatMap(({ ips }) => ips);
  const pick = (family: 4 | 6, others: readonly Ip[]): fc.Arbitrary<Ip> => {
    const [pods, rest] = [alive, others].map((ips) => ips.filter((ip) => familyOf(ip) === family)) as [
      Ip[],
      Ip[],
    ];
    if (pods.length === 0) return fc.constantFrom(...rest);
    return fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...pods) },
      { weight: 1, arbitrary: fc.constantFrom(...rest) },
    );
  };
  const declared = snapshot.pods.flatMap(({ ports }) => ports);
  const service = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        protocol: anyProtocol,
        port: fc.oneof(portNumber, fc.integer({ min: 78, max: 210 })),
      }),
    },
    {
      weight: declared.length,
      arbitrary: fc.constantFrom(...declared, { protocol: "TCP" as const, port: 80 }),
    },
  );
  return fc
    .constantFrom<(4 | 6)[]>(4, 4, 6)
    .chain((family) =>
      fc.record({
        src: pick(family, SOURCES),
        dst: pick(family, TARGETS),
        service,
        icmpType: fc.constantFrom(...(family === 4 ? [8, 3, 13] : [128, 1, 135, 134, 143])),
        state: fc.oneof(
          { weight: 12, arbitrary: fc.constant<Packet["state"]>("new") },
          { weight: 1, arbitrary: fc.constantFrom<Packet["state"][]>("established", "related", "invalid") },
        ),
      }),
    )
    .map(toPacket);
}

/** A cluster with packets to try in it. */
export const scenarios: fc.Arbitrary<{
  readonly snapshot: PolicySnapshot;
  readonly packets: readonly Packet[];
}> = snapshots.chain((snapshot) =>
  fc.record({
    snapshot: fc.constant(snapshot),
    packets: fc.array(packetsIn(snapshot), { minLength: 30, maxLength: 60, size: "max" }),
  }),
);

type Drawn = Omit<Packet, "protocol"> & { service: Pick<Packet, "protocol" | "port">; icmpType: number };

function toPacket({ service: { protocol, port = 0 }, icmpType, ...packet }: Drawn): Packet {
  if (protocol === "ICMP") return { ...packet, protocol, icmpType };
  return protocol === "other" ? { ...packet, protocol } : { ...packet, protocol, port };
}

/** One event. Which object it is about is drawn as a number, so that it fits any snapshot. */
export const changes: fc.Arbitrary<(snapshot: PolicySnapshot) => PolicySnapshot> = fc.oneof(
  fc.tuple(pod, fc.nat(8)).map(([newcomer, at]) => (snapshot: PolicySnapshot) => {
    const joined = { ...newcomer, name: "new", uid: `uid-${at}x` };
    return { ...snapshot, pods: [...snapshot.pods.slice(0, at), joined, ...snapshot.pods.slice(at)] };
  }),
  fc.nat(8).map((at) => (snapshot: PolicySnapshot) => ({ ...snapshot, pods: without(snapshot.pods, at) })),
  fc.tuple(labels, fc.nat(8)).map(([labels, at]) => (snapshot: PolicySnapshot) => ({
    ...snapshot,
    pods: changed(snapshot.pods, at, (one) => ({ ...one, labels })),
  })),
  fc.tuple(labels, fc.nat(2)).map(([labels, at]) => (snapshot: PolicySnapshot) => ({
    ...snapshot,
    namespaces: changed(snapshot.namespaces, at, ({ name }) => ({
      name,
      labels: { ...labels, [NAMESPACE_NAME_LABEL]: name },
    })),
  })),
  policy.map((added) => (snapshot: PolicySnapshot) => ({
    ...snapshot,
    policies: [...snapshot.policies, { ...added, name: "new" }],
  })),
  fc
    .nat(5)
    .map((at) => (snapshot: PolicySnapshot) => ({ ...snapshot, policies: without(snapshot.policies, at) })),
  fc.tuple(policy, fc.nat(5)).map(([next, at]) => (snapshot: PolicySnapshot) => ({
    ...snapshot,
    policies: changed(snapshot.policies, at, ({ name }) => ({ ...next, name })),
  })),
);

function without<T>(list: readonly T[], at: number): readonly T[] {
  return list.filter((_, index) => index !== at % list.length);
}

function changed<T>(list: readonly T[], at: number, change: (item: T) => T): readonly T[] {
  return list.map((item, index) => (index === at % list.length ? change(item) : item));
}

export const settings: fc.Arbitrary<PolicySettings> = fc
  .record({
    icmp: fc.constantFrom<PolicySettings["icmp"][]>("policy", "allow-echo"),
    podToNode: fc.constantFrom<PolicySettings["podToNode"][]>("policy", "allow"),
    hairpin: fc.constantFrom<PolicySettings["hairpin"][]>("allow", "policy"),
    denyWith: fc.constantFrom<PolicySettings["denyWith"][]>("drop", "reject"),
    countDenied: fc.boolean(),
    logging: fc.boolean(),
  })
  .map(toSettings);

function toSettings({ logging, ...some }: Partial<PolicySettings> & { logging: boolean }): PolicySettings {
  return { ...DEFAULT_POLICY_SETTINGS, ...some, ...(logging && { logGroup: 7 }) };
}
