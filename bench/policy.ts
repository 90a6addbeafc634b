// Benchmark: network policy of a large cluster: from an event to the kernel, and what a packet pays.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { startMachine } from "../lab/machine.ts";
import { ms, quantile } from "./stats.ts";
import type { Figure } from "./stats.ts";

interface EventsReport {
  readonly firstMs: number;
  readonly firstCpuMs: number;
  readonly podMs: readonly number[];
  readonly policyMs: readonly number[];
  readonly rows: number;
  readonly sets: number;
  readonly members: number;
  /** MB. */
  readonly rss: number;
}

/** Rates with policy, as parts of the rate without. */
interface PacketsReport {
  readonly size: number;
  readonly tcp: number;
  readonly udp: number;
}

const LEAST_RATE = 0.9;

export async function benchPolicy(): Promise<readonly Figure[]> {
  const events = await inside<EventsReport>(["events"]);
  const directory = mkdtempSync(path.join(os.tmpdir(), "flanneld-ts-bench-"));
  try {
    const program = path.join(directory, "requests");
    execFileSync("cc", ["-O2", "-o", program, path.join(import.meta.dirname, "requests.c")]);
    return [
      ...describeEvents(events),
      ...describePackets(await inside<PacketsReport[]>(["packets", program])),
    ];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function inside<T>(args: readonly string[]): Promise<T> {
  const machine = await startMachine("bench");
  try {
    const script = path.join(import.meta.dirname, "policy-inside.ts");
    const flags = ["--max-semi-space-size=1", "--optimize-for-size"];
    const { stdout } = await machine.exec(process.execPath, [...flags, script, ...args], {
      timeoutMs: 600_000,
    });
    return JSON.parse(stdout) as T;
  } finally {
    await machine.close();
  }
}

function describeEvents(report: EventsReport): readonly Figure[] {
  const { firstMs, firstCpuMs, podMs, policyMs, rows, sets, members, rss } = report;
  const cluster = "10,000 pods, 1,000 policies, 110 pods here";
  const [podP50, podP99] = [quantile(podMs, 0.5), quantile(podMs, 0.99)];
  const [policyP50, policyP99] = [quantile(policyMs, 0.5), quantile(policyMs, 0.99)];
  return [
    {
      what: `${cluster}: first programming`,
      ours: `${ms(firstMs)}, CPU ${ms(firstCpuMs)}; ${rows} chains and jumps, ${sets} sets, ${members} members, both families`,
      target: "under 5 s",
      met: firstMs < 5_000,
    },
    {
      what: `a pod joins or leaves: event to kernel (n=${podMs.length})`,
      ours: `p50 ${ms(podP50)}, p99 ${ms(podP99)}`,
      target: "p50 under 15 ms, p99 under 50 ms",
      met: podP50 < 15 && podP99 < 50,
    },
    {
      what: `a policy comes or goes: event to kernel (n=${policyMs.length})`,
      ours: `p50 ${ms(policyP50)}, p99 ${ms(policyP99)}`,
      target: "p99 under 250 ms",
      met: policyP99 < 250,
    },
    { what: "resident memory of that alone", ours: `${rss.toFixed(0)} MB` },
  ];
}

function describePackets(reports: readonly PacketsReport[]): readonly Figure[] {
  return reports.map(({ size, tcp, udp }) => ({
    what: `through ${size} policies with as many peers, by rate without policy (median of rounds side by side)`,
    ours: `new TCP connections ${tcp.toFixed(2)}, UDP round trips ${udp.toFixed(2)}`,
    target: `connections at least ${LEAST_RATE}`,
    met: tcp >= LEAST_RATE,
  }));
}
