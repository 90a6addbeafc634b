// Benchmark: the built daemon with etcd: from a lease's Put to the route, and what it costs to stand still.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { startCluster } from "../lab/cluster.ts";
import type { Cluster } from "../lab/cluster.ts";
import { waitUntil } from "../lab/wait.ts";
import { NETWORK_TEXT } from "./many-leases.ts";
import { cpuMs, ms, quantile, residentMb } from "./stats.ts";
import type { Figure } from "./stats.ts";

const INSIDE = path.join(import.meta.dirname, "leases-inside.ts");
const START_SCRIPT = path.resolve(import.meta.dirname, "../dist/flanneld-ts");
const SAMPLES = 60;
const IDLE_PEERS = 100;
const IDLE_SECONDS = 60;
const MANY_PEERS = 5000;
/** Subnets for timing lie above all others. */
const FIRST_TIMED = 20_000;

export async function benchLeases(): Promise<readonly Figure[]> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "flanneld-ts-bench-"));
  const netConf = {
    Network: NETWORK_TEXT,
    SubnetLen: 24,
    SubnetMax: "10.15.0.0",
    Backend: { Type: "vxlan" },
  };
  const cluster = await startCluster({
    directory,
    nodes: 1,
    pods: 0,
    netConf,
    daemonCommand: [START_SCRIPT],
  });
  try {
    await putLeases(cluster, 1, IDLE_PEERS);
    const idle = await measureIdle(cluster);
    const few = await timeRoutes(cluster, FIRST_TIMED);
    await putLeases(cluster, IDLE_PEERS + 1, MANY_PEERS - IDLE_PEERS);
    const many = await timeRoutes(cluster, FIRST_TIMED + SAMPLES);
    return [
      describeTimes(`lease's Put to route on another node, ${IDLE_PEERS} nodes`, few),
      {
        ...describeTimes(`the same among ${MANY_PEERS} nodes`, many),
        target: "under 50 ms",
        met: quantile(many, 0.5) < 50,
      },
      ...idle,
      {
        what: `resident memory with ${MANY_PEERS} peers`,
        ours: `${residentMb(daemonPid(cluster)).toFixed(0)} MB`,
      },
    ];
  } finally {
    await cluster.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

function daemonPid(cluster: Cluster): number {
  const pid = cluster.node("n1").daemon.pid();
  if (pid === undefined) throw new Error("the daemon has ended");
  return pid;
}

async function inside(cluster: Cluster, task: string, first: number, count: number): Promise<string> {
  const args = [INSIDE, task, cluster.etcd.endpoints, String(first), String(count)];
  const { stdout } = await cluster.node("n1").exec(process.execPath, args, { timeoutMs: 300_000 });
  return stdout;
}

async function timeRoutes(cluster: Cluster, first: number): Promise<readonly number[]> {
  return JSON.parse(await inside(cluster, "time", first, SAMPLES)) as number[];
}

async function putLeases(cluster: Cluster, first: number, count: number): Promise<void> {
  const wanted = (await countRoutes(cluster)) + count;
  await inside(cluster, "put", first, count);
  await waitUntil(`${wanted} routes`, async () => (await countRoutes(cluster)) >= wanted, {
    timeoutMs: 120_000,
    intervalMs: 500,
  });
}

async function countRoutes(cluster: Cluster): Promise<number> {
  const { stdout } = await cluster.node("n1").exec("ip", ["route", "show", "proto", "250"]);
  return stdout.split("\n").length - 1;
}

async function measureIdle(cluster: Cluster): Promise<readonly Figure[]> {
  const pid = daemonPid(cluster);
  const { daemon } = cluster.node("n1");
  const processesBefore = (await daemon.status()).processesStarted;
  const cpuBefore = cpuMs(pid);
  await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1000));
  const cpuPerSecond = (cpuMs(pid) - cpuBefore) / IDLE_SECONDS;
  const perMinute = ((await daemon.status()).processesStarted - processesBefore) / (IDLE_SECONDS / 60);
  const rss = residentMb(pid);
  // One iptables-save per resync, which is every 5 s.
  const resyncs = 60 / 5;
  return [
    {
      what: `idle CPU with ${IDLE_PEERS} peers, children included`,
      ours: `${(cpuPerSecond / 10).toFixed(2)}% of a core`,
    },
    {
      what: `child processes per minute, idle, ${IDLE_PEERS} peers`,
      ours: `${perMinute.toFixed(0)}: one iptables-save per resync (5 s)`,
      target: "none between resyncs",
      met: perMinute <= resyncs + 1,
    },
    {
      what: `resident memory with ${IDLE_PEERS} peers`,
      ours: `${rss.toFixed(0)} MB`,
      target: "under 90 MB",
      met: rss < 90,
    },
  ];
}

function describeTimes(what: string, samples: readonly number[]): Figure {
  return {
    what: `${what} (n=${samples.length})`,
    ours: `p50 ${ms(quantile(samples, 0.5))}, p99 ${ms(quantile(samples, 0.99))}`,
  };
}
