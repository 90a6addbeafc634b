// Ports, ranges, names of ports, and protocols that have none.
import { namedPort, podOf, policyOf } from "../../support/policy-cluster.ts";
import { CLIENT, DENY_INGRESS, scenarios } from "../../support/policy-scenarios.ts";

const INGRESS_PORTS = (ports: string) =>
  policyOf("x/p", `{podSelector: {matchLabels: {app: b}}, ingress: [{ports: ${ports}}]}`);

scenarios("1.4 ports", [
  {
    name: "a port without protocol is TCP",
    policies: [INGRESS_PORTS("[{port: 80}]")],
    accept: ["x/a -> x/b 80/TCP"],
    deny: ["x/a -> x/b 80/UDP", "x/a -> x/b 80/SCTP", "x/a -> x/b 81/TCP", "x/a -> x/b 8/ICMP"],
  },
  {
    name: "an entry without port is every port of its protocol",
    policies: [INGRESS_PORTS("[{protocol: UDP}]")],
    accept: ["x/a -> x/b 1/UDP", "x/a -> x/b 65535/UDP"],
    deny: ["x/a -> x/b 80/TCP", "x/a -> x/b 8/ICMP"],
  },
  {
    name: "SCTP is not TCP",
    policies: [INGRESS_PORTS("[{protocol: SCTP, port: 80}]")],
    accept: ["x/a -> x/b 80/SCTP"],
    deny: ["x/a -> x/b 80/TCP", "x/a -> x/b 81/SCTP"],
  },
  {
    name: "ranges have both of their ends",
    policies: [INGRESS_PORTS("[{port: 80, endPort: 90}, {port: 100, endPort: 100, protocol: UDP}]")],
    accept: ["x/a -> x/b 80/TCP", "x/a -> x/b 90/TCP", "x/a -> x/b 100/UDP"],
    deny: ["x/a -> x/b 79/TCP", "x/a -> x/b 91/TCP", "x/a -> x/b 100/TCP"],
  },
  {
    name: "1-65535",
    policies: [INGRESS_PORTS("[{port: 1, endPort: 65535}]")],
    accept: ["x/a -> x/b 1/TCP", "x/a -> x/b 65535/TCP"],
    deny: ["x/a -> x/b 1/UDP"],
  },
  {
    name: "ports and peers must both match, within one rule",
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}], ports: [{port: 80}]}, {from: [{podSelector: {matchLabels: {app: c}}}], ports: [{port: 81}]}]}",
      ),
    ],
    accept: ["x/a -> x/b 80/TCP", "x/c -> x/b 81/TCP"],
    deny: ["x/a -> x/b 81/TCP", "x/c -> x/b 80/TCP"],
  },
  {
    name: "forty ports in one rule",
    policies: [
      INGRESS_PORTS(`[${Array.from({ length: 40 }, (_, i) => `{port: ${100 + 2 * i}}`).join(", ")}]`),
    ],
    accept: ["x/a -> x/b 100/TCP", "x/a -> x/b 130/TCP", "x/a -> x/b 178/TCP"],
    deny: ["x/a -> x/b 101/TCP", "x/a -> x/b 180/TCP"],
  },
]);

/** Every pod calls another number http. */
const NAMED = [
  podOf("x/a", "1.11", { app: "a" }, { ports: [namedPort("http", 8080)] }),
  podOf(
    "x/b",
    "1.12",
    { app: "b" },
    { ports: [namedPort("http", 8081), namedPort("http", 9081), namedPort("http", 53, "UDP")] },
  ),
  podOf("x/c", "2.13", { app: "c" }),
  podOf("y/a", "2.21", { app: "a" }, { ports: [namedPort("http", 8082)] }),
];

