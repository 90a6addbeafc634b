// What the compiled rows promise beside verdicts: sharing, scope, limits, cost, and that common events touch members alone.
import { describe, expect, test } from "vitest";
import { compilePolicy } from "../../../src/policy/compile.ts";
import type { CompiledPolicy } from "../../../src/policy/compile.ts";
import { policyNames } from "../../../src/policy/names.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import type { PolicySettings } from "../../../src/policy/settings.ts";
import type { Pod, Policy } from "../../../src/policy/snapshot.ts";
import { namedPort, packetsOf, podOf, policyOf, snapshotOf } from "../../support/policy-cluster.ts";
import { createInterpreter } from "../../support/policy-interpreter.ts";
import { createCluster } from "../../support/policy-path.ts";

const V4: PolicySettings = { ...DEFAULT_POLICY_SETTINGS, families: [4] };

function compile(pods: readonly Pod[], policies: readonly Policy[], settings = V4): CompiledPolicy {
  return compilePolicy(snapshotOf({ pods, policies }), settings);
}

function membersOf(compiled: CompiledPolicy, part: string): readonly (readonly string[])[] {
  return compiled.sets.filter(({ name }) => name.includes(part)).map(({ members }) => Array.from(members));
}

const chainNames = ({ firewall }: CompiledPolicy) =>
  firewall.flatMap((row) => (row.kind === "chain" ? row.name : []));
const A = podOf("x/a", "1.11", { app: "a" });
const B = podOf("x/b", "1.12", { app: "b" });
const FAR = podOf("x/far", "2.13", { app: "far" });
const FROM_FAR =
  "{podSelector: {matchLabels: {app: a}}, ingress: [{from: [{podSelector: {matchLabels: {app: far}}}], ports: [{port: 80}]}]}";

describe("sharing and scope", () => {
  test("pods under equal policies share a chain, also across namespaces", () => {
    const policies = [policyOf("x/p", "{}"), policyOf("y/q", "{podSelector: {matchLabels: {app: c}}}")];
    const { profiles } = compile([A, B, podOf("y/c", "1.14", { app: "c" })], policies);
    expect(profiles).toHaveLength(1);
    expect(profiles[0]).toMatchObject({ pods: ["x/a", "x/b", "y/c"], policies: ["x/p", "y/q"] });
  });

  test("equal rules written in another order or in several policies give the same chain", () => {
    const peers = ["{podSelector: {matchLabels: {app: b}}}", "{podSelector: {matchLabels: {app: far}}}"];
    const ports = ["{port: 80}", "{port: 81}"];
    const one = policyOf("x/p", `{ingress: [{from: [${peers.join(", ")}], ports: [${ports.join(", ")}]}]}`);
    const other = peers
      .toReversed()
      .map((peer, i) =>
        policyOf(`x/q${i}`, `{ingress: [{from: [${peer}], ports: [${ports.toReversed().join(", ")}]}]}`),
      );
    expect(chainNames(compile([A, B, FAR], other))).toEqual(chainNames(compile([A, B, FAR], [one])));
  });

  test("policies that select no pod of this node leave no trace", () => {
    const open = compile([A, FAR], []);
    expect(compile([A, FAR], [policyOf("x/p", "{podSelector: {matchLabels: {app: far}}}")])).toEqual(open);
  });

  test("the order of objects does not matter", () => {
    const pods = [A, B, FAR, podOf("x/d", "1.14", { app: "a" })];
    const policies = [
      policyOf("x/p", FROM_FAR),
      policyOf("x/q", "{policyTypes: [Egress]}"),
      policyOf("x/r", "{podSelector: {matchLabels: {app: b}}, ingress: [{}]}"),
    ];
    const reversed = compile(pods.toReversed(), policies.toReversed(), DEFAULT_POLICY_SETTINGS);
    expect(reversed).toEqual(compile(pods, policies, DEFAULT_POLICY_SETTINGS));
  });

  test("one policy of both types has two chains", () => {
    const { profiles } = compile([A], [policyOf("x/p", "{policyTypes: [Ingress, Egress], egress: [{}]}")]);
    expect(profiles.map(({ direction }) => direction)).toEqual(["egress", "ingress"]);
    expect(new Set(profiles.map(({ chain }) => chain)).size).toBe(2);
  });
});

