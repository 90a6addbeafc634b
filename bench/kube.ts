// Benchmark: the built daemon with the Kubernetes API: a Node's annotation to the route, and what thousands of Nodes cost.
import { readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { waitUntil } from "../lab/wait.ts";
import { startFakeKube } from "../test/support/fake-kube/fake-kube.ts";
import type { FakeKube } from "../test/support/fake-kube/fake-kube.ts";
import { startKubeNode } from "../test/support/kube-node.ts";
import type { KubeNode } from "../test/support/kube-node.ts";
import { bigBareNode, bigNode, bigPod } from "./kube-objects.ts";
import { NETWORK_TEXT, peer } from "./many-leases.ts";
import { cpuMs, ms, quantile, residentMb } from "./stats.ts";
import type { Figure } from "./stats.ts";

const START_SCRIPT = path.resolve(import.meta.dirname, "../dist/flanneld-ts");
const NET_CONF = { Network: NETWORK_TEXT, Backend: { Type: "vxlan" } };
const FEW_NODES = 1000;
const MANY_NODES = 5000;
const PODS = 10_000;
const SAMPLES = 60;
/** Longer than the daemon's minimum between passes: nodes join one at a time. */
const PAUSE_MS = 150;
/** Nodes for timing have numbers above all others. */
const FIRST_TIMED = 20_000;
const STATUS_PERIOD_S = 10;
const STEADY_S = 30;
/** Until V8 has given back what starting took. */
const SETTLE_S = 60;
/** Longer than a resync of iptables, which needs code that is given back between two. */
const WATCH_S = 12;

export async function benchKube(): Promise<readonly Figure[]> {
  return [
    ...(await withCluster(FEW_NODES, [], measureLatency)),
    ...(await withCluster(MANY_NODES, [], measureMany)),
    ...(await withCluster(MANY_NODES, ["--network-policy"], measurePolicy)),
  ];
}

interface Bench {
  readonly fake: FakeKube;
  readonly node: KubeNode;
  readonly nodes: number;
}

/** Without --network-policy nobody asks for pods. */
async function withCluster<T>(
  nodes: number,
  flags: readonly string[],
  measure: (bench: Bench) => Promise<T>,
): Promise<T> {
  const fake = await startFakeKube({ historyLimit: 2_000 });
  let node: KubeNode | undefined;
  try {
    for (let n = 1; n <= nodes; n += 1) fake.put("nodes", bigNode(n));
    fake.put("nodes", bigBareNode("self", "10.1.1.0/24"));
    node = await startKubeNode(fake, { nodeName: "self", netConf: NET_CONF, flags, command: [START_SCRIPT] });
    return await measure({ fake, node, nodes });
  } finally {
    await node?.close();
    await fake.close();
  }
}

function pidOf({ node }: Bench): number {
  const pid = node.daemon.pid();
  if (pid === undefined) throw new Error("the daemon has ended");
  return pid;
}

/** MB (10^6 bytes). */
function peakMb(pid: number): number {
  const kib = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(kib) * 1024) / 1e6;
}

interface Settled {
  /** MB (10^6 bytes): the most that was seen, and how much of that no file stands behind. */
  readonly residentMb: number;
  readonly ownMb: number;
}

async function watchSettled(pid: number): Promise<Settled> {
  let most: Settled = { residentMb: 0, ownMb: 0 };
  for (const end = performance.now() + WATCH_S * 1000; performance.now() < end; await delay(100)) {
    const kib = /RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    const now = { residentMb: residentMb(pid), ownMb: (Number(kib) * 1024) / 1e6 };
    if (now.residentMb > most.residentMb) most = now;
  }
  return most;
}

/** From the process to the last route. */
async function startDaemon(bench: Bench): Promise<{ readonly wallMs: number; readonly cpuMs: number }> {
  const startedAt = performance.now();
  await bench.node.daemon.start();
  await waitUntil(
    `${bench.nodes} routes`,
    async () => (await bench.node.run("ip -4 route show dev flannel.1")).split("\n").length > bench.nodes,
    { timeoutMs: 300_000, intervalMs: 100 },
  );
  return { wallMs: performance.now() - startedAt, cpuMs: cpuMs(pidOf(bench)) };
}

