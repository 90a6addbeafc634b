// Benchmark: the mesh prober with 1,000 peers: packets per second and CPU, over raw sockets and over ping.
import path from "node:path";
import { buildRawSocket } from "../scripts/build-raw-socket.ts";
import { startMachine } from "../lab/machine.ts";
import type { ProberBenchReport } from "./prober-inside.ts";
import type { Figure } from "./stats.ts";

const PEERS = 1000;

export async function benchProber(): Promise<readonly Figure[]> {
  const missing = buildRawSocket();
  if (missing !== undefined) throw new Error(missing);
  const machine = await startMachine("bench");
  try {
    for (const line of [
      "netns add peers",
      "link add eth0 type veth peer name eth0 netns peers",
      "addr add 192.0.2.1/24 dev eth0",
      "link set eth0 up",
      "route add 10.0.0.0/8 via 192.0.2.2",
      "-n peers addr add 192.0.2.2/24 dev eth0",
      "-n peers link set eth0 up",
      "-n peers link set lo up",
      // Every address in it answers.
      "-n peers route add local 10.0.0.0/8 dev lo",
    ]) {
      await machine.exec("ip", line.split(" "));
    }
    const script = path.join(import.meta.dirname, "prober-inside.ts");
    const run = async (
      transport: "raw-socket" | "ping",
      intervalSeconds: number,
    ): Promise<ProberBenchReport> => {
      const args = ["--max-semi-space-size=1", script, transport, String(PEERS), String(intervalSeconds)];
      const { stdout } = await machine.exec(process.execPath, args, { timeoutMs: 300_000 });
      return JSON.parse(stdout) as ProberBenchReport;
    };
    return [
      figure("raw ICMP sockets, --probe-interval=30", await run("raw-socket", 30)),
      figure("the same, --probe-interval=1: the budget holds", await run("raw-socket", 1)),
      figure("ping, --probe-interval=30", await run("ping", 30)),
    ];
  } finally {
    await machine.close();
  }
}

function figure(what: string, report: ProberBenchReport): Figure {
  const { cpuShare, perSecond, worstSecond, answered, sent } = report;
  return {
    what: `prober of ${PEERS} peers, 2 paths each: ${what}`,
    ours:
      `${(cpuShare * 100).toFixed(2)}% of a core, children included; ${perSecond.toFixed(0)} probes/s, ` +
      `${worstSecond} in the busiest second; ${answered} of ${sent} answered`,
    target: "under 1% of a core, a bounded rate",
    met: cpuShare < 0.01,
  };
}
