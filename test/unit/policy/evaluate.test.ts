// Reasons: what a person is told about a packet.
import { describe, expect, test } from "vitest";
import { evaluatePacket } from "../../../src/policy/evaluate.ts";
import type { PacketVerdict } from "../../../src/policy/evaluate.ts";
import type { Packet } from "../../../src/policy/packet.ts";
import { podOf, packetsOf, policyOf, snapshotOf } from "../../support/policy-cluster.ts";

const PODS = [
  podOf("x/a", "1.11", { app: "a" }),
  podOf("x/b", "1.12", { app: "b" }),
  podOf("y/c", "2.13", { app: "c" }),
];
const POLICIES = [
  policyOf("x/closed", "{podSelector: {matchLabels: {app: b}}}"),
  policyOf(
    "x/web",
    `{podSelector: {matchLabels: {app: b}}, ingress: [
      {from: [{podSelector: {matchLabels: {app: none}}}]},
      {from: [{ipBlock: {cidr: 203.0.113.0/24}}, {podSelector: {matchLabels: {app: a}}}], ports: [{port: 443}, {port: 80}]}]}`,
  ),
];

function explain(text: string, more: Partial<Packet> = {}): PacketVerdict {
  const [packet] = packetsOf(text, PODS, more);
  if (packet === undefined) throw new Error("no packet");
  return evaluatePacket(snapshotOf({ pods: PODS, policies: POLICIES }), packet);
}

test("an accepted packet names the rule, its peer and its port", () => {
  expect(explain("x/a -> x/b 80/TCP")).toEqual({
    verdict: "accept",
    egress: { direction: "egress", verdict: "accept", reason: "not-isolated", pod: "x/a", isolatedBy: [] },
    ingress: {
      direction: "ingress",
      verdict: "accept",
      reason: "rule",
      pod: "x/b",
      isolatedBy: ["x/closed", "x/web"],
      acceptedBy: { policy: "x/web", rule: 1, peer: 1, port: 1 },
    },
  });
});

describe("a denied packet names the rule that came closest", () => {
  test("right peer, wrong port", () => {
    expect(explain("x/a -> x/b 81/TCP").ingress).toEqual({
      direction: "ingress",
      verdict: "deny",
      reason: "no-rule",
      pod: "x/b",
      isolatedBy: ["x/closed", "x/web"],
      nearestMiss: { policy: "x/web", rule: 1, peer: 1, failed: "port" },
    });
  });
  test("right port, wrong peer: the first such rule", () => {
    expect(explain("y/c -> x/b 80/TCP").ingress.nearestMiss).toEqual({
      policy: "x/web",
      rule: 0,
      failed: "peer",
    });
  });
  test("no rule at all", () => {
    const packet = packetsOf("x/a -> x/b", PODS)[0] as Packet;
    const { ingress } = evaluatePacket(snapshotOf({ pods: PODS, policies: POLICIES.slice(0, 1) }), packet);
    expect(ingress).not.toHaveProperty("nearestMiss");
    expect(ingress.reason).toBe("no-rule");
  });
});

describe("reasons without rules", () => {
  const cases: readonly [text: string, more: Partial<Packet>, egress: string, ingress: string][] = [
    ["y/c -> x/b", { state: "established" }, "established", "established"],
    ["y/c -> x/b 3/ICMP", { state: "related" }, "established", "established"],
    ["fd00:2::13 -> ff02::1 135/ICMP", {}, "neighbor-discovery", "neighbor-discovery"],
    ["192.0.2.1 -> 10.244.1.12", {}, "node", "own-node"],
    ["192.0.2.2 -> 10.244.1.12", {}, "node", "no-rule"],
    ["10.244.1.11 -> 192.0.2.1", {}, "not-isolated", "node"],
    ["10.244.1.11 -> 203.0.113.9", {}, "not-isolated", "not-a-pod"],
    ["203.0.113.9 -> 10.244.1.11", {}, "not-a-pod", "not-isolated"],
    ["10.244.1.99 -> 10.244.1.98", {}, "unknown-pod", "unknown-pod"],
    ["10.244.1.12 -> 10.244.1.12", {}, "not-isolated", "self"],
    ["10.244.1.11 -> 10.244.1.12", { state: "invalid" }, "not-isolated", "invalid"],
    ["10.244.1.11 -> 224.0.0.251", {}, "not-isolated", "multicast"],
    ["10.244.2.13 -> 224.0.0.251", {}, "not-isolated", "no-listener"],
  ];
  test.for(cases)("%s %j: %s, %s", ([text, more, egress, ingress]) => {
    const verdict = explain(text, more);
    expect([verdict.egress.reason, verdict.ingress.reason]).toEqual([egress, ingress]);
  });
});
