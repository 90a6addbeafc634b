// The scenarios of Kubernetes' e2e network policy suite, written from its public description: objects, and what it states.
import type { Scenario } from "../../support/policy-probes/scenarios.ts";

/** One policy document. `spec` is YAML in flow style. */
export function policy(key: string, spec: string): string {
  const [namespace, name] = key.split("/");
  return `---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: ${namespace}, name: ${name}}\nspec: ${spec}\n`;
}

const POD_A = "podSelector: {matchLabels: {pod: a}}";
const from = (peers: string): string => `{${POD_A}, policyTypes: [Ingress], ingress: [{from: ${peers}}]}`;
const to = (peers: string): string => `{${POD_A}, policyTypes: [Egress], egress: [{to: ${peers}}]}`;
const DENY_INGRESS = policy("x/deny-ingress", "{podSelector: {}, policyTypes: [Ingress]}");
const ALLOW_ALL_INGRESS = policy("x/allow-all", "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}");
const SCTP = [
  { port: 80, protocol: "SCTP" },
  { port: 81, protocol: "SCTP" },
  { port: 80, protocol: "TCP" },
] as const;
const ALL_TCP_UDP = [80, 81].flatMap((port) => [
  { port, protocol: "TCP" as const },
  { port, protocol: "UDP" as const },
]);

