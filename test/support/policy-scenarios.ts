// Policy scenarios: each packet is asked of the evaluator and of the compiled rules of every node on its way.
import { describe, expect, test } from "vitest";
import { evaluatePacket } from "../../src/policy/evaluate.ts";
import type { Packet } from "../../src/policy/packet.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../src/policy/settings.ts";
import type { PolicySettings } from "../../src/policy/settings.ts";
import type { Namespace, Pod, Policy } from "../../src/policy/snapshot.ts";
import { packetsOf, podOf, policyOf, snapshotOf } from "./policy-cluster.ts";
import { createCluster } from "./policy-path.ts";

export interface Scenario {
  readonly name: string;
  readonly pods?: readonly Pod[];
  readonly namespaces?: readonly Namespace[];
  readonly policies: readonly Policy[];
  readonly settings?: Partial<PolicySettings>;
  readonly packet?: Partial<Packet>;
  readonly accept?: readonly string[];
  readonly deny?: readonly string[];
}

/** Two pods of namespace x on the first node, one on the second, and one of namespace y there. */
export const PODS = [
  podOf("x/a", "1.11", { app: "a" }),
  podOf("x/b", "1.12", { app: "b", tier: "db" }),
  podOf("x/c", "2.13", { app: "c" }),
  podOf("y/a", "2.21", { app: "a" }),
];
/** Outside of the cluster. */
export const CLIENT = "198.51.100.7";

/** Isolates x/b. */
export const DENY_INGRESS = policyOf("x/p", "{podSelector: {matchLabels: {app: b}}}");

function check({
  pods = PODS,
  namespaces,
  policies,
  settings,
  packet,
  accept = [],
  deny = [],
}: Scenario): void {
  const snapshot = snapshotOf({ pods, policies, ...(namespaces && { namespaces }) });
  const all = { ...DEFAULT_POLICY_SETTINGS, ...settings };
  const cluster = createCluster(snapshot, all);
  const expected = [
    ...accept.map((text) => [text, "accept"] as const),
    ...deny.map((text) => [text, "deny"] as const),
  ];
  for (const [text, verdict] of expected) {
    for (const one of packetsOf(text, pods, packet)) {
      const evaluated = evaluatePacket(snapshot, one, all);
      const dropped = [...cluster.send(one).values()].some((outcome) => outcome.verdict === "drop");
      expect({ text, dst: one.dst, verdict: evaluated.verdict, compiled: dropped ? "deny" : "accept" }, JSON.stringify(evaluated)).toEqual({
        text, dst: one.dst, verdict, compiled: verdict,
      }); // prettier-ignore
    }
  }
}

export function scenarios(title: string, list: readonly Scenario[]): void {
  describe(title, () => {
    test.for(list)("$name", check);
  });
}