async function measureLatency(bench: Bench): Promise<readonly Figure[]> {
  await startDaemon(bench);
  const { fake, node } = bench;
  const waiting = new Map<string, () => void>();
  const monitor = await node.machine.spawn("stdbuf", ["-oL", "ip", "-o", "monitor", "route"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (monitor.child.stdout === null) throw new Error("no output of ip monitor");
  createInterface(monitor.child.stdout).on("line", (line) => {
    if (!line.startsWith("Deleted")) waiting.get(line.split(" ")[0] ?? "")?.();
  });
  const samples: number[] = [];
  for (let i = 0; i < SAMPLES; i += 1) {
    const n = FIRST_TIMED + i;
    const { subnet } = peer(n);
    // The kubelet has registered the Node; the annotations are what is timed.
    fake.put("nodes", bigBareNode(`n${n}`, subnet));
    await delay(PAUSE_MS);
    const { promise: seen, resolve } = Promise.withResolvers<void>();
    waiting.set(subnet, resolve);
    const startedAt = performance.now();
    fake.put("nodes", bigNode(n));
    await seen;
    samples.push(performance.now() - startedAt);
  }
  await monitor.stop();
  return [
    {
      what: `a Node's annotations to the route on another node, ${bench.nodes} Nodes (n=${SAMPLES})`,
      ours: `p50 ${ms(quantile(samples, 0.5))}, p99 ${ms(quantile(samples, 0.99))}`,
    },
  ];
}

async function measureMany(bench: Bench): Promise<readonly Figure[]> {
  const start = await startDaemon(bench);
  const memory = await measureMemory(bench, `${bench.nodes} Nodes`);
  return [
    {
      what: `start with ${bench.nodes} Nodes, from the process to the last route`,
      ours: `${ms(start.wallMs)}, CPU ${ms(start.cpuMs)}, children included`,
    },
    ...memory,
    await measureSteady(bench),
  ];
}

async function measureSteady(bench: Bench): Promise<Figure> {
  const { fake, nodes } = bench;
  const perSecond = nodes / STATUS_PERIOD_S;
  const pid = pidOf(bench);
  const startedAt = performance.now();
  const cpuBefore = cpuMs(pid);
  let done = 0;
  while (done < perSecond * STEADY_S) {
    const due = ((performance.now() - startedAt) * perSecond) / 1000;
    for (; done < due; done += 1) fake.put("nodes", bigNode(1 + (done % nodes), `heartbeat ${done}`));
    await delay(20);
  }
  const wallMs = performance.now() - startedAt;
  const share = (cpuMs(pid) - cpuBefore) / wallMs;
  return {
    what: `CPU while ${nodes} Nodes update their status every ${STATUS_PERIOD_S} s`,
    ours: `${(share * 100).toFixed(1)}% of a core at ${((done / wallMs) * 1000).toFixed(0)} updates/s, resident ${residentMb(pid).toFixed(0)} MB`,
  };
}

async function measurePolicy(bench: Bench): Promise<readonly Figure[]> {
  const { fake, nodes } = bench;
  for (let i = 0; i < 100; i += 1) fake.put("namespaces", { metadata: { name: `namespace-${i}` } });
  for (let n = 0; n < PODS; n += 1) fake.put("pods", bigPod(n, nodes));
  for (let i = 0; i < 100; i += 1) {
    fake.put("networkpolicies", {
      metadata: { namespace: `namespace-${i}`, name: "from-front" },
      spec: { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { tier: "front" } } }] }] },
    });
  }
  await startDaemon(bench);
  return measureMemory(bench, `${nodes} Nodes and ${PODS} pods, with --network-policy`);
}

async function measureMemory(bench: Bench, what: string): Promise<readonly Figure[]> {
  const pid = pidOf(bench);
  await delay(SETTLE_S * 1000);
  const settled = await watchSettled(pid);
  const peak = peakMb(pid);
  return [
    {
      what: `resident memory with ${what}: peak`,
      ours: `${peak.toFixed(0)} MB`,
      target: "under 110 MB",
      met: peak < 110,
    },
    {
      what: `the same, ${SETTLE_S} s later: the most within ${WATCH_S} s`,
      ours: `${settled.residentMb.toFixed(0)} MB, of which ${settled.ownMb.toFixed(0)} MB are no file's`,
      target: "under 80 MB",
      met: settled.residentMb < 80,
    },
  ];
}
