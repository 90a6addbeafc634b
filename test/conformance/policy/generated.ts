// Scenarios as cyclonus' generator makes them, written from its public description: each axis of the API varied on one target.
import type { Scenario } from "../../support/policy-probes/scenarios.ts";
import { policy } from "./upstream-suite.ts";

const DIRECTIONS = [
  { field: "ingress", peers: "from", type: "Ingress" },
  { field: "egress", peers: "to", type: "Egress" },
] as const;
type DirectionWords = (typeof DIRECTIONS)[number];

const TARGET = "podSelector: {matchLabels: {pod: a}}";
const rule = ({ field, type }: DirectionWords, rules: string): string =>
  policy("x/base", `{${TARGET}, policyTypes: [${type}], ${field}: ${rules}}`);

const POD_SELECTORS = {
  "no pods named": undefined,
  "all pods": "{}",
  "one label": "{matchLabels: {pod: b}}",
  In: "{matchExpressions: [{key: pod, operator: In, values: [b, c]}]}",
  NotIn: "{matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}",
  "NotIn on a missing key": "{matchExpressions: [{key: absent, operator: NotIn, values: [b]}]}",
  Exists: "{matchExpressions: [{key: pod, operator: Exists}]}",
  DoesNotExist: "{matchExpressions: [{key: pod, operator: DoesNotExist}]}",
  "label and expression":
    "{matchLabels: {pod: b}, matchExpressions: [{key: pod, operator: NotIn, values: [c]}]}",
} as const;
const NAMESPACE_SELECTORS = {
  "own namespace": undefined,
  "all namespaces": "{}",
  "a namespace": "{matchLabels: {ns: y}}",
  "namespaces by expression": "{matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}",
} as const;
const PORTS = {
  "TCP by number": "{port: 80}",
  "UDP by number": "{port: 80, protocol: UDP}",
  "all of TCP": "{protocol: TCP}",
  "all of UDP": "{protocol: UDP}",
  "by name": "{port: serve-81-tcp}",
  "by name and protocol": "{port: serve-80-udp, protocol: UDP}",
  "a name of another protocol": "{port: serve-80-udp, protocol: TCP}",
  "a name that nobody has": "{port: nobody}",
  "a range": "{port: 79, endPort: 80}",
} as const;
const BLOCKS = {
  "a host": "{cidr: '{{y/b:32}}'}",
  "the pod network": "{cidr: 10.244.0.0/16}",
  everything: "{cidr: 0.0.0.0/0}",
  "everything but a host": "{cidr: 0.0.0.0/0, except: ['{{y/b:32}}']}",
  "the pod network but half of it and a host":
    "{cidr: 10.244.0.0/16, except: [10.244.128.0/17, '{{x/b:32}}']}",
  "overlapping excepts": "{cidr: 10.244.0.0/16, except: ['{{z/c:24}}', '{{z/c:32}}']}",
  "an address with host bits": "{cidr: 10.244.7.9/16}",
} as const;

const names = Object.entries;
const both = (make: (words: DirectionWords) => readonly Scenario[]): readonly Scenario[] =>
  DIRECTIONS.flatMap(make);

const peers = both((words) =>
  names(NAMESPACE_SELECTORS).flatMap(([namespaceName, namespaces]) =>
    names(POD_SELECTORS).flatMap(([podName, pods]) => {
      const fields = [
        ...(namespaces === undefined ? [] : [`namespaceSelector: ${namespaces}`]),
        ...(pods === undefined ? [] : [`podSelector: ${pods}`]),
      ];
      if (fields.length === 0) return [];
      return {
        name: `${words.field}: ${namespaceName}, ${podName}`,
        policies: rule(words, `[{${words.peers}: [{${fields.join(", ")}}]}]`),
      };
    }),
  ),
);

const ports = both((words) =>
  names(PORTS).flatMap(([name, port], i) => {
    const [otherName, other] = names(PORTS)[(i + 1) % names(PORTS).length] ?? [name, port];
    const peer = `${words.peers}: [{podSelector: {matchLabels: {pod: b}}}]`;
    return [
      { name: `${words.field}: ${name}`, policies: rule(words, `[{ports: [${port}]}]`) },
      {
        name: `${words.field}: ${name}, or ${otherName}`,
        policies: rule(words, `[{ports: [${port}, ${other}]}]`),
      },
      { name: `${words.field}: ${name}, for some`, policies: rule(words, `[{ports: [${port}], ${peer}}]`) },
    ];
  }),
);

