// Which established flows a policy ends.
import { describe, expect, test } from "vitest";
import { PROTOCOL_NUMBERS } from "../../../src/net/flow.ts";
import type { Flow } from "../../../src/net/flow.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { createEvaluator } from "../../../src/policy/evaluate.ts";
import { createFlowJudge } from "../../../src/policy/recheck.ts";
import type { Policy } from "../../../src/policy/snapshot.ts";
import { podOf, policyOf, snapshotOf } from "../../support/policy-cluster.ts";

const PODS = [
  podOf("x/a", "1.11", { app: "a" }),
  podOf("x/b", "1.12", { app: "b" }),
  podOf("x/far", "2.13", { app: "far" }),
];
const LOCAL = new Set(PODS.slice(0, 2).flatMap(({ ips }) => ips));
const DENY_B = policyOf(
  "x/b",
  "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}], ports: [{port: 80}]}]}",
);
const DENY_FAR = policyOf("x/far", "{podSelector: {matchLabels: {app: far}}, policyTypes: [Egress]}");
const evaluatorOf = (...policies: readonly Policy[]) => createEvaluator(snapshotOf({ pods: PODS, policies }));

/** `src -> dst:port`, or by way of a service: `src -> service:80 = dst:port`. */
function flowOf(text: string, protocol: keyof typeof PROTOCOL_NUMBERS = "tcp"): Flow {
  const [src = "", called = "", reached = called] = text.split(/ -> | = /);
  const ends = (end: string) => ({ ip: parseIp(end.split(":")[0] ?? ""), port: Number(end.split(":")[1]) });
  const [to, at] = [ends(called), ends(reached)];
  return {
    family: 4,
    protocol: PROTOCOL_NUMBERS[protocol],
    original: { src: parseIp(src), dst: to.ip, srcPort: 40_000, dstPort: to.port },
    reply: { src: at.ip, dst: parseIp(src), srcPort: at.port, dstPort: 40_000 },
  };
}

describe("ends", () => {
  const judge = createFlowJudge({ evaluate: evaluatorOf(DENY_B, DENY_FAR), localIps: LOCAL });
  test.each([
    ["10.244.2.13 -> 10.244.1.12:80", "not allowed in"],
    ["10.244.1.11 -> 10.244.1.12:81", "another port"],
    ["10.244.1.11 -> 10.96.0.1:80 = 10.244.1.12:81", "by way of a service"],
    ["198.51.100.7 -> 192.0.2.1:30080 = 10.244.1.12:80", "from outside, by a node port"],
  ])("%s: %s", (text) => {
    expect(judge(flowOf(text))).toBe(true);
  });
  test.each([
    ["10.244.1.11 -> 10.244.1.12:80", "allowed"],
    ["10.244.1.11 -> 10.96.0.1:8080 = 10.244.1.12:80", "the service's port does not count"],
    ["10.244.1.12 -> 10.244.1.11:9", "replies of the other way are no matter of ingress"],
    ["10.244.2.13 -> 10.244.1.11:80", "what another node's pod may not do is its node's affair"],
    ["192.0.2.1 -> 10.244.1.12:9", "the node"],
    ["10.244.1.77 -> 198.51.100.7:80", "an address of no known pod"],
  ])("not %s: %s", (text) => {
    expect(judge(flowOf(text))).toBe(false);
  });

  test("ping, where no rule allows it", () => {
    const ping: Flow = {
      ...flowOf("10.244.2.13 -> 10.244.1.12:0", "icmp"),
      icmp: { type: 8, code: 0, id: 1 },
    };
    expect(judge(ping)).toBe(true);
  });
});

test("what was not allowed before, either, goes on: it passed as related to another connection", () => {
  const [before, after] = [evaluatorOf(DENY_B), evaluatorOf(DENY_B, DENY_FAR)];
  const judge = createFlowJudge({ evaluate: after, evaluateBefore: before, localIps: LOCAL });
  expect(judge(flowOf("10.244.2.13 -> 10.244.1.12:80"))).toBe(false);
  const strict = createFlowJudge({ evaluate: after, evaluateBefore: evaluatorOf(), localIps: LOCAL });
  expect(strict(flowOf("10.244.2.13 -> 10.244.1.12:80"))).toBe(true);
});

test("what one end began to allow when the other one ceased to ends: it may have been made between the two", () => {
  const shutA = policyOf("x/a", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}");
  const judge = createFlowJudge({
    evaluate: evaluatorOf(shutA),
    evaluateBefore: evaluatorOf(DENY_B),
    localIps: LOCAL,
  });
  expect(judge(flowOf("10.244.1.11 -> 10.244.1.12:81"))).toBe(true);
});
