// The graph by example: what an event changes, and above all what it leaves as it was.
import { beforeEach, describe, expect, test } from "vitest";
import type { IpsetRow } from "../../../../src/host/ipset-state.ts";
import { createPolicyGraph } from "../../../../src/policy/graph.ts";
import type { PolicyGraph } from "../../../../src/policy/graph.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../../src/policy/settings.ts";
import { formatSetSpec } from "../../../../src/policy/sets.ts";
import type { Pod, Policy } from "../../../../src/policy/snapshot.ts";
import { POLICY_KINDS } from "../../../../src/policy/source.ts";
import type { PolicyObjects } from "../../../../src/policy/source.ts";
import { clusterNode, namedPort, namespaceOf, podOf, policyOf } from "../../../support/policy-cluster.ts";

const WEB = podOf("x/web", "1.11", { app: "web" }, { ports: [namedPort("http", 8080)] });
const OTHER = podOf("x/other", "1.12", { app: "other" });
const CLIENT = podOf("y/client", "2.21", { app: "client" });
const FROM_TEAM = policyOf(
  "x/team",
  `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}}]}]}`,
);

let graph: PolicyGraph;

function start(parts: Partial<{ [Kind in keyof PolicyObjects]: readonly PolicyObjects[Kind][] }> = {}): void {
  graph = createPolicyGraph({ nodeName: "n1", settings: { ...DEFAULT_POLICY_SETTINGS, families: [4] } });
  const {
    pods = [WEB, OTHER, CLIENT],
    policies = [FROM_TEAM],
    nodes = [clusterNode(1), clusterNode(2)],
  } = parts;
  const { namespaces = [namespaceOf("x"), namespaceOf("y", { team: "a" })] } = parts;
  graph.apply({ type: "snapshot", kind: "policies", objects: policies });
  graph.apply({ type: "snapshot", kind: "pods", objects: pods });
  graph.apply({ type: "snapshot", kind: "namespaces", objects: namespaces });
  graph.apply({ type: "snapshot", kind: "nodes", objects: nodes });
}

beforeEach(() => start());

const put = (object: Pod): void => graph.apply({ type: "put", kind: "pods", object });
const putPolicy = (object: Policy): void => graph.apply({ type: "put", kind: "policies", object });

/** The one set of peers or ports whose description has these words. */
function setAbout(words: string): IpsetRow {
  const { specs, sets } = graph.compiled();
  const found = sets.filter(({ name }) => {
    const spec = specs.get(name);
    return spec !== undefined && formatSetSpec(spec).includes(words);
  });
  expect(found.map(({ name }) => name)).toHaveLength(1);
  return found[0] as IpsetRow;
}

const membersAbout = (words: string): readonly string[] => [...setAbout(words).members];

/** Names of the sets that are not the objects they were before. */
function changedBy(event: () => void): readonly string[] {
  const before = new Set(graph.compiled().sets);
  event();
  return graph.compiled().sets.filter((row) => !before.has(row)).map(({ name }) => name); // prettier-ignore
}

describe("what stays as it was stays the same object", () => {
  test.for<[string, () => void]>([
    ["an object told again", () => put(structuredClone(WEB))],
    ["a pod that no peer matches", () => put(podOf("x/stranger", "2.9"))],
    ["another generation of the same policy", () => putPolicy({ ...FROM_TEAM, generation: 7 })],
    ["a policy that selects no pod of this node", () => putPolicy(policyOf("y/all", "{}"))],
    ["a node", () => graph.apply({ type: "put", kind: "nodes", object: clusterNode(3) })],
    [
      "the end of what nobody knew",
      () => graph.apply({ type: "removed", kind: "pods", key: "x/unheard-of" }),
    ],
    [
      "a snapshot of what is known",
      () => graph.apply({ type: "snapshot", kind: "pods", objects: [CLIENT, OTHER, WEB] }),
    ],
    [
      "a pod that came and went",
      () => [podOf("y/new", "2.9"), podOf("y/new", "2.9", {}, { finished: true })].forEach(put),
    ],
  ])("%s changes nothing", ([, event]) => {
    const before = graph.compiled();
    event();
    expect(graph.compiled()).toBe(before);
  });

  test("a pod elsewhere that a peer matches is a member of one set", () => {
    const { firewall, profiles, specs } = graph.compiled();
    const { name } = setAbout("team=a");
    expect(changedBy(() => put(podOf("y/new", "2.22")))).toEqual([name]);
    expect(membersAbout("team=a")).toEqual(["10.244.2.21", "10.244.2.22"]);
    expect(graph.compiled()).toMatchObject({ firewall, profiles, specs });
    expect(graph.compiled().firewall).toBe(firewall);
  });

  test("a pod of this node under policies that others are under costs no rule", () => {
    const { firewall } = graph.compiled();
    put(podOf("x/web-2", "1.13", { app: "web" }));
    expect(graph.compiled().firewall).toBe(firewall);
  });

  test("a new policy leaves the chains of pods that it does not select", () => {
    const before = new Set(graph.compiled().firewall);
    putPolicy(policyOf("x/other", "{podSelector: {matchLabels: {app: other}}}"));
    const { profiles, firewall } = graph.compiled();
    const web = profiles.find(({ pods }) => pods.includes("x/web"));
    expect(before).toContain(firewall.find((row) => row.kind === "chain" && row.name === web?.chain));
  });
});

