// Entries of from and to: selectors and blocks.
import { namespaceOf, policyOf } from "../../support/policy-cluster.ts";
import { CLIENT, scenarios } from "../../support/policy-scenarios.ts";

const NAMESPACES = [namespaceOf("x", { env: "dev" }), namespaceOf("y", { env: "prod" })];

scenarios("1.3 peers: selectors", [
  {
    name: "podSelector alone: pods of the policy's namespace",
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}",
      ),
    ],
    accept: ["x/a -> x/b"],
    deny: ["x/c -> x/b", "y/a -> x/b"],
  },
  {
    name: "namespaceSelector alone: every pod of the namespaces",
    namespaces: NAMESPACES,
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {env: prod}}}]}]}",
      ),
    ],
    accept: ["y/a -> x/b"],
    deny: ["x/a -> x/b", "x/c -> x/b"],
  },
  {
    name: "both: pods in those namespaces",
    namespaces: NAMESPACES,
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}]}]}",
      ),
    ],
    accept: ["x/a -> x/b", "y/a -> x/b"],
    deny: ["x/c -> x/b"],
  },
  {
    name: "two entries are an or",
    namespaces: NAMESPACES,
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {env: prod}}}, {podSelector: {matchLabels: {app: c}}}]}]}",
      ),
    ],
    accept: ["y/a -> x/b", "x/c -> x/b"],
    deny: ["x/a -> x/b"],
  },
  {
    name: "a namespace has its name as a label",
    policies: [
      policyOf(
        "x/p",
        "{ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}}}]}]}",
      ),
    ],
    accept: ["y/a -> x/b"],
    deny: ["x/a -> x/b"],
  },
  {
    name: "an empty namespaceSelector has the own namespace too, and no address outside",
    policies: [policyOf("x/p", "{ingress: [{from: [{namespaceSelector: {}}]}]}")],
    accept: ["x/a -> x/b", "y/a -> x/b"],
    deny: [`${CLIENT} -> x/b`],
  },
  {
    name: "the labels of a namespace that is not known match nothing; its name does",
    namespaces: [namespaceOf("y")],
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: env, operator: DoesNotExist}]}}]}]}",
      ),
      policyOf("x/q", "{podSelector: {matchLabels: {app: a}}, ingress: [{from: [{podSelector: {}}]}]}"),
    ],
    accept: ["y/a -> x/b", "x/c -> x/a"],
    deny: ["x/a -> x/b"],
  },
  {
    name: "peers that match nobody allow nobody",
    policies: [
      policyOf(
        "x/p",
        "{ingress: [{from: [{podSelector: {matchLabels: {app: none}}}], ports: [{port: 80}]}]}",
      ),
    ],
    deny: ["x/a -> x/b", "y/a -> x/b", `${CLIENT} -> x/b`],
  },
]);

const EGRESS = "podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]";

scenarios("1.3 peers: blocks", [
  {
    name: "a block matches addresses of pods",
    policies: [policyOf("x/p", `{${EGRESS}, egress: [{to: [{ipBlock: {cidr: 10.244.2.0/24}}]}]}`)],
    accept: ["10.244.1.11 -> 10.244.2.13"],
    deny: ["10.244.1.11 -> 10.244.1.12", "fd00:1::11 -> fd00:2::13"],
  },
  {
    name: "host bits are masked",
    policies: [policyOf("x/p", `{${EGRESS}, egress: [{to: [{ipBlock: {cidr: 198.51.100.9/24}}]}]}`)],
    accept: ["10.244.1.11 -> 198.51.100.200"],
    deny: ["10.244.1.11 -> 198.51.101.1"],
  },
  {
    name: "an except of one block does not close what another opens",
    policies: [
      policyOf(
        "x/p",
        `{${EGRESS}, egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.0/25]}}, {ipBlock: {cidr: 198.51.100.64/26}}]}]}`,
      ),
    ],
    accept: ["10.244.1.11 -> 198.51.100.130", "10.244.1.11 -> 198.51.100.65"],
    deny: ["10.244.1.11 -> 198.51.100.1"],
  },
  {
    name: "nor what another rule, policy or pod selector opens",
    policies: [
      policyOf("x/p", `{${EGRESS}, egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}`),
      policyOf("x/q", `{${EGRESS}, egress: [{to: [{podSelector: {matchLabels: {app: b}}}]}]}`),
    ],
    accept: [`10.244.1.11 -> ${CLIENT}`, "10.244.1.11 -> 10.244.1.12"],
    deny: ["10.244.1.11 -> 10.244.2.13"],
  },
  {
    name: "excepts may overlap each other",
    policies: [
      policyOf(
        "x/p",
        `{${EGRESS}, egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.0/25, 198.51.100.64/26]}}]}]}`,
      ),
    ],
    accept: ["10.244.1.11 -> 198.51.100.128"],
    deny: ["10.244.1.11 -> 198.51.100.70", "10.244.1.11 -> 198.51.100.1"],
  },
  {
    name: "0.0.0.0/0 is IPv4 only",
    policies: [policyOf("x/p", `{${EGRESS}, egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}`)],
    accept: ["10.244.1.11 -> 10.244.2.13", "10.244.1.11 -> 203.0.113.9", "10.244.1.11 -> 1.1.1.1"],
    deny: ["fd00:1::11 -> fd00:2::13"],
  },
  {
    name: "::/0 is IPv6 only",
    policies: [
      policyOf("x/p", `{${EGRESS}, egress: [{to: [{ipBlock: {cidr: "::/0", except: ["fd00:2::/64"]}}]}]}`),
    ],
    accept: ["fd00:1::11 -> 2001:db8::99", "fd00:1::11 -> fd00:1::12"],
    deny: ["fd00:1::11 -> fd00:2::13", "10.244.1.11 -> 10.244.2.13"],
  },
  {
    name: "nodes are addresses like others",
    policies: [policyOf("x/p", `{${EGRESS}, egress: [{to: [{ipBlock: {cidr: 192.0.2.2/32}}]}]}`)],
    accept: ["10.244.1.11 -> 192.0.2.2"],
    deny: ["10.244.1.11 -> 192.0.2.1"],
  },
]);
