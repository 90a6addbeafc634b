// What `status` tells of network policy.
import type { RunningPolicy } from "./policy/start-policy.ts";
import type { PolicyStatus } from "./status-report.ts";

export function describePolicy({ read, agent }: RunningPolicy): PolicyStatus {
  const { source, lastPass, problems, repairs, waiting } = agent.state();
  const { pods, namespaces, policies } = read.graph.snapshot();
  const rows = agent.lastReport?.desired;
  const { problem, connected, skipped } = source;
  return {
    enforced: agent.notReadyReason() === undefined,
    problems,
    source: { connected, ...(problem !== undefined && { problem }) },
    pods: pods.length,
    namespaces: namespaces.length,
    policies: policies.length,
    attachments: agent.book.attachments.length,
    waiting,
    isolatedPods: new Set(read.graph.compiled().profiles.flatMap(({ pods: isolated }) => isolated)).size,
    rows: {
      chainsAndJumps: rows?.firewallRows ?? 0,
      sets: rows?.sets ?? 0,
      members: rows?.members ?? 0,
    },
    ...(lastPass && {
      lastPass: {
        at: new Date(lastPass.at).toISOString(),
        durationMs: Math.round(lastPass.durationMs),
        failed: lastPass.failed.map(({ key, reason }) => ({ key, reason })),
      },
    }),
    repairsTotal: repairs,
    skipped: skipped.map(({ kind, key, reason }) => ({ key: `${kind} ${key}`, reason })),
  };
}
