// Who is never or always allowed, and what is closed because nobody knows it.
import { parseIp } from "../../../src/net/ip.ts";
import { namedPort, podOf, policyOf } from "../../support/policy-cluster.ts";
import { CLIENT, DENY_INGRESS, PODS, scenarios } from "../../support/policy-scenarios.ts";

scenarios("1.5 who is never, or always, allowed", [
  {
    name: "both ends must agree",
    policies: [
      policyOf(
        "x/out",
        "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: b}}}]}]}",
      ),
      policyOf(
        "x/in",
        "{podSelector: {matchLabels: {app: c}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}",
      ),
    ],
    accept: ["x/a -> x/b"],
    deny: ["x/a -> x/c", "x/b -> x/c"],
  },
  {
    name: "replies pass",
    policies: [policyOf("x/p", "{policyTypes: [Ingress, Egress]}")],
    packet: { state: "established" },
    accept: ["x/a -> x/b", "x/b -> y/a", `${CLIENT} -> x/a`],
  },
  {
    name: "a packet of no connection is lost at isolated pods and no affair of ours elsewhere",
    policies: [policyOf("x/p", "{podSelector: {matchLabels: {app: b}}, ingress: [{}]}")],
    packet: { state: "invalid" },
    accept: ["x/b -> x/a", `${CLIENT} -> x/a`],
    deny: ["x/a -> x/b"],
  },
  {
    name: "a node reaches its own pods by any of its addresses, and others' pods by their rules",
    policies: [policyOf("x/p", "{}")],
    accept: [
      "192.0.2.1 -> 10.244.1.11",
      "10.244.1.1 -> 10.244.1.11",
      "fd00:1::1 -> fd00:1::11",
      "2001:db8::1 -> fd00:1::11",
    ],
    deny: ["192.0.2.2 -> 10.244.1.11", "10.244.2.0 -> 10.244.1.11", "fd00:2:: -> fd00:1::11"],
  },
  {
    name: "pod to its own node: as its egress says",
    policies: [policyOf("x/p", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}")],
    accept: ["10.244.1.12 -> 192.0.2.1"],
    deny: [
      "10.244.1.11 -> 192.0.2.1",
      "10.244.1.11 -> 10.244.1.1",
      "fd00:1::11 -> fd00:1::1",
      "10.244.1.11 -> 192.0.2.2",
    ],
  },
  {
    name: "pod to its own node: always, by setting; to another node by its rules",
    policies: [policyOf("x/p", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}")],
    settings: { podToNode: "allow" },
    accept: ["10.244.1.11 -> 192.0.2.1", "fd00:1::11 -> fd00:1::1"],
    deny: ["10.244.1.11 -> 192.0.2.2"],
  },
  {
    name: "a hostNetwork pod is neither subject nor peer",
    pods: [
      ...PODS,
      podOf(
        "x/host",
        "1.2",
        { app: "a" },
        { hostNetwork: true, ips: [parseIp("192.0.2.2")], ports: [namedPort("http", 80)] },
      ),
    ],
    policies: [
      policyOf(
        "x/p",
        "{policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}], egress: [{to: [{podSelector: {}}]}]}",
      ),
      policyOf("y/p", "{policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"),
    ],
    accept: ["x/a -> x/b", `192.0.2.2 -> ${CLIENT}`],
    deny: ["192.0.2.2 -> 10.244.1.12", "10.244.1.11 -> 192.0.2.2", "10.244.2.21 -> 192.0.2.2"],
  },
  {
    name: "a pod reaches itself through a service",
    policies: [policyOf("x/p", "{policyTypes: [Ingress, Egress]}")],
    accept: ["x/a -> x/a"],
    deny: ["x/a -> x/b"],
  },
  {
    name: "a pod is itself only if every bit of the address is",
    pods: ["fd00:1::2", "fd00:1::1:0:2", "fd00:1::1:0:0:2", "fd00:1:0:1::2", "fd00:9:1::2"].map((ip, index) =>
      podOf(`x/pod-${index}`, "1.2", {}, { ips: [parseIp(ip)] }),
    ),
    policies: [policyOf("x/p", "{}")],
    accept: ["x/pod-0 -> x/pod-0"],
    deny: ["x/pod-0 -> x/pod-1", "x/pod-0 -> x/pod-2", "x/pod-1 -> x/pod-2", "x/pod-2 -> x/pod-0"],
  },
  {
    name: "and only by its rules, if so set",
    policies: [
      policyOf("x/p", "{podSelector: {matchLabels: {app: a}}}"),
      policyOf("x/q", "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {}}]}]}"),
    ],
    settings: { hairpin: "policy" },
    accept: ["x/b -> x/b"],
    deny: ["x/a -> x/a"],
  },
  {
    name: "a finished pod has no address: not as subject, not as peer",
    pods: [
      ...PODS,
      podOf("x/job", "2.50", { app: "a" }, { finished: true }),
      podOf("y/new", "2.50", { app: "z" }),
    ],
    policies: [
      policyOf(
        "x/p",
        "{policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}",
      ),
    ],
    accept: [`${CLIENT} -> 10.244.2.50`, "10.244.2.50 -> 10.244.2.21"],
    deny: ["10.244.2.50 -> 10.244.1.12"],
  },
  {
    name: "also while nobody else has it, and also if the finished pod is the younger",
    pods: [
      ...PODS,
      podOf("x/job", "1.50", { app: "a" }, { finished: true }),
      podOf("x/job2", "1.11", { app: "z" }, { finished: true, createdAtMs: 9 }),
    ],
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}",
      ),
    ],
    accept: ["10.244.1.11 -> 10.244.1.12"],
    deny: ["10.244.1.50 -> 10.244.1.12", "10.244.1.11 -> 10.244.1.50"],
  },
  {
    name: "a pod on its way out still counts",
    pods: [podOf("x/a", "1.11", { app: "a" }, { terminating: true }), podOf("x/b", "1.12", { app: "b" })],
    policies: [policyOf("x/p", "{ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}")],
    accept: ["x/a -> x/b"],
    deny: ["x/b -> x/a"],
  },
  {
    name: "an address that is used again belongs to the younger pod, also before the old one is gone",
    pods: [
      podOf("x/new", "1.11", { app: "b" }, { createdAtMs: 2 }),
      podOf("x/old", "1.11", { app: "a" }, { createdAtMs: 1 }),
      podOf("x/c", "1.13"),
    ],
    policies: [
      policyOf("x/p", "{ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}"),
      policyOf("x/q", "{podSelector: {matchLabels: {app: a}}, ingress: [{}]}"),
    ],
    deny: ["10.244.1.11 -> 10.244.1.13", "10.244.1.13 -> 10.244.1.11"],
  },
  {
    name: "a pod without an address disturbs nobody",
    pods: [...PODS, podOf("x/pending", "1.60", { app: "a" }, { ips: [] })],
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}",
      ),
    ],
    accept: ["x/a -> x/b"],
    deny: ["x/c -> x/b"],
  },
  {
    name: "isolated in both families, whatever family the rules speak of",
    policies: [
      policyOf(
        "x/p",
        "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}",
      ),
    ],
    accept: ["10.244.1.11 -> 10.244.1.12"],
    deny: ["fd00:1::11 -> fd00:1::12"],
  },
]);

