// Benchmark: programming thousands of peers, from nothing and one more, beside bare `ip -batch`.
import path from "node:path";
import { startMachine } from "../lab/machine.ts";
import { median, ms, quantile } from "./stats.ts";
import type { Figure } from "./stats.ts";

interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
}

interface InsideReport {
  readonly fromNothing: readonly {
    readonly count: number;
    readonly ours: readonly Cost[];
    readonly bare: readonly Cost[];
  }[];
  readonly oneMore: {
    readonly count: number;
    readonly add: readonly Cost[];
    readonly remove: readonly Cost[];
  };
}

const wall = (costs: readonly Cost[]): readonly number[] => costs.map(({ wallMs }) => wallMs);
const cpu = (costs: readonly Cost[]): readonly number[] => costs.map(({ cpuMs }) => cpuMs);

export async function benchPeers(): Promise<readonly Figure[]> {
  const machine = await startMachine("bench");
  try {
    for (const line of [
      "link add eth0 type veth peer name eth1",
      "addr add 192.0.2.1/24 dev eth0",
      "link set eth1 up",
      "link set eth0 up",
    ]) {
      await machine.exec("ip", line.split(" "));
    }
    const script = path.join(import.meta.dirname, "peers-inside.ts");
    const { stdout } = await machine.exec(process.execPath, ["--max-semi-space-size=1", script], {
      timeoutMs: 300_000,
    });
    return describe(JSON.parse(stdout) as InsideReport);
  } finally {
    await machine.close();
  }
}

function describe({ fromNothing, oneMore }: InsideReport): readonly Figure[] {
  const many = fromNothing.map(({ count, ours, bare }): Figure => {
    // Pair by pair: each round measured both, one after the other.
    const ratio = median(ours.map(({ wallMs }, i) => wallMs / (bare[i]?.wallMs ?? Number.NaN)));
    return {
      what: `${count} peers from nothing: list, compare, write (median of ${ours.length})`,
      ours: `${ms(median(wall(ours)))}, CPU ${ms(median(cpu(ours)))}`,
      beside: `bare batches ${ms(median(wall(bare)))}, CPU ${ms(median(cpu(bare)))}: ratio ${ratio.toFixed(2)}`,
      ...(count === 5000 && { target: "ratio at most 1.5", met: ratio <= 1.5 }),
    };
  });
  const add = wall(oneMore.add);
  return [
    ...many,
    {
      what: `one more peer among ${oneMore.count}: plan to kernel (n=${add.length})`,
      ours: `p50 ${ms(median(add))}, p99 ${ms(quantile(add, 0.99))}`,
      beside: `one peer fewer: p50 ${ms(median(wall(oneMore.remove)))}`,
      target: "under 50 ms",
      met: median(add) < 50,
    },
  ];
}
