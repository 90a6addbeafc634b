// Metrics of the node agent, the store and the process itself.
import { readdirSync } from "node:fs";
import type { LastPass } from "./node-agent.ts";
import type { DaemonState } from "./daemon-state.ts";
import type { MetricSample } from "./metrics-render.ts";
import type { Metrics } from "./metrics.ts";
import { VERSION } from "./version.ts";
import { processesStarted } from "../kernel/exec.ts";

export interface NodeMetrics {
  /** A pass over the host has ended. @param complete nothing must be tried again */
  pass(pass: LastPass | undefined, complete: boolean): void;
}

/** Everything is read of `state` at a scrape, from the daemon's first moment on, but for what a pass did. */
export function registerNodeMetrics(metrics: Metrics, state: DaemonState): NodeMetrics {
  registerDaemon(metrics, state);
  registerPeers(metrics, state);
  registerProcess(metrics);
  const passes = metrics.counter({
    name: "flanneld_passes_total",
    help: "Passes over the host; a failed one is tried again.",
    labels: ["result"],
  });
  const duration = metrics.histogram({
    name: "flanneld_pass_duration_seconds",
    help: "Time of one pass over the host.",
  });
  const written = metrics.counter({
    name: "flanneld_rows_written_total",
    help: "Rows of kernel tables that were written.",
    labels: ["table", "change"],
  });
  const repaired = metrics.counter({
    name: "flanneld_rows_repaired_total",
    help: "Rows of ours that something else had changed and that were put back.",
    labels: ["table"],
  });
  const failed = metrics.counter({
    name: "flanneld_row_failures_total",
    help: "Rows that the kernel refused.",
    labels: ["table"],
  });
  let last: LastPass | undefined;
  return {
    pass(pass, complete) {
      passes.inc({ result: complete ? "complete" : "incomplete" });
      // Before the first leases are known a pass does nothing.
      if (pass === undefined || pass === last) return;
      last = pass;
      duration.observe(pass.durationMs / 1_000);
      for (const report of pass.report.tables) {
        const { table } = report;
        for (const change of ["created", "replaced", "removed"] as const) {
          written.inc({ table, change }, report[change]);
          repaired.inc({ table }, report.repaired[change]);
        }
        failed.inc({ table }, report.failed.length);
      }
    },
  };
}

type Read = () => readonly MetricSample[];

function registerDaemon(metrics: Metrics, state: DaemonState): void {
  const gauge = (name: string, help: string, read: Read, labels: readonly string[] = []): void =>
    metrics.collect({ name: `flanneld_${name}`, help, type: "gauge", labels }, read);
  gauge(
    "build_info",
    "Always 1; the label says which version runs.",
    () => [{ labels: { version: VERSION }, value: 1 }],
    ["version"],
  );
  gauge("ready", "1 if the node is ready, as /readyz says.", () => [
    { value: Number(state.notReadyReason() === undefined) },
  ]);
  gauge(
    "store_connected",
    "1 while the store answers.",
    () => [{ labels: { store: state.store }, value: Number(state.manager?.health().connected ?? false) }],
    ["store"],
  );
  gauge("leases_skipped", "Leases of other nodes that cannot be used as they are.", () => [
    { value: state.manager?.health().skipped.length ?? 0 },
  ]);
  gauge("lease_expiry_timestamp_seconds", "When our lease ends unless it is renewed.", () => {
    const expiresAt = state.manager?.ownLease?.()?.expiresAt;
    return expiresAt === undefined ? [] : [{ value: expiresAt / 1_000 }];
  });
  gauge(
    "rows",
    "Rows of kernel tables that are wanted.",
    () =>
      (state.agent?.lastPass?.report.tables ?? []).map(({ table, desired }) => ({
        labels: { table },
        value: desired,
      })),
    ["table"],
  );
}

function registerPeers(metrics: Metrics, state: DaemonState): void {
  metrics.collect(
    { name: "flanneld_leases", help: "Leases that are known, our own included.", type: "gauge" },
    () => (state.agent ? [{ value: state.agent.leases.size }] : []),
  );
  metrics.collect(
    {
      name: "flanneld_peers",
      help: "Nodes by the way in which they are reached.",
      type: "gauge",
      labels: ["reached_by"],
    },
    () => (state.agent?.reach ?? []).map(({ how }) => ({ labels: { reached_by: how }, value: 1 })),
  );
}

/** Names and meanings of Prometheus' own clients (prometheus.io/docs/instrumenting/writing_clientlibs). */
function registerProcess(metrics: Metrics): void {
  const collect = (name: string, help: string, type: "counter" | "gauge", read: () => number): void =>
    metrics.collect({ name, help, type }, () => [{ value: read() }]);
  const startedAt = Date.now() / 1_000 - process.uptime();
  collect("flanneld_child_processes_started_total", "Child processes started.", "counter", processesStarted);
  collect("process_start_time_seconds", "When the process started.", "gauge", () => startedAt);
  collect("process_resident_memory_bytes", "Resident memory.", "gauge", () => process.memoryUsage.rss());
  collect("process_cpu_seconds_total", "Time of CPUs, of user and system.", "counter", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  collect("process_open_fds", "Open file descriptors.", "gauge", () => readdirSync("/proc/self/fd").length);
}
