// The udp backend's data path in a namespace: reads plans from stdin, one JSON a line, and answers each with one line.
//   {"apply": DataPathPlan} -> {"problem"?: text}; {"counters": true} -> counters; {"swap": N} -> applies N times, with and
//   without the last peer. UDP_ADDON names the addon.
import { createInterface } from "node:readline";
import type { DataPathPlan } from "../../src/host/data-path.ts";
import { loadUdpAddon } from "../../src/kernel/udp/addon.ts";
import { createDataPath } from "../../src/kernel/udp/data-path.ts";
import { memoryLogger } from "./memory-logger.ts";

const log = memoryLogger();
const path = createDataPath({ loadAddon: () => loadUdpAddon(process.env["UDP_ADDON"] || undefined), log });
let plan: DataPathPlan | undefined;

async function swap(times: number): Promise<object> {
  if (plan === undefined) return { problem: "no plan yet" };
  for (let i = 0; i < times; i += 1) {
    await path.apply({ ...plan, peers: plan.peers.slice(0, -1) });
    await path.apply(plan);
    // So that traffic flows in between.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return {};
}

async function answer(line: string): Promise<object> {
  const request = JSON.parse(line) as {
    readonly apply?: DataPathPlan;
    readonly counters?: true;
    readonly swap?: number;
    readonly log?: true;
  };
  if (request.counters) return path.counters();
  if (request.log) return log.lines.map(({ level, fields, message }) => ({ level, fields, message }));
  if (request.swap !== undefined) return swap(request.swap);
  plan = request.apply;
  return { problem: await path.apply(request.apply) };
}

for await (const line of createInterface(process.stdin)) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
path.stop();
