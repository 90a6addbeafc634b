// NetworkPolicy objects: what is accepted, what is refused and with which words, and what fails closed.
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { formatProblem } from "../../../src/policy/problems.ts";
import type { Policy } from "../../../src/policy/snapshot.ts";
import { translatePolicy } from "../../../src/policy/translate-policy.ts";
import type { TranslationMode } from "../../../src/policy/translate-policy.ts";

const HEADER = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { namespace: "a", name: "p" },
};

function translate(spec: unknown, mode: TranslationMode = "lenient") {
  return translatePolicy({ ...HEADER, spec }, { mode });
}

function policyOf(spec: unknown): Policy {
  const { policy, problems } = translate(spec, "strict");
  expect(problems).toEqual([]);
  if (policy === undefined) throw new Error("no policy");
  return policy;
}

function problemsOf(spec: unknown, mode: TranslationMode = "strict"): readonly string[] {
  const { problems, policy } = translate(spec, mode);
  if (mode === "strict") expect(policy).toBeUndefined();
  return problems.map(formatProblem);
}

describe("policyTypes", () => {
  const cases = [
    { name: "absent: ingress", spec: { podSelector: {} }, types: ["ingress"] },
    { name: "absent, with an egress rule: both", spec: { egress: [{}] }, types: ["ingress", "egress"] },
    { name: "absent, egress: []: ingress alone", spec: { egress: [] }, types: ["ingress"] },
    { name: "null and empty are absent", spec: { policyTypes: null, egress: null }, types: ["ingress"] },
    { name: "empty list", spec: { policyTypes: [], egress: [{}] }, types: ["ingress", "egress"] },
    { name: "taken literally", spec: { policyTypes: ["Egress"], ingress: [{}] }, types: ["egress"] },
    { name: "twice the same", spec: { policyTypes: ["Ingress", "Ingress"] }, types: ["ingress"] },
  ];
  test.for(cases)("$name", ({ spec, types }) => {
    expect(policyOf(spec).types).toEqual(types);
  });
});

describe("absent, null and [] are the same", () => {
  test.for([undefined, null, []])("rules: %j", (ingress) => {
    expect(policyOf({ ingress })).toMatchObject({ ingress: [], podSelector: [] });
  });
  test.for([undefined, null, []])("from and ports: %j", (entries) => {
    expect(policyOf({ ingress: [{ from: entries, ports: entries }] }).ingress).toEqual([{}]);
  });
  test("podSelector", () => {
    expect(policyOf({ podSelector: null }).podSelector).toEqual([]);
    expect(policyOf({}).podSelector).toEqual([]);
  });
});

test("peers: which selector is given decides the meaning", () => {
  const app = { matchLabels: { app: "web" } };
  const selector = [{ key: "app", operator: "In", values: ["web"] }];
  const from = [
    { podSelector: app },
    { namespaceSelector: app },
    { namespaceSelector: {}, podSelector: app },
    { podSelector: null, namespaceSelector: {} },
    { ipBlock: { cidr: "10.0.0.7/24", except: ["10.0.0.130/25"] } },
    { ipBlock: { cidr: "::/0", except: null } },
  ];
  expect(policyOf({ ingress: [{ from }] }).ingress[0]?.peers).toEqual([
    { kind: "pods", pods: selector },
    { kind: "pods", namespaces: selector, pods: [] },
    { kind: "pods", namespaces: [], pods: selector },
    { kind: "pods", namespaces: [], pods: [] },
    { kind: "block", cidr: "10.0.0.0/24", except: ["10.0.0.128/25"] },
    { kind: "block", cidr: "::/0", except: [] },
  ]);
});

test("ports: default protocol, all ports, ranges, names", () => {
  const ports = [
    { port: 80 },
    { protocol: "UDP" },
    {},
    { protocol: "SCTP", port: 7, endPort: 7 },
    { port: 1, endPort: 65_535 },
    { port: "http" },
  ];
  expect(policyOf({ egress: [{ ports }] }).egress[0]?.ports).toEqual([
    { kind: "numbers", protocol: "TCP", from: 80, to: 80 },
    { kind: "numbers", protocol: "UDP", from: 0, to: 65_535 },
    { kind: "numbers", protocol: "TCP", from: 0, to: 65_535 },
    { kind: "numbers", protocol: "SCTP", from: 7, to: 7 },
    { kind: "numbers", protocol: "TCP", from: 1, to: 65_535 },
    { kind: "named", protocol: "TCP", name: "http" },
  ]);
});