describe("common events change members and no rule", () => {
  const policies = [policyOf("x/p", FROM_FAR)];
  const before = compile([A, FAR], policies);
  const cases: readonly { name: string; pods: readonly Pod[]; changed: readonly string[] }[] = [
    { name: "a peer joins", pods: [A, FAR, podOf("x/far2", "2.14", { app: "far" })], changed: ["4p-"] },
    { name: "a peer leaves", pods: [A], changed: ["4p-"] },
    { name: "a peer is relabelled", pods: [A, podOf("x/far", "2.13", { app: "near" })], changed: ["4p-"] },
    { name: "a stranger joins elsewhere", pods: [A, FAR, podOf("x/other", "2.14")], changed: [] },
    {
      name: "a pod joins its like on this node",
      pods: [A, FAR, podOf("x/a2", "1.12", { app: "a" })],
      changed: ["4i-", "denied", "4k-"],
    },
    {
      name: "a pod without policy joins on this node",
      pods: [A, FAR, podOf("x/z", "1.12")],
      changed: ["denied", "4k-"],
    },
  ];
  test.for(cases)("$name", ({ pods, changed }) => {
    const after = compile(pods, policies);
    expect(after.firewall).toEqual(before.firewall);
    expect(after.sets.map(({ name }) => name)).toEqual(before.sets.map(({ name }) => name));
    const differing = after.sets.filter((row, i) => JSON.stringify(row) !== JSON.stringify(before.sets[i]));
    expect(differing.filter(({ name }) => !changed.some((part) => name.includes(part)))).toEqual([]);
    expect(differing.length > 0).toBe(changed.length > 0);
  });
});

describe("members", () => {
  test("sets are of the smallest type that can hold what they may be asked to hold", () => {
    const compiled = compile(
      [A, FAR],
      [
        policyOf(
          "x/p",
          "{ingress: [{from: [{podSelector: {}}], ports: [{port: 1}]}, {from: [{podSelector: {}}, {ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}], ports: [{port: 2}]}, {ports: [{port: http}]}]}",
        ),
      ],
    );
    expect(
      compiled.sets
        .filter(({ name }) => /4[pn]-/.test(name))
        .map(({ type }) => type)
        .sort(),
    ).toEqual(["hash:ip", "hash:ip,port", "hash:net"]);
    expect(membersOf(compiled, "4p-").find((members) => members.includes("128.0.0.0/1"))).toContain(
      "10.244.2.13",
    );
    expect(compiled.sets.flatMap(({ members }) => Array.from(members))).not.toContain("0.0.0.0/0");
  });

  test("named ports for ingress are those of pods here, for egress those of all", () => {
    const http = { ports: [namedPort("http", 8080), namedPort("http", 53, "SCTP")] };
    const pods = [podOf("x/a", "1.11", {}, http), podOf("x/far", "2.13", {}, http)];
    const rule = "[{ports: [{port: http}, {port: http, protocol: SCTP}]}]";
    const compiled = compile(pods, [
      policyOf("x/p", `{policyTypes: [Ingress, Egress], ingress: ${rule}, egress: ${rule}}`),
    ]);
    expect(membersOf(compiled, "4n-").toSorted((a, b) => a.length - b.length)).toEqual([
      ["10.244.1.11,sctp:53", "10.244.1.11,tcp:8080"],
      ["10.244.1.11,sctp:53", "10.244.1.11,tcp:8080", "10.244.2.13,sctp:53", "10.244.2.13,tcp:8080"],
    ]);
  });

  test("a peer's set stays, empty, while nobody matches", () => {
    expect(membersOf(compile([A], [policyOf("x/p", FROM_FAR)]), "4p-")).toEqual([[]]);
  });

  test("members can be added in row order: pods of chains, then of branches, then those that are known", () => {
    const names = compile(
      [A, B],
      [policyOf("x/p", FROM_FAR), policyOf("x/q", "{podSelector: {matchLabels: {app: b}}}")],
    ).sets.map(({ name }) => name.slice(0, 8));
    expect(names).toEqual([
      "FTSP-4p-",
      "FTSP-4i-",
      "FTSP-4i-",
      "FTSP-4i-",
      "FTSP-4-d",
      "FTSP-4-d",
      "FTSP-4k-",
    ]);
  });
});

