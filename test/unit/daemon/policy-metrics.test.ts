// Policy's metrics: what the agent records, what is read of graph and kernel, and that pods are named.
import { expect, it } from "vitest";
import { createMetrics } from "../../../src/daemon/metrics.ts";
import { createDeniedCounts } from "../../../src/daemon/policy/denied-counts.ts";
import { registerPolicyMetrics } from "../../../src/daemon/policy/policy-metrics.ts";
import type { PolicyAgentState } from "../../../src/daemon/policy/read-source.ts";
import { parseSetCounters } from "../../../src/kernel/set-counters.ts";
import { createPolicyGraph } from "../../../src/policy/graph.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import { clusterNode, namespaceOf, podOf, policyOf } from "../../support/policy-cluster.ts";
import { parsePrometheusText } from "../../support/prometheus-text.ts";

const STATE: PolicyAgentState = {
  source: { connected: true, skipped: [] },
  repairs: 3,
  waiting: 2,
  problems: ["bridge-nf-call-iptables is 0"],
};

function graphOfOneIsolatedPod() {
  const graph = createPolicyGraph({ nodeName: "n1", settings: DEFAULT_POLICY_SETTINGS });
  graph.apply({ type: "snapshot", kind: "nodes", objects: [clusterNode(1)] });
  graph.apply({ type: "snapshot", kind: "namespaces", objects: [namespaceOf("x")] });
  graph.apply({ type: "snapshot", kind: "pods", objects: [podOf("x/a", "1.5"), podOf("x/b", "2.6")] });
  graph.apply({ type: "snapshot", kind: "policies", objects: [policyOf("x/deny", "{podSelector: {}}")] });
  return graph;
}

/** The value of every series, by its whole name. */
async function scrape(metrics: ReturnType<typeof createMetrics>): Promise<Readonly<Record<string, number>>> {
  const families = parsePrometheusText(await metrics.render());
  return Object.fromEntries([...families.values()].flatMap(({ series }) => Array.from(series)));
}

it("tells events, times, failures, rules, sets, members, repairs, attachments and problems", async () => {
  const metrics = createMetrics();
  const graph = graphOfOneIsolatedPod();
  const source = {
    graph,
    settings: DEFAULT_POLICY_SETTINGS,
    state: () => STATE,
    denied: () => Promise.resolve([]),
  };
  const policy = registerPolicyMetrics(metrics, source);
  policy.event("pods");
  policy.event("pods");
  policy.eventInKernel(0.012);
  policy.pass(0.003, 2);
  policy.attachment(0.02, "in-force");
  const series = await scrape(metrics);
  expect(series).toMatchObject({
    'flanneld_policy_events_total{kind="pods"}': 2,
    'flanneld_policy_event_to_kernel_seconds_bucket{le="0.01"}': 0,
    'flanneld_policy_event_to_kernel_seconds_bucket{le="0.015"}': 1,
    flanneld_policy_event_to_kernel_seconds_count: 1,
    flanneld_policy_pass_duration_seconds_count: 1,
    flanneld_policy_apply_failures_total: 2,
    'flanneld_policy_attachment_duration_seconds_count{result="in-force"}': 1,
    flanneld_policy_source_connected: 1,
    flanneld_policy_objects_skipped: 0,
    flanneld_policy_attachments_waiting: 2,
    flanneld_policy_problems: 1,
    flanneld_policy_repairs_total: 3,
    flanneld_policy_isolated_pods: 1,
    flanneld_policy_sets: graph.compiled().sets.length,
  });
  expect(series["flanneld_policy_rules"]).toBeGreaterThan(10);
  expect(series["flanneld_policy_set_members"]).toBeGreaterThan(4);
});

it("counts denied packets by pod, the sum of both families, and leaves strangers out", async () => {
  const metrics = createMetrics();
  const saves: Readonly<Record<string, string>> = {
    "FTSP-4-denied-in": "create FTSP-4-denied-in hash:ip family inet counters\nadd FTSP-4-denied-in 10.244.1.5 packets 7 bytes 420\nadd FTSP-4-denied-in 10.244.1.9 packets 5 bytes 300\n",
    "FTSP-6-denied-in": "add FTSP-6-denied-in fd00:1::5 packets 2 bytes 160\n",
    "FTSP-4-denied-out": "add FTSP-4-denied-out 10.244.1.5 packets 0 bytes 0\n",
  }; // prettier-ignore
  let processes = 0;
  const denied = createDeniedCounts(DEFAULT_POLICY_SETTINGS, {
    exec: (_, [, name = ""]) => {
      processes += 1;
      const stdout = saves[name];
      return Promise.resolve({ exitCode: stdout === undefined ? 1 : 0, stdout: stdout ?? "", stderr: "" });
    },
    clock: { now: () => 0 },
  });
  const source = {
    graph: graphOfOneIsolatedPod(),
    settings: DEFAULT_POLICY_SETTINGS,
    state: () => STATE,
    denied,
  };
  registerPolicyMetrics(metrics, source);
  await Promise.all([scrape(metrics), scrape(metrics)]);
  const shown = Object.entries(await scrape(metrics)).filter(([name]) => name.includes("denied"));
  expect(shown).toEqual([
    ['flanneld_policy_denied_packets_total{namespace="x",pod="a",direction="ingress"}', 9],
  ]);
  expect(processes, "three scrapes in a row ask the kernel once").toBe(4);
});

it("reads counters of ipset save", () => {
  expect(
    parseSetCounters(
      "create s hash:ip family inet hashsize 1024 maxelem 65536 counters bucketsize 12 initval 0x1\nadd s 10.0.0.1 packets 12 bytes 999999999999\nadd s 10.0.0.2\n",
    ),
  ).toEqual([{ member: "10.0.0.1", packets: 12 }]);
});