describe("members", () => {
  test("labels of a namespace move all of its pods", () => {
    graph.compiled();
    graph.apply({ type: "put", kind: "namespaces", object: namespaceOf("y") });
    expect(membersAbout("team=a")).toEqual([]);
    graph.apply({ type: "put", kind: "namespaces", object: namespaceOf("x", { team: "a" }) });
    expect(membersAbout("team=a")).toEqual(["10.244.1.11", "10.244.1.12"]);
  });

  test("a namespace that is gone has no labels, though its pods are still there", () => {
    graph.compiled();
    graph.apply({ type: "removed", kind: "namespaces", key: "y" });
    expect(membersAbout("team=a")).toEqual([]);
  });

  test("a pod that one peer no longer matches stays for the sake of another", () => {
    const both =
      "{namespaceSelector: {matchLabels: {team: a}}}, {namespaceSelector: {matchLabels: {env: b}}}";
    start({
      policies: [policyOf("x/p", `{ingress: [{from: [${both}]}]}`)],
      namespaces: [namespaceOf("x"), namespaceOf("y", { team: "a", env: "b" })],
    });
    expect(membersAbout("team=a")).toEqual(["10.244.2.21"]);
    graph.apply({ type: "put", kind: "namespaces", object: namespaceOf("y", { env: "b" }) });
    expect(membersAbout("team=a")).toEqual(["10.244.2.21"]);
  });

  test("an address that a block names stays when the pod that has it goes", () => {
    const peers = "{namespaceSelector: {matchLabels: {team: a}}}, {ipBlock: {cidr: 10.244.2.21/32}}";
    start({ policies: [policyOf("x/p", `{ingress: [{from: [${peers}]}]}`)] });
    expect(membersAbout("team=a")).toEqual(["10.244.2.21"]);
    graph.apply({ type: "removed", kind: "pods", key: "y/client" });
    expect(membersAbout("team=a")).toEqual(["10.244.2.21"]);
  });

  test("an address goes to the younger of two pods, and back when that one goes", () => {
    start({ pods: [WEB, { ...CLIENT, createdAtMs: 1 }] });
    expect(membersAbout("team=a")).toEqual(["10.244.2.21"]);
    put(podOf("x/heir", "2.21", {}, { createdAtMs: 2 }));
    expect(membersAbout("team=a")).toEqual([]);
    graph.apply({ type: "removed", kind: "pods", key: "x/heir" });
    expect(membersAbout("team=a")).toEqual(["10.244.2.21"]);
  });

  test("a named port follows the pod that declares it", () => {
    start({ policies: [policyOf("x/p", "{ingress: [{ports: [{port: http}]}]}")] });
    expect(membersAbout("TCP/http")).toEqual(["10.244.1.11,tcp:8080"]);
    put({ ...WEB, ports: [namedPort("http", 9090)] });
    expect(membersAbout("TCP/http")).toEqual(["10.244.1.11,tcp:9090"]);
    put({ ...WEB, nodeName: "n2" });
    expect(membersAbout("TCP/http")).toEqual([]);
  });
});

test("peers that say the same in another order are the same set, whoever is told first", () => {
  const policy = (key: string, expressions: readonly string[]): Policy =>
    policyOf(key, `{ingress: [{from: [{podSelector: {matchExpressions: [${expressions.join(", ")}]}}]}]}`);
  const [one, two] = ["{key: a, operator: Exists}", "{key: b, operator: In, values: [z, y]}"];
  const policies = [policy("x/p", [one ?? "", two ?? ""]), policy("x/q", [two ?? "", one ?? ""])];
  start({ policies });
  const first = graph.compiled();
  start({ policies: policies.toReversed() });
  expect(graph.compiled()).toEqual(first);
});

test("policies of a namespace that is gone hold until they are gone themselves", () => {
  const before = graph.compiled();
  graph.apply({ type: "removed", kind: "namespaces", key: "x" });
  expect(graph.compiled().firewall).toBe(before.firewall);
  graph.apply({ type: "removed", kind: "policies", key: "x/team" });
  expect(graph.compiled().profiles).toEqual([]);
});

test("is synced when it has seen all there is of every kind", () => {
  const fresh = createPolicyGraph({ nodeName: "n1", settings: DEFAULT_POLICY_SETTINGS });
  fresh.apply({ type: "put", kind: "pods", object: WEB });
  for (const kind of POLICY_KINDS) {
    expect(fresh.synced()).toBe(false);
    fresh.apply({ type: "snapshot", kind, objects: [] });
  }
  expect(fresh.synced()).toBe(true);
});