describe("refused, with the field and what would be right", () => {
  const from = (peer: unknown) => ({ ingress: [{ from: [peer] }] });
  const port = (entry: unknown) => ({ ingress: [{ ports: [entry] }] });
  const cases: readonly { name: string; spec: unknown; problem: string }[] = [
    { name: "block with selector", spec: from({ ipBlock: { cidr: "10.0.0.0/8" }, podSelector: {} }), problem: "spec.ingress[0].from[0]: has ipBlock together with a selector; make them two entries of the list" },
    { name: "no peer", spec: from({}), problem: "spec.ingress[0].from[0]: must have podSelector, namespaceSelector or ipBlock" },
    { name: "peer null", spec: from(null), problem: "spec.ingress[0].from[0]: must be an object, not null" },
    { name: "no cidr", spec: from({ ipBlock: {} }), problem: "spec.ingress[0].from[0].ipBlock.cidr: is required" },
    { name: "bad cidr", spec: from({ ipBlock: { cidr: "10.0.0.0" } }), problem: 'spec.ingress[0].from[0].ipBlock.cidr: "10.0.0.0" is not a CIDR, for example 10.0.0.0/8 or fd00::/8' },
    { name: "except outside", spec: from({ ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/9"] } }), problem: "spec.ingress[0].from[0].ipBlock.except[0]: 11.0.0.0/9 must be a smaller part of cidr 10.0.0.0/8" },
    { name: "except of all", spec: from({ ipBlock: { cidr: "10.0.0.0/8", except: ["10.0.0.0/8"] } }), problem: "spec.ingress[0].from[0].ipBlock.except[0]: 10.0.0.0/8 must be a smaller part of cidr 10.0.0.0/8" },
    { name: "except of the other family", spec: from({ ipBlock: { cidr: "::/0", except: ["10.0.0.0/8"] } }), problem: "spec.ingress[0].from[0].ipBlock.except[0]: 10.0.0.0/8 must be a smaller part of cidr ::/0" },
    { name: "protocol", spec: port({ protocol: "tcp" }), problem: 'spec.ingress[0].ports[0].protocol: must be one of TCP, UDP, SCTP, not "tcp"' },
    { name: "port 0", spec: port({ port: 0 }), problem: "spec.ingress[0].ports[0].port: must be a number from 1 to 65535, not 0" },
    { name: "number as text", spec: port({ port: "80" }), problem: 'spec.ingress[0].ports[0].port: "80" is no port name: at most 15 lower-case letters, digits and single "-", with at least one letter; a number is written without quotes' },
    { name: "endPort alone", spec: port({ endPort: 80 }), problem: "spec.ingress[0].ports[0].endPort: needs a port, which is the first of the range" },
    { name: "endPort of a name", spec: port({ port: "http", endPort: 80 }), problem: "spec.ingress[0].ports[0].endPort: needs a numeric port" },
    { name: "endPort before port", spec: port({ port: 80, endPort: 79 }), problem: "spec.ingress[0].ports[0].endPort: must not be less than port 80" },
    { name: "type", spec: { policyTypes: ["ingress"] }, problem: 'spec.policyTypes[0]: must be Ingress or Egress, not "ingress"' },
    { name: "three types", spec: { policyTypes: ["Ingress", "Egress", "Ingress"] }, problem: "spec.policyTypes: must not have more than two entries" },
    { name: "rule null", spec: { ingress: [null] }, problem: "spec.ingress[0]: must be an object, not null; {} is the rule that allows everything" },
    { name: "label that YAML reads as a boolean", spec: { podSelector: { matchLabels: { access: true } } }, problem: 'spec.podSelector.matchLabels.access: must be a string; write it in quotes: "true"' },
    { name: "operator", spec: { podSelector: { matchExpressions: [{ key: "a", operator: "in", values: ["b"] }] } }, problem: 'spec.podSelector.matchExpressions[0].operator: must be one of In, NotIn, Exists, DoesNotExist, not "in"' },
    { name: "In without values", spec: { podSelector: { matchExpressions: [{ key: "a", operator: "In" }] } }, problem: "spec.podSelector.matchExpressions[0].values: must not be empty with operator In" },
    { name: "Exists with values", spec: { podSelector: { matchExpressions: [{ key: "a", operator: "Exists", values: ["b"] }] } }, problem: "spec.podSelector.matchExpressions[0].values: must be empty with operator Exists" },
    { name: "a field that resembles none", spec: { podSelector: {}, enforce: true }, problem: "spec.enforce: is no field here; fields are podSelector, policyTypes, ingress, egress" },
    { name: "from in egress", spec: { egress: [{ from: [] }] }, problem: "spec.egress[0].from: belongs at spec.ingress[].from" },
    { name: "to nested in ports", spec: { egress: [{ ports: [{ port: 80, to: [{ podSelector: {} }] }] }] }, problem: "spec.egress[0].ports[0].to: belongs at spec.egress[0].to" },
  ]; // prettier-ignore
  test.for(cases)("$name", ({ spec, problem }) => {
    expect(problemsOf(spec)).toEqual([problem]);
  });
});

test("the user's document with fields in wrong places is refused field by field", () => {
  const broken = parse(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: test-network-policy
  namespace: default
spec:
  podSelector:
    matchLabel:
      role: db
    policyType:
    - Ingress
    - Egress
    ingress:
    - from:
      - ipBlock:
        cidr: 172.17.0.0/16
        except:
        - 172.17.1.0/24
      - namespaceSelector:
        matchLabels:
          project: myproject
      - podSelector:
        matchLabels:
          role: frontend
      ports:
      - protocol: TCP
        port: 6379
      egress:
      - to:
        - ipBlock:
          cidr: 10.0.0.0/24
        ports:
        - protocol: TCP
          port: 6379
`);
  const { policy, problems } = translatePolicy(broken, { mode: "strict" });
  expect(policy).toBeUndefined();
  const from = "spec.podSelector.ingress[0].from";
  expect(problems.map(formatProblem)).toEqual([
    "spec.podSelector.matchLabel: is no field here; did you mean matchLabels?",
    "spec.podSelector.policyType: belongs at spec.policyTypes",
    "spec.podSelector.ingress: belongs at spec.ingress",
    `${from}[0].cidr: belongs inside ipBlock: spec.ingress[0].from[0].ipBlock.cidr (indent it further)`,
    `${from}[0].except: belongs inside ipBlock: spec.ingress[0].from[0].ipBlock.except (indent it further)`,
    `${from}[1].matchLabels: belongs inside namespaceSelector: spec.ingress[0].from[1].namespaceSelector.matchLabels (indent it further)`,
    `${from}[2].matchLabels: belongs inside podSelector: spec.ingress[0].from[2].podSelector.matchLabels (indent it further)`,
    "spec.podSelector.ingress[0].egress: belongs at spec.egress",
    "spec.podSelector.ingress[0].egress[0].to[0].cidr: belongs inside ipBlock: spec.egress[0].to[0].ipBlock.cidr (indent it further)",
  ]);
});

describe("strict: who the object is", () => {
  test("kind, version and name", () => {
    const { problems } = translatePolicy(
      { apiVersion: "v1", kind: "Pod", metadata: { name: "A_b" } },
      { mode: "strict" },
    );
    expect(problems.map(formatProblem)).toEqual([
      'apiVersion: must be networking.k8s.io/v1, not "v1"',
      'kind: must be NetworkPolicy, not "Pod"',
      'metadata.name: "A_b" is no name: lower-case letters, digits, "-" and "."',
      "metadata.namespace: is required",
    ]);
  });
  test("the namespace may come from outside", () => {
    const object = { ...HEADER, metadata: { name: "p" } };
    const { policy } = translatePolicy(object, { mode: "strict", defaultNamespace: "default" });
    expect(policy).toMatchObject({ namespace: "default", name: "p" });
  });
  test.for([undefined, null, 1, "text", []])("not an object: %j", (input) => {
    expect(translatePolicy(input, { mode: "strict" })).toMatchObject({ problems: [{ path: "" }] });
  });
});

describe("lenient: fails closed", () => {
  test("unknown fields beside known ones do not count", () => {
    const spec = { podSelector: {}, newField: 1, ingress: [{ from: [{ podSelector: {}, newer: 1 }] }] };
    expect(translate(spec)).toMatchObject({
      problems: [],
      policy: { ingress: [{ peers: [{ kind: "pods" }] }] },
    });
  });
  test("a kind of peer from a newer API matches nothing, and is not an absent from", () => {
    const { policy, problems } = translate({ ingress: [{ from: [{ serviceSelector: {} }] }] });
    expect(policy?.ingress).toEqual([{ peers: [] }]);
    expect(problems).toHaveLength(1);
  });
  test("a kind of port from a newer API matches nothing", () => {
    const { policy, problems } = translate({ ingress: [{ ports: [{ icmp: {} }] }] });
    expect(policy?.ingress).toEqual([{ ports: [] }]);
    expect(problems).toHaveLength(1);
  });
  test("a block with an except that cannot be read is left out whole", () => {
    const from = [{ ipBlock: { cidr: "10.0.0.0/8", except: ["?"] } }, { podSelector: {} }];
    expect(translate({ ingress: [{ from }] }).policy?.ingress).toEqual([
      { peers: [{ kind: "pods", pods: [] }] },
    ]);
  });
  test("a subject that cannot be read: every pod of the namespace is isolated and nothing is allowed", () => {
    const spec = { podSelector: { matchExpressions: [{ key: "a", operator: "Near" }] }, ingress: [{}] };
    expect(translate(spec).policy).toMatchObject({
      podSelector: [],
      types: ["ingress"],
      ingress: [{ peers: [] }],
    });
  });
  test("unknown types isolate in both directions", () => {
    expect(translate({ policyTypes: ["Forward"] }).policy?.types).toEqual(["ingress", "egress"]);
  });
  test.for([{ spec: 1 }, { spec: [] }, { spec: "x" }])("$spec is no spec: closed", ({ spec }) => {
    expect(translate(spec).policy).toMatchObject({
      podSelector: [],
      types: ["ingress", "egress"],
      ingress: [],
    });
  });
  test("rules that are no list allow nothing", () => {
    expect(translate({ egress: {} }).policy).toMatchObject({
      types: ["ingress", "egress"],
      egress: [{ peers: [] }],
    });
  });
});
