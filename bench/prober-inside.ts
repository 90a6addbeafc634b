// Runs inside a machine: probes many peers that all answer, and prints what that cost as JSON.
import { setTimeout as delay } from "node:timers/promises";
import { exec } from "../src/kernel/exec.ts";
import { parseIp } from "../src/net/ip.ts";
import { chooseTransport } from "../src/prober/choose-transport.ts";
import { createPingTransport } from "../src/prober/ping-transport.ts";
import type { ProbePath, ProbeTransport, Via } from "../src/prober/probe.ts";
import { Prober } from "../src/prober/prober.ts";
import { SILENT_LOGGER } from "../src/net/logger.ts";
import { cpuMs } from "./stats.ts";

export interface ProberBenchReport {
  /** CPU time by wall time. */
  readonly cpuShare: number;
  readonly perSecond: number;
  /** Probes in the busiest second. */
  readonly worstSecond: number;
  readonly sent: number;
  readonly answered: number;
}

/** Compiling and the first full-sized probes come once in a daemon's life. */
const WARM_UP_SECONDS = 20;
const SECONDS = 40;

function pathOf(index: number, via: Via): ProbePath {
  const subnet = `10.${via === "underlay" ? 1 : 2}.${index >> 8}.${index & 255}`;
  return {
    key: `${index} ${via}`,
    subnetKey: String(index),
    peer: String(index),
    via,
    family: 4,
    address: parseIp(subnet),
    fullBytes: via === "underlay" ? 1500 : 1450,
    mayBeSilent: false,
    cure: "",
  };
}

const [transportName, peers, intervalSeconds] = process.argv.slice(2);
const { transport: raw } = await chooseTransport({ exec });
if (raw.name !== "raw-socket") throw new Error("no raw socket");
const transport = transportName === "ping" ? await createPingTransport({ exec }) : raw;
const perSecond = new Map<number, number>();
const counting: ProbeTransport = {
  name: transport.name,
  maxPerSecond: transport.maxPerSecond,
  maxInFlight: transport.maxInFlight,
  close: () => transport.close(),
  probe: (...args) => {
    const second = Math.floor(performance.now() / 1000);
    perSecond.set(second, (perSecond.get(second) ?? 0) + 1);
    return transport.probe(...args);
  },
};
const paths = Array.from({ length: Number(peers) }, (_, i) => [
  pathOf(i + 1, "underlay"),
  pathOf(i + 1, "overlay"),
]);
const flat = paths.flat();
const prober = new Prober(
  { intervalMs: Number(intervalSeconds) * 1000, paths: () => flat },
  { transport: counting, log: SILENT_LOGGER },
);
const stop = new AbortController();
const running = prober.run(stop.signal);
await delay(WARM_UP_SECONDS * 1000);
const before = prober.report().summary;
perSecond.clear();
const cpuBefore = cpuMs();
const startedAt = performance.now();
await delay(SECONDS * 1000);
const wallMs = performance.now() - startedAt;
const after = prober.report().summary;
const [sent, answered] = [after.sent - before.sent, after.answered - before.answered];
const report: ProberBenchReport = {
  cpuShare: (cpuMs() - cpuBefore) / wallMs,
  perSecond: sent / (wallMs / 1000),
  worstSecond: Math.max(...perSecond.values()),
  sent,
  answered,
};
process.stdout.write(JSON.stringify(report));
stop.abort();
await running;
