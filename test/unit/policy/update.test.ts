// Updates step by step: what both the old and the new policy say holds in every state between them.
import { describe, expect, test } from "vitest";
import { compilePolicy } from "../../../src/policy/compile.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import type { Pod, Policy } from "../../../src/policy/snapshot.ts";
import { namedPort, packetsOf, podOf, policyOf, snapshotOf } from "../../support/policy-cluster.ts";
import { createInterpreter } from "../../support/policy-interpreter.ts";
import { hopsOf } from "../../support/policy-path.ts";
import { statesBetween } from "../../support/policy-update.ts";

const allow = (key: string, app: string, ports: string) =>
  policyOf(
    key,
    `{podSelector: {matchLabels: {app: ${app}}}, ingress: [{from: [{podSelector: {matchLabels: {app: far}}}], ports: ${ports}}]}`,
  );

const POLICIES = [
  allow("x/a", "a", "[{port: 80}]"),
  allow("x/b", "b", "[{port: 80}, {port: 81}]"),
  allow("x/c", "c", "[{port: 80}]"),
  policyOf("x/d", "{podSelector: {matchLabels: {app: d}}}"),
];
const FAR = podOf("x/far", "2.13", { app: "far" });
const [A, B] = [podOf("x/a", "1.11", { app: "a" }), podOf("x/b", "1.12", { app: "b" })];
const moving = (app: string) => podOf("x/moving", "1.20", { app });
/** Pods that are isolated in two ways, so that a branch leads to them. */
const BASE = [FAR, A, B];

/** May send nothing, and could reach x/a. */
const MUTE = policyOf("x/mute", "{podSelector: {matchLabels: {app: mute}}, policyTypes: [Egress]}");
const FROM = (key: string, app: string, ports: string) =>
  policyOf(
    key,
    `{podSelector: {matchLabels: {app: a}}, ingress: [{from: [{podSelector: {matchLabels: {app: ${app}}}}], ports: ${ports}}]}`,
  );
const FROM_MUTE = FROM("x/from-mute", "mute", "[{port: 90}]");
const ONE_AND_TWO = [
  FROM("x/one", "one", "[{port: 90}, {port: 91}]"),
  FROM("x/two", "two", "[{port: 90}, {port: 92}]"),
];
const TO_WEB = policyOf(
  "x/to-web",
  "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: new}}}], ports: [{port: web}]}]}",
);

interface Case {
  readonly name: string;
  readonly before: readonly Pod[];
  readonly after: readonly Pod[];
  readonly policies?: readonly [before: readonly Policy[], after: readonly Policy[]];
  readonly passes?: readonly string[];
  readonly drops?: readonly string[];
}

