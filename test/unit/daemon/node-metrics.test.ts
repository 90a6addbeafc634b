// The node's metrics: what passes did to the kernel, and what the daemon knows of store, peers and itself.
import { expect, it } from "vitest";
import { DaemonState } from "../../../src/daemon/daemon-state.ts";
import { createMetrics } from "../../../src/daemon/metrics.ts";
import { registerNodeMetrics } from "../../../src/daemon/node-metrics.ts";
import { registerSourceMetrics } from "../../../src/daemon/source-metrics.ts";
import type { LastPass, NodeAgent } from "../../../src/daemon/node-agent.ts";
import type { SubnetManager } from "../../../src/ipam/subnet-manager.ts";
import { parsePrometheusText } from "../../support/prometheus-text.ts";

const PASS: LastPass = {
  at: 0,
  durationMs: 12,
  report: {
    tables: [
      {
        table: "routes",
        listed: true,
        desired: 7,
        created: 3,
        replaced: 1,
        removed: 0,
        repaired: { created: 2, replaced: 0, removed: 0 },
        failed: [{ key: "10.244.2.0/24", reason: "unreachable" }],
      },
    ],
  },
};

async function scrape(metrics: ReturnType<typeof createMetrics>): Promise<Readonly<Record<string, number>>> {
  const families = parsePrometheusText(await metrics.render());
  return Object.fromEntries([...families.values()].flatMap(({ series }) => Array.from(series)));
}

it("answers from the first moment of the daemon on", async () => {
  const metrics = createMetrics();
  registerNodeMetrics(metrics, new DaemonState());
  const series = await scrape(metrics);
  expect(series).toMatchObject({
    flanneld_ready: 0,
    'flanneld_store_connected{store="etcd"}': 0,
    flanneld_pass_duration_seconds_count: 0,
  });
  expect(series).not.toHaveProperty("flanneld_leases");
  expect(series["process_resident_memory_bytes"]).toBeGreaterThan(1e6);
  expect(series["process_open_fds"]).toBeGreaterThan(3);
});

it("tells of store, lease, peers, passes, rows and repairs", async () => {
  const metrics = createMetrics();
  const state = new DaemonState();
  const nodeMetrics = registerNodeMetrics(metrics, state);
  state.manager = {
    health: () => ({ connected: true, skipped: [{ key: "x", reason: "broken" }] }),
    ownLease: () => ({ expiresAt: 1_700_000_000_000 }),
  } as unknown as SubnetManager;
  state.agent = {
    notReadyReason: () => undefined,
    leases: new Map([["a", {}], ["b", {}], ["c", {}]]),
    reach: [{ how: "vxlan" }, { how: "vxlan" }, { how: "direct" }],
    lastPass: PASS,
  } as unknown as NodeAgent; // prettier-ignore
  nodeMetrics.pass(undefined, true);
  nodeMetrics.pass(PASS, false);
  // A pass that did nothing leaves the last report behind.
  nodeMetrics.pass(PASS, true);
  expect(await scrape(metrics)).toMatchObject({
    flanneld_ready: 1,
    'flanneld_store_connected{store="etcd"}': 1,
    flanneld_leases: 3,
    flanneld_leases_skipped: 1,
    flanneld_lease_expiry_timestamp_seconds: 1_700_000_000,
    'flanneld_peers{reached_by="vxlan"}': 2,
    'flanneld_peers{reached_by="direct"}': 1,
    'flanneld_passes_total{result="complete"}': 2,
    'flanneld_passes_total{result="incomplete"}': 1,
    flanneld_pass_duration_seconds_count: 1,
    flanneld_pass_duration_seconds_sum: 0.012,
    'flanneld_rows{table="routes"}': 7,
    'flanneld_rows_written_total{table="routes",change="created"}': 3,
    'flanneld_rows_repaired_total{table="routes"}': 2,
    'flanneld_row_failures_total{table="routes"}': 1,
  });
});

it("counts lists and watches that had to begin anew, by source", async () => {
  const metrics = createMetrics();
  const tally = registerSourceMetrics(metrics);
  tally.cut("pods");
  tally.relist("pods", "expired");
  tally.relist("leases", "other-history");
  tally.relist("leases", "other-history");
  expect(await scrape(metrics)).toMatchObject({
    'flanneld_source_watch_cuts_total{source="pods"}': 1,
    'flanneld_source_relists_total{source="pods",reason="expired"}': 1,
    'flanneld_source_relists_total{source="leases",reason="other-history"}': 2,
  });
});