scenarios("fail closed", [
  {
    name: "an address for pods that no known pod has is closed both ways, for pods, nodes of others and the world",
    policies: [],
    accept: ["192.0.2.1 -> 10.244.1.99", "x/a -> x/b"],
    deny: [
      "x/a -> 10.244.1.99",
      "10.244.1.99 -> 10.244.1.11",
      `10.244.1.99 -> ${CLIENT}`,
      "10.244.1.99 -> 192.0.2.1",
      "192.0.2.2 -> 10.244.1.99",
    ].map((text) => text.replace("x/a", "10.244.1.11")),
  },
  {
    name: "a group reaches isolated pods too, so it is closed where there are any",
    policies: [DENY_INGRESS],
    accept: ["10.244.2.13 -> 224.0.0.251 5353/UDP", "fd00:2::13 -> ff02::fb 5353/UDP"],
    deny: [
      "10.244.1.11 -> 224.0.0.251 5353/UDP",
      "10.244.1.11 -> 255.255.255.255 67/UDP",
      "fd00:1::11 -> ff02::fb 5353/UDP",
    ],
  },
  {
    name: "a policy in a namespace that is not known yet isolates",
    namespaces: [],
    policies: [DENY_INGRESS],
    deny: ["x/a -> x/b"],
  },
]);
