// Which ports are open between two addresses: what is said is what the evaluator says of every port.
import { expect, test } from "vitest";
import { createEvaluator } from "../../../src/policy/evaluate.ts";
import { newPacket, policiesByKey, reachOf } from "../../../src/policy/reach.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import { POLICY_PROTOCOLS } from "../../../src/policy/snapshot.ts";
import type { Policy } from "../../../src/policy/snapshot.ts";
import { namedPort, podOf, policyOf, snapshotOf } from "../../support/policy-cluster.ts";
import { parseIp } from "../../../src/net/ip.ts";

const A = podOf("x/a", "1.11", { app: "a" });
const B = podOf(
  "x/b",
  "1.12",
  { app: "b" },
  { ports: [namedPort("http", 8080), namedPort("dns", 53, "UDP")] },
);
const [SRC, DST] = [parseIp("10.244.1.11"), parseIp("10.244.1.12")];

const CASES: readonly { name: string; policies: readonly Policy[]; expected: readonly [string, ...string[]] }[] = [
  { name: "no policy", policies: [], expected: ["allowed"] },
  { name: "nothing", policies: [policyOf("x/p", "{podSelector: {}}")], expected: ["denied"] },
  {
    name: "numbers, a range up to the last port and a name",
    policies: [
      policyOf("x/p", "{podSelector: {matchLabels: {app: b}}, ingress: [{ports: [{port: 80}, {port: 81}, {port: 65000, endPort: 65535}, {port: http}, {port: dns, protocol: UDP}]}]}"),
    ],
    expected: ["partly", "TCP 80-81, 8080, 65000-65535", "UDP 53"],
  },
  {
    name: "what both ends allow",
    policies: [
      policyOf("x/in", "{podSelector: {matchLabels: {app: b}}, ingress: [{ports: [{port: 80, endPort: 90}]}]}"),
      policyOf("x/out", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{ports: [{port: 85, endPort: 99}]}]}"),
    ],
    expected: ["partly", "TCP 85-90"],
  },
  {
    name: "a whole protocol",
    policies: [policyOf("x/p", "{podSelector: {matchLabels: {app: b}}, ingress: [{ports: [{protocol: SCTP}]}]}")],
    expected: ["partly", "all of SCTP"],
  },
]; // prettier-ignore

test.for(CASES)("$name", ({ policies, expected }) => {
  const snapshot = snapshotOf({ pods: [A, B], policies });
  const evaluate = createEvaluator(snapshot, DEFAULT_POLICY_SETTINGS);
  const input = { evaluate, policies: policiesByKey(policies), namedPorts: B.ports };
  const { reachability, open } = reachOf(SRC, DST, input);
  expect([reachability, ...open]).toEqual(expected);
  expect(reachOf(SRC, DST, input, true).reachability).toBe(reachability);
  // Port by port, around every number that the cases name.
  for (const protocol of POLICY_PROTOCOLS) {
    const said = open.find((text) => text.includes(protocol)) ?? "";
    for (const port of [0, 52, 53, 54, 79, 80, 81, 82, 84, 85, 90, 91, 8080, 64_999, 65_000, 65_535]) {
      const verdict = evaluate(newPacket(SRC, DST, { protocol, port })).verdict;
      const isSaid = reachability === "allowed" || said.startsWith("all of") || contains(said, port);
      expect({ protocol, port, verdict }).toEqual({ protocol, port, verdict: isSaid ? "accept" : "deny" });
    }
  }
});

function contains(said: string, port: number): boolean {
  return said
    .replace(/^\w+ /, "")
    .split(", ")
    .filter((text) => text !== "")
    .some((text) => {
      const [from = 0, to = from] = text.split("-").map(Number);
      return from <= port && port <= to;
    });
}