scenarios("1.4 named ports", [
  {
    name: "ingress: the subject's own numbers, all of them, and its protocol",
    pods: NAMED,
    policies: [policyOf("x/p", "{ingress: [{ports: [{port: http}]}]}")],
    accept: ["x/c -> x/a 8080/TCP", "x/c -> x/b 8081/TCP", "x/c -> x/b 9081/TCP"],
    deny: [
      "x/c -> x/a 8081/TCP",
      "x/c -> x/b 53/UDP",
      "x/c -> x/b 8081/UDP",
      "x/b -> x/c 8080/TCP",
      "x/b -> x/c 80/TCP",
    ],
  },
  {
    name: "a name that no pod declares matches nothing, and is not every port",
    pods: NAMED,
    policies: [policyOf("x/p", "{ingress: [{from: [{podSelector: {}}], ports: [{port: nobody}]}]}")],
    deny: ["x/c -> x/a 8080/TCP", "x/c -> x/a 80/TCP"],
  },
  {
    name: "egress: by the destination, within the peers",
    pods: NAMED,
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: c}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]}",
      ),
    ],
    accept: ["x/c -> x/a 8080/TCP", "x/c -> x/b 8081/TCP"],
    deny: ["x/c -> x/a 8081/TCP", "x/c -> y/a 8082/TCP"],
  },
  {
    name: "egress without peers: pods of all namespaces, and no address that is no pod",
    pods: NAMED,
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: c}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}",
      ),
    ],
    accept: ["x/c -> x/a 8080/TCP", "x/c -> y/a 8082/TCP"],
    deny: ["x/c -> x/a 8082/TCP", `10.244.2.13 -> ${CLIENT} 8080/TCP`],
  },
  {
    name: "egress with a block: pods in the block",
    pods: NAMED,
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: c}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.1.0/24, except: [10.244.1.12/32]}}], ports: [{port: http}]}]}",
      ),
    ],
    accept: ["10.244.2.13 -> 10.244.1.11 8080/TCP"],
    deny: [
      "10.244.2.13 -> 10.244.1.11 80/TCP",
      "10.244.2.13 -> 10.244.1.12 8081/TCP",
      "10.244.2.13 -> 10.244.2.21 8082/TCP",
    ],
  },
  {
    name: "a name beside a number",
    pods: NAMED,
    policies: [policyOf("x/p", "{ingress: [{ports: [{port: http}, {port: 80}]}]}")],
    accept: ["x/c -> x/a 8080/TCP", "x/c -> x/a 80/TCP"],
    deny: ["x/c -> x/a 8081/TCP"],
  },
]);

scenarios("1.4 protocols without ports", [
  {
    name: "only a rule without ports allows them",
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}, {ports: [{port: 80}]}]}",
      ),
    ],
    accept: ["10.244.1.11 -> 10.244.1.12 8/ICMP", "fd00:1::11 -> fd00:1::12 128/ICMP", "x/a -> x/b 0/other"],
    deny: ["10.244.2.13 -> 10.244.1.12 8/ICMP", "fd00:2::13 -> fd00:1::12 128/ICMP", "x/c -> x/b 0/other"],
  },
  {
    name: "echo by setting, and nothing else of ICMP",
    policies: [DENY_INGRESS],
    settings: { icmp: "allow-echo" },
    accept: ["10.244.1.11 -> 10.244.1.12 8/ICMP", "fd00:1::11 -> fd00:1::12 128/ICMP"],
    deny: ["10.244.1.11 -> 10.244.1.12 13/ICMP", "fd00:1::11 -> fd00:1::12 1/ICMP"],
  },
  {
    name: "errors about known connections pass",
    policies: [policyOf("x/p", "{policyTypes: [Ingress, Egress]}")],
    packet: { state: "related" },
    accept: ["x/a -> x/b 3/ICMP", `${CLIENT} -> x/b 3/ICMP`],
  },
  {
    name: "neighbor discovery, router discovery and MLD pass, between any addresses",
    policies: [policyOf("x/p", "{policyTypes: [Ingress, Egress]}")],
    accept: [130, 131, 132, 133, 134, 135, 136, 143].flatMap((type) => [
      `fd00:1::11 -> fd00:1::12 ${type}/ICMP`,
      `fd00:1::99 -> ff02::1 ${type}/ICMP`,
    ]),
    deny: ["fd00:1::11 -> fd00:1::12 137/ICMP", "10.244.1.11 -> 10.244.1.12 133/ICMP"],
  },
]);
