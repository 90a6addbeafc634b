// Benchmark: the policy of a large cluster in memory: from an event to the rows that are wanted, beside compiling from scratch.
import { execFileSync } from "node:child_process";
import path from "node:path";
import type { PolicyCompileReport } from "./policy-compile-inside.ts";
import { median, ms, quantile } from "./stats.ts";
import type { Figure } from "./stats.ts";

/** As scripts/build-daemon.ts has them. */
const DAEMON_FLAGS = ["--max-semi-space-size=1", "--optimize-for-size"];

export function benchPolicyCompile(): readonly Figure[] {
  const [objectsMb, graphMb] = [measure("objects") as number, measure("graph") as number];
  return [
    ...describe(measure("speed") as PolicyCompileReport),
    {
      what: "heap of the graph and its feed with all objects and rows",
      ours: `${graphMb.toFixed(1)} MB`,
      // As a watch delivers them, that is what anybody holds who knows the cluster.
      beside: `the objects alone ${objectsMb.toFixed(1)} MB`,
    },
  ];
}

function measure(what: "speed" | "objects" | "graph"): unknown {
  const script = path.join(import.meta.dirname, "policy-compile-inside.ts");
  const args = [...DAEMON_FLAGS, "--expose-gc", script, what];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" }));
}

function describe(report: PolicyCompileReport): readonly Figure[] {
  const scratch = median(report.fromScratch);
  const event = (what: string, samples: readonly number[], target: string, met: boolean): Figure => ({
    what: `${what} (n=${samples.length})`,
    ours: `p50 ${ms(median(samples))}, p99 ${ms(quantile(samples, 0.99))}`,
    beside: `from scratch ${ms(scratch)}: 1/${(scratch / median(samples)).toFixed(0)}`,
    target,
    met,
  });
  const isFast = (samples: readonly number[]): boolean => median(samples) < 3 && quantile(samples, 0.99) < 10;
  const podTarget = "p50 under 3 ms, p99 under 10 ms";
  return [
    {
      what: `10,000 pods, 1,000 policies, 110 pods here: ${report.rules} rules, ${report.sets} sets, ${report.members} members`,
      ours: `first compile ${ms(median(report.first))}`,
      beside: `from scratch ${ms(median(report.firstFromScratch))}`,
      target: "under 1 s",
      met: median(report.first) < 1_000,
    },
    event("one event of a pod elsewhere", report.remotePod, podTarget, isFast(report.remotePod)),
    event("one event of a pod here", report.localPod, podTarget, isFast(report.localPod)),
    event(
      "one event of a policy in force here",
      report.policy,
      "p99 under 50 ms",
      quantile(report.policy, 0.99) < 50,
    ),
  ];
}