describe("settings", () => {
  const policies = [policyOf("x/p", "{}")];
  const textOf = (settings: Partial<PolicySettings>) =>
    JSON.stringify(compile([A], policies, { ...V4, ...settings }).firewall);

  test("families are compiled alone or together", () => {
    const both = compile([A], policies, DEFAULT_POLICY_SETTINGS);
    const one = ([4, 6] as const).map((family) => compile([A], policies, { ...V4, families: [family] }));
    expect(both.firewall).toEqual(one.flatMap(({ firewall }) => firewall));
    expect(both.sets).toEqual(one.flatMap(({ sets }) => sets));
  });

  test("every bridge has its own closed door", () => {
    const names = ["cni0", "cni1"];
    const text = textOf({ podInterfaces: names });
    for (const name of names) {
      expect(text).toContain(`"-i","${name}","-m","set","!"`);
      expect(text).toContain(`"-o","${name}","-m","set","!"`);
    }
  });

  test("pods may talk to their node: no rule in INPUT", () => {
    expect(textOf({})).toContain('"from":"INPUT"');
    expect(textOf({ podToNode: "allow" })).not.toContain("INPUT");
  });

  test("what the node sends to a group comes back to it by the bridge; a stranger's does not get in", () => {
    const interpreter = createInterpreter(compile([A], policies));
    const [packet] = packetsOf("10.244.1.1 -> 224.0.0.251 5353/UDP", []);
    const run = (srcIsLocal: boolean) =>
      packet &&
      interpreter.run({ ...packet, hook: "INPUT", inDevice: "cni0", outDevice: "", srcIsLocal }).verdict;
    expect([run(true), run(false)]).toEqual(["pass", "drop"]);
  });

  test("a reset is sent only where no NAT would lose it", () => {
    expect(textOf({ denyWith: "reject" })).toContain(
      '["-p","tcp","-m","conntrack","!","--ctstate","DNAT","-j","REJECT","--reject-with","tcp-reset"]',
    );
    expect(textOf({ denyWith: "drop" })).not.toContain("REJECT");
  });

  test("without xt_bpf nothing asks for it", () => {
    expect(textOf({})).toContain("bpf");
    expect(textOf({ hairpin: "policy" })).not.toContain("bpf");
  });

  test("denied packets are counted for the pod that denied them, once", () => {
    const pods = [A, B];
    const snapshot = snapshotOf({
      pods,
      policies: [policyOf("x/p", "{podSelector: {matchLabels: {app: a}}}")],
    });
    const { send } = createCluster(snapshot, V4);
    const [packet] = packetsOf("10.244.1.12 -> 10.244.1.11", pods);
    const outcome = packet && send(packet).get("n1");
    expect(outcome).toMatchObject({ verdict: "drop", counted: ["FTSP-4-denied-in 10.244.1.11"] });
  });

  test("names of another installation do not meet ours", () => {
    const ours = compile([A], policies);
    const theirs = compile([A], policies, { ...V4, prefix: "FTSPblue-" });
    const names = (compiled: CompiledPolicy) => [
      ...chainNames(compiled),
      ...compiled.sets.map(({ name }) => name),
    ];
    for (const name of names(theirs)) expect(name.startsWith("FTSPblue-")).toBe(true);
    expect(() => createInterpreter(theirs)).not.toThrow();
    expect(names(ours).some((name) => names(theirs).includes(name))).toBe(false);
    expect(() => policyNames("FTSP-green-")).toThrow('prefix "FTSP-green-" has more than 9 characters');
  });
});

describe("the cost of a packet", () => {
  /** Rules looked at until the first packet of a connection is through, at worst over all local pods. */
  function worstCost(pods: readonly Pod[], policies: readonly Policy[]): number {
    const { send } = createCluster(snapshotOf({ pods, policies }), V4);
    const packets = pods
      .filter(({ nodeName }) => nodeName === "n1")
      .flatMap(({ namespace, name }) => packetsOf(`10.244.2.13 -> ${namespace}/${name} 80/TCP`, pods));
    return Math.max(...packets.map((packet) => send(packet).get("n1")?.rulesVisited ?? 0));
  }

  const locals = Array.from({ length: 110 }, (_, i) =>
    podOf(`x/pod-${i}`, `1.${i + 2}`, { pod: `p${i}`, app: "a" }),
  );
  const allowFrom = (name: string, subject: string, peer: string, port = 80) =>
    policyOf(
      `x/${name}`,
      `{podSelector: {matchLabels: {${subject}}}, ingress: [{from: [{podSelector: {matchLabels: {app: ${peer}}}}], ports: [{port: ${port}}]}]}`,
    );
  const few = worstCost([...locals.slice(0, 1), FAR], [allowFrom("p", "app: a", "far")]);

  test("does not grow with policies of the pod", () => {
    const many = Array.from({ length: 1000 }, (_, i) =>
      allowFrom(`p${i}`, "app: a", i === 500 ? "far" : `peer-${i}`),
    );
    expect(worstCost([...locals.slice(0, 1), FAR], many)).toBe(few);
  });

  test("does not grow with pods and peers", () => {
    const peers = Array.from({ length: 200 }, (_, i) => podOf(`x/far-${i}`, `2.${i + 20}`, { app: "far" }));
    expect(worstCost([...locals, FAR, ...peers], [allowFrom("p", "app: a", "far")])).toBe(few);
  });

  test("stays small where each of 110 pods has a policy of its own", () => {
    const own = locals.map((_, i) =>
      allowFrom(`own-${i}`, `pod: p${i}`, i % 2 === 0 ? "far" : "none", 80 + i),
    );
    expect(worstCost([...locals, FAR], own)).toBeLessThan(few + 25);
  });

  test("a packet of a known connection meets two rules", () => {
    const { send } = createCluster(snapshotOf({ pods: [A, FAR], policies: [policyOf("x/p", "{}")] }), V4);
    const [packet] = packetsOf("10.244.2.13 -> 10.244.1.11", [A, FAR], { state: "established" });
    expect(packet && send(packet).get("n1")?.rulesVisited).toBe(2);
  });
});