const blocks = both((words) =>
  names(BLOCKS).flatMap(([name, block]) => [
    { name: `${words.field}: ${name}`, policies: rule(words, `[{${words.peers}: [{ipBlock: ${block}}]}]`) },
    {
      name: `${words.field}: ${name}, and pods`,
      policies: rule(
        words,
        `[{${words.peers}: [{ipBlock: ${block}}, {podSelector: {matchLabels: {pod: b}}}], ports: [{port: 80}]}]`,
      ),
    },
  ]),
);

/** Empty and absent mean the same, in rules, peers and ports. */
const shapes = both((words) =>
  [
    "[]",
    "null",
    "[{}]",
    "[{}, {}]",
    `[{${words.peers}: [], ports: []}]`,
    `[{${words.peers}: null, ports: null}]`,
    `[{${words.peers}: []}]`,
    "[{ports: [{port: 80}]}, {ports: [{port: 81}]}]",
    `[{${words.peers}: [{podSelector: {matchLabels: {pod: b}}}]}, {ports: [{port: 81}]}]`,
    `[{${words.peers}: [{podSelector: {matchLabels: {no: body}}}]}]`,
  ].map((rules) => ({ name: `${words.field}: ${rules}`, policies: rule(words, rules) })),
);

const targets: readonly Scenario[] = names(POD_SELECTORS).flatMap(([name, selector]) =>
  selector === undefined
    ? []
    : {
        name: `target: ${name}`,
        policies: policy(
          "x/base",
          `{podSelector: ${selector}, policyTypes: [Ingress, Egress], egress: [{to: [{namespaceSelector: {}}]}]}`,
        ),
      },
);

const ALLOW = { Ingress: "ingress: [{}]", Egress: "egress: [{}]" } as const;
/** Policies that contradict each other at first sight: the union of what they allow counts. */
const conflicts: readonly Scenario[] = both(({ type, field, peers: peersWord }) => [
  {
    name: `${field}: deny all and allow all`,
    policies:
      policy("x/deny", `{podSelector: {}, policyTypes: [${type}]}`) +
      policy("x/allow", `{podSelector: {}, policyTypes: [${type}], ${ALLOW[type]}}`),
  },
  {
    name: `${field}: deny all in a namespace, allow one pod there`,
    policies:
      policy("x/deny", `{podSelector: {}, policyTypes: [${type}]}`) +
      policy("x/allow", `{${TARGET}, policyTypes: [${type}], ${ALLOW[type]}}`),
  },
  {
    name: `${field}: the other end is closed`,
    policies:
      policy(
        "x/allow",
        `{${TARGET}, policyTypes: [${type}], ${field}: [{${peersWord}: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}`,
      ) + policy("y/deny", `{${TARGET}, policyTypes: [${type === "Ingress" ? "Egress" : "Ingress"}]}`),
  },
]);

/** Where engines are known to fail, and both suites do not look. */
export const CORNERS: readonly Scenario[] = [
  {
    name: "a policy of both types: what one direction allows does not open the other",
    policies: policy("x/base", "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}]}"),
    upstream: ["deny * -> x/*"],
  },
  {
    name: "the same the other way round",
    policies: policy("x/base", "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}]}"),
    upstream: ["deny x/* -> *"],
  },
  {
    name: "a named port that no pod has, with peers, does not open all ports",
    policies: policy(
      "x/base",
      `{${TARGET}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: nobody}]}]}`,
    ),
    upstream: ["deny x/a -> *"],
  },
  {
    name: "an egress named port with a block is looked up on the pods of the block",
    policies: policy(
      "x/base",
      `{${TARGET}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: '{{y/b:32}}'}}], ports: [{port: serve-81-tcp}]}]}`,
    ),
    upstream: ["deny x/a -> *", "allow x/a -> y/b 81/TCP"],
  },
  {
    name: "an except of one block does not close what another block of the rule opens",
    policies: policy(
      "x/base",
      `{${TARGET}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.0.0/16, except: ['{{y/b:32}}']}}, {ipBlock: {cidr: '{{y/b:32}}'}}]}]}`,
    ),
    upstream: [],
  },
  {
    name: "rules of a direction that policyTypes does not name are ignored",
    policies: policy("x/base", `{${TARGET}, policyTypes: [Ingress], ingress: [{}], egress: []}`),
    upstream: [],
  },
  {
    name: "without policyTypes an egress rule isolates in both directions",
    policies: policy("x/base", `{${TARGET}, egress: [{ports: [{port: 80}]}]}`),
    upstream: ["deny * -> x/a", "deny x/a -> *", "allow x/a -> * 80/TCP", "deny * -> x/a 80/TCP"],
  },
];

export const GENERATED: readonly Scenario[] = [
  ...CORNERS,
  ...shapes,
  ...targets,
  ...conflicts,
  ...blocks,
  ...ports,
  ...peers,
];