export const UPSTREAM_SUITE: readonly Scenario[] = [
  { name: "no policy at all", policies: "", upstream: [] },
  { name: "default-deny-ingress", policies: DENY_INGRESS, upstream: ["deny * -> x/*"] },
  {
    name: "default-deny-all",
    policies: policy("x/deny-all", "{podSelector: {}, policyTypes: [Ingress, Egress]}"),
    upstream: ["deny * -> x/*", "deny x/* -> *"],
  },
  {
    name: "allow traffic from pods within server namespace based on PodSelector",
    policies: policy("x/p", from("[{podSelector: {matchLabels: {pod: b}}}]")),
    upstream: ["deny * -> x/a", "allow x/b -> x/a"],
  },
  {
    name: "allow ingress traffic for a target",
    policies: DENY_INGRESS + policy("x/p", from("[{podSelector: {matchLabels: {pod: b}}}]")),
    upstream: ["deny * -> x/*", "allow x/b -> x/a"],
  },
  {
    name: "allow ingress traffic from pods in all namespaces",
    policies: policy("x/p", from("[{namespaceSelector: {}}]")),
    upstream: [],
  },
  {
    name: "allow traffic only from a different namespace, based on NamespaceSelector",
    policies: policy("x/p", from("[{namespaceSelector: {matchLabels: {ns: y}}}]")),
    upstream: ["deny x/* -> x/a", "deny z/* -> x/a"],
  },
  {
    name: "PodSelector with MatchExpressions",
    policies: policy(
      "x/p",
      from("[{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b]}]}}]"),
    ),
    upstream: ["deny * -> x/a", "allow x/b -> x/a"],
  },
  {
    name: "NamespaceSelector with MatchExpressions",
    policies: policy(
      "x/p",
      from("[{namespaceSelector: {matchExpressions: [{key: ns, operator: In, values: [y]}]}}]"),
    ),
    upstream: ["deny * -> x/a", "allow y/* -> x/a"],
  },
  {
    name: "NamespaceSelector with MatchExpressions, by the default label",
    policies: policy(
      "x/p",
      from(
        "[{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [x, z]}]}}]",
      ),
    ),
    upstream: ["deny * -> x/a", "allow y/* -> x/a"],
  },
  {
    name: "PodSelector or NamespaceSelector",
    policies: policy(
      "x/p",
      from(
        "[{podSelector: {matchLabels: {pod: b}}}, {namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}]",
      ),
    ),
    upstream: ["deny x/c -> x/a"],
  },
  {
    name: "PodSelector and NamespaceSelector",
    policies: policy(
      "x/p",
      from(
        "[{podSelector: {matchLabels: {pod: b}}, namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}]",
      ),
    ),
    upstream: ["deny * -> x/a", "allow y/b -> x/a", "allow z/b -> x/a"],
  },
  {
    name: "Multiple PodSelectors and NamespaceSelectors",
    policies: policy(
      "x/p",
      from(
        "[{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b, c]}]}, namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}]",
      ),
    ),
    upstream: ["deny x/* -> x/a", "deny y/a -> x/a", "deny z/a -> x/a"],
  },
  {
    name: "any PodSelectors",
    policies: policy(
      "x/p",
      from("[{podSelector: {matchLabels: {pod: b}}}, {podSelector: {matchLabels: {pod: c}}}]"),
    ),
    upstream: ["deny * -> x/a", "allow x/b -> x/a", "allow x/c -> x/a"],
  },
  {
    name: "a pod in a different namespace by PodSelector and NamespaceSelector",
    policies: policy(
      "x/p",
      from("[{podSelector: {matchLabels: {pod: a}}, namespaceSelector: {matchLabels: {ns: y}}}]"),
    ),
    upstream: ["deny * -> x/a", "allow y/a -> x/a"],
  },
  {
    name: "based on Ports",
    policies: policy(
      "x/p",
      `{${POD_A}, ingress: [{ports: [{port: 81}], from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}`,
    ),
    upstream: ["deny * -> x/a", "allow y/* -> x/a 81/TCP"],
  },
  {
    name: "multiple, stacked policies with overlapping podSelectors",
    policies:
      policy(
        "x/p",
        `{${POD_A}, ingress: [{ports: [{port: 81}], from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}`,
      ) +
      policy(
        "x/q",
        `{${POD_A}, ingress: [{ports: [{port: 80}], from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}`,
      ),
    upstream: ["deny * -> x/a", "allow y/* -> x/a */TCP"],
  },
  { name: "allow-all", policies: ALLOW_ALL_INGRESS, upstream: [] },
  {
    name: "ingress access on one named port",
    policies: policy("x/p", `{${POD_A}, ingress: [{ports: [{port: serve-81-tcp}]}]}`),
    upstream: ["deny * -> x/a", "allow * -> x/a 81/TCP"],
  },
  {
    name: "ingress access from namespace on one named port",
    policies: policy(
      "x/p",
      `{${POD_A}, ingress: [{ports: [{port: serve-80-tcp}], from: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}`,
    ),
    upstream: ["deny * -> x/a", "allow x/* -> x/a 80/TCP"],
  },
  {
    name: "egress access on one named port",
    policies: policy("x/p", `{${POD_A}, policyTypes: [Egress], egress: [{ports: [{port: serve-80-tcp}]}]}`),
    upstream: ["deny x/a -> *", "allow x/a -> * 80/TCP"],
  },
  {
    name: "updated policy: allowed",
    policies: policy("x/changing", "{podSelector: {}, ingress: [{}]}"),
    upstream: [],
  },
  {
    name: "updated policy: denied",
    policies: policy("x/changing", "{podSelector: {}, ingress: []}"),
    upstream: ["deny * -> x/*"],
  },
  {
    name: "namespace, before it is labelled",
    policies: policy("x/p", from("[{namespaceSelector: {matchLabels: {ns2: updated}}}]")),
    upstream: ["deny * -> x/a"],
  },
  {
    name: "updated namespace",
    policies: policy("x/p", from("[{namespaceSelector: {matchLabels: {ns2: updated}}}]")),
    namespaceLabels: { y: { ns2: "updated" } },
    upstream: ["deny * -> x/a", "allow y/* -> x/a"],
  },
  {
    name: "pod, before it is labelled",
    policies: policy("x/p", from("[{podSelector: {matchLabels: {pod2: updated}}}]")),
    upstream: ["deny * -> x/a"],
  },
  {
    name: "updated pod",
    policies: policy("x/p", from("[{podSelector: {matchLabels: {pod2: updated}}}]")),
    podLabels: { "x/b": { pod2: "updated" } },
    upstream: ["deny * -> x/a", "allow x/b -> x/a"],
  },
  {
    name: "deny ingress from pods on other namespaces",
    policies: policy("x/p", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"),
    upstream: ["deny y/* -> x/*", "deny z/* -> x/*"],
  },
  {
    name: "target, before it is labelled",
    policies: policy("x/p", "{podSelector: {matchLabels: {target: isolated}}}"),
    upstream: [],
  },
  {
    name: "deny ingress access to updated pod",
    policies: policy("x/p", "{podSelector: {matchLabels: {target: isolated}}}"),
    podLabels: { "x/a": { target: "isolated" } },
    upstream: ["deny * -> x/a"],
  },
  {
    name: "deny egress from pods based on PodSelector",
    policies: policy("x/p", `{${POD_A}, policyTypes: [Egress]}`),
    upstream: ["deny x/a -> *"],
  },
  {
    name: "deny egress from all pods in a namespace",
    policies: policy("x/p", "{podSelector: {}, policyTypes: [Egress]}"),
    upstream: ["deny x/* -> *"],
  },
  {
    name: "Ingress and Egress specified together",
    policies: policy(
      "x/p",
      `{${POD_A}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}], egress: [{ports: [{port: 80}]}]}`,
    ),
    upstream: ["deny * -> x/a", "allow x/b -> x/a", "deny x/a -> *", "allow x/a -> * 80/TCP"],
  },
  {
    name: "egress denied on the client side, though the server allows",
    policies:
      policy("x/p", `{${POD_A}, policyTypes: [Egress]}`) + policy("y/q", "{podSelector: {}, ingress: [{}]}"),
    upstream: ["deny x/a -> *"],
  },
  {
    name: "egress to a server in a different namespace by PodSelector and NamespaceSelector",
    policies: policy(
      "x/p",
      to("[{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: a}}}]"),
    ),
    upstream: ["deny x/a -> *", "allow x/a -> y/a"],
  },
  {
    name: "any port on a specific protocol",
    policies: policy("x/p", `{${POD_A}, ingress: [{ports: [{protocol: TCP}]}]}`),
    upstream: ["deny * -> x/a */UDP"],
  },
  {
    name: "ingress allow-all takes precedence",
    policies:
      policy("x/p", "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}") +
      ALLOW_ALL_INGRESS,
    upstream: [],
  },
  {
    name: "egress allow-all takes precedence",
    policies:
      policy(
        "x/p",
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {pod: b}}}]}]}",
      ) + policy("x/q", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}"),
    upstream: [],
  },
  { name: "policies stop with their deletion", policies: "", upstream: [] },
  {
    name: "egress to a server in a CIDR block",
    policies: policy("x/p", to("[{ipBlock: {cidr: '{{y/b:32}}'}}]")),
    upstream: ["deny x/a -> *", "allow x/a -> y/b"],
  },
  {
    name: "the except clause of a CIDR block",
    policies: policy("x/p", to("[{ipBlock: {cidr: 10.244.0.0/16, except: ['{{x/b:32}}']}}]")),
    upstream: ["deny x/a -> x/b"],
  },
  {
    name: "an address in both an except and a CIDR is allowed",
    policies:
      policy("x/p", to("[{ipBlock: {cidr: 10.244.0.0/16, except: ['{{x/b:32}}']}}]")) +
      policy("x/q", to("[{ipBlock: {cidr: '{{x/b:32}}'}}]")),
    upstream: [],
  },
  {
    name: "ingress and egress are controlled independently",
    policies:
      policy("x/p", to("[{podSelector: {matchLabels: {pod: b}}}]")) +
      policy("x/q", from("[{podSelector: {matchLabels: {pod: c}}}]")),
    upstream: ["deny x/a -> *", "allow x/a -> x/b", "deny * -> x/a", "allow x/c -> x/a"],
  },
  {
    name: "SCTP is not taken for TCP",
    policies: policy("x/p", `{${POD_A}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}`),
    services: SCTP,
    upstream: ["deny * -> x/a", "allow * -> x/a 80/SCTP"],
  },
  {
    name: "default-deny-ingress, SCTP",
    policies: DENY_INGRESS,
    services: SCTP,
    upstream: ["deny * -> x/*"],
  },
  {
    name: "based on Ports, SCTP",
    policies: policy(
      "x/p",
      `{${POD_A}, ingress: [{ports: [{port: 81, protocol: SCTP}], from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}`,
    ),
    services: SCTP,
    upstream: ["deny * -> x/a", "allow y/* -> x/a 81/SCTP"],
  },
  {
    name: "a pod in a different namespace, SCTP",
    policies: policy(
      "x/p",
      from("[{podSelector: {matchLabels: {pod: a}}, namespaceSelector: {matchLabels: {ns: y}}}]"),
    ),
    services: SCTP,
    upstream: ["deny * -> x/a", "allow y/a -> x/a"],
  },
  {
    name: "default-deny-ingress, UDP",
    policies: DENY_INGRESS,
    services: ALL_TCP_UDP,
    upstream: ["deny * -> x/*"],
  },
  {
    name: "based on Ports, UDP",
    policies: policy(
      "x/p",
      `{${POD_A}, ingress: [{ports: [{port: 81, protocol: UDP}], from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}`,
    ),
    services: ALL_TCP_UDP,
    upstream: ["deny * -> x/a", "allow y/* -> x/a 81/UDP"],
  },
  {
    name: "a port range",
    policies: policy(
      "x/p",
      `{${POD_A}, policyTypes: [Egress], egress: [{ports: [{port: 81, endPort: 90}]}]}`,
    ),
    upstream: ["deny x/a -> *", "allow x/a -> * 81/TCP"],
  },
];