const CASES: readonly Case[] = [
  {
    name: "a newcomer like others here",
    before: BASE,
    after: [...BASE, moving("a")],
    drops: ["10.244.2.13 -> 10.244.1.20 81/TCP"],
  },
  {
    name: "a newcomer who is the first of its kind here",
    before: BASE,
    after: [...BASE, moving("d")],
    drops: ["10.244.2.13 -> 10.244.1.20"],
  },
  {
    name: "a pod that goes",
    before: [...BASE, moving("d")],
    after: BASE,
    drops: ["10.244.2.13 -> 10.244.1.20"],
  },
  {
    name: "an open pod is isolated like others",
    before: [...BASE, moving("z")],
    after: [...BASE, moving("a")],
    passes: ["x/far -> x/moving"],
  },
  {
    name: "an isolated pod becomes open",
    before: [...BASE, moving("b")],
    after: [...BASE, moving("z")],
    passes: ["x/far -> x/moving 81/TCP"],
  },
  {
    name: "from one kind to another",
    before: [...BASE, moving("a")],
    after: [...BASE, moving("b")],
    passes: ["x/far -> x/moving"],
    drops: ["x/far -> x/moving 82/TCP", "x/a -> x/moving"],
  },
  {
    name: "to the same rules by another policy",
    before: [...BASE, moving("a")],
    after: [...BASE, moving("c")],
    passes: ["x/far -> x/moving"],
    drops: ["x/far -> x/moving 81/TCP"],
  },
  {
    name: "an address changes its owner",
    before: [...BASE, moving("a")],
    after: [...BASE, podOf("x/next", "1.20", { app: "d" })],
    drops: ["10.244.2.13 -> 10.244.1.20 81/TCP"],
  },
  {
    name: "a pod is open now, and nobody's peer any more: closed at its own end, then at the other",
    before: [...BASE, podOf("x/moving", "1.20", { app: "mute" })],
    after: [...BASE, podOf("x/moving", "1.20")],
    policies: [
      [...POLICIES, MUTE, FROM_MUTE],
      [...POLICIES, MUTE, FROM_MUTE],
    ],
    drops: ["10.244.1.20 -> x/a 90/TCP"],
  },
  {
    name: "and the other way round",
    before: [...BASE, podOf("x/moving", "1.20")],
    after: [...BASE, podOf("x/moving", "1.20", { app: "mute" })],
    policies: [
      [...POLICIES, MUTE, FROM_MUTE],
      [...POLICIES, MUTE, FROM_MUTE],
    ],
    drops: ["10.244.1.20 -> x/a 90/TCP"],
  },
  {
    name: "a peer goes from one set to another that allows the same",
    before: [...BASE, podOf("x/peer", "2.40", { app: "one" })],
    after: [...BASE, podOf("x/peer", "2.40", { app: "two" })],
    policies: [
      [...POLICIES, ...ONE_AND_TWO],
      [...POLICIES, ...ONE_AND_TWO],
    ],
    passes: ["10.244.2.40 -> x/a 90/TCP"],
    drops: ["10.244.2.40 -> x/a 93/TCP"],
  },
  {
    name: "an address that was of another pod: its ports are not open for the new one's peers",
    before: [...BASE, podOf("x/old", "2.41", { app: "old" }, { ports: [namedPort("web", 8080)] })],
    after: [...BASE, podOf("x/new", "2.41", { app: "new" }, { ports: [namedPort("web", 80)] })],
    policies: [
      [...POLICIES, TO_WEB],
      [...POLICIES, TO_WEB],
    ],
    drops: ["x/a -> 10.244.2.41 8080/TCP"],
  },
  {
    name: "one peer goes, another comes, a third stays",
    before: [...BASE, podOf("x/f1", "2.31", { app: "far" }), podOf("x/f2", "2.32")],
    after: [...BASE, podOf("x/f1", "2.31"), podOf("x/f2", "2.32", { app: "far" })],
    passes: ["x/far -> x/a"],
    drops: ["x/b -> x/a"],
  },
  {
    name: "a policy becomes narrower",
    before: BASE,
    after: BASE,
    policies: [POLICIES, [allow("x/b", "b", "[{port: 80}]"), ...POLICIES.filter(({ name }) => name !== "b")]],
    passes: ["x/far -> x/b 80/TCP", "x/far -> x/a"],
    drops: ["x/far -> x/b 82/TCP"],
  },
  {
    name: "the first policy of all",
    before: BASE,
    after: BASE,
    policies: [[], POLICIES],
    passes: ["x/far -> x/a", "x/far -> x/b 81/TCP"],
  },
  {
    name: "the last policy goes",
    before: BASE,
    after: BASE,
    policies: [POLICIES, []],
    passes: ["x/far -> x/a", "x/far -> x/b 81/TCP"],
  },
];

describe("every state between two policies", () => {
  test.for(CASES)("$name", ({ before, after, policies = [POLICIES, POLICIES], passes = [], drops = [] }) => {
    const snapshot = snapshotOf({ pods: before, policies: policies[0] });
    const from = compilePolicy(snapshot, DEFAULT_POLICY_SETTINGS);
    const to = compilePolicy({ ...snapshot, pods: after, policies: policies[1] }, DEFAULT_POLICY_SETTINGS);
    const states = statesBetween(from, to).map(createInterpreter);
    const verdictsOf = (text: string) =>
      packetsOf(text, before).flatMap((packet) => {
        const hop = new Map(hopsOf(snapshot, packet)).get("n1");
        return hop ? states.map((state) => state.run(hop).verdict) : [];
      });
    for (const text of passes)
      expect({ text, seen: new Set(verdictsOf(text)) }).toEqual({ text, seen: new Set(["pass"]) });
    for (const text of drops)
      expect({ text, seen: new Set(verdictsOf(text)) }).toEqual({ text, seen: new Set(["drop"]) });
  });
});

test("somebody takes a pod out of the set of its chain: closed, not open", () => {
  const snapshot = snapshotOf({ pods: BASE, policies: POLICIES });
  const compiled = compilePolicy(snapshot, DEFAULT_POLICY_SETTINGS);
  const { set } = compiled.profiles.find(({ pods, family }) => family === 4 && pods.includes("x/a")) ?? {
    set: "",
  };
  const sets = compiled.sets.map((row) => (row.name === set ? { ...row, members: [] } : row));
  const [packet] = packetsOf("10.244.2.13 -> 10.244.1.11", BASE);
  const hop = packet && new Map(hopsOf(snapshot, packet)).get("n1");
  expect(hop && createInterpreter(compiled).run(hop).verdict).toBe("pass");
  expect(hop && createInterpreter({ ...compiled, sets }).run(hop).verdict).toBe("drop");
});
