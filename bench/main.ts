// `npm run bench`: runs the benchmarks, prints them, and writes bench/RESULTS.md. `npm run bench -- peers` runs one.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { benchCni } from "./cni.ts";
import { benchKube } from "./kube.ts";
import { benchLeases } from "./leases.ts";
import { benchPeers } from "./peers.ts";
import { benchPolicy } from "./policy.ts";
import { benchUdp } from "./udp.ts";
import { benchPolicyCompile } from "./policy-compile.ts";
import { benchProber } from "./prober.ts";
import { formatFigures, ms } from "./stats.ts";
import type { Figure } from "./stats.ts";

function cniFigures(): readonly Figure[] {
  const { add, del, ownShareOfAdd } = benchCni();
  const line = ({ p50, p99 }: { p50: number; p99: number }): string => `p50 ${ms(p50)}, p99 ${ms(p99)}`;
  return [
    {
      what: "CNI ADD through our executable",
      ours: line(add.ours),
      beside: `bridge called directly: ${line(add.bridge)}`,
    },
    {
      what: "CNI DEL through our executable",
      ours: line(del.ours),
      beside: `bridge called directly: ${line(del.bridge)}`,
    },
    {
      what: "our own share of ADD",
      ours: `p50 ${ms(ownShareOfAdd)}`,
      target: "under 15 ms at p50",
      met: ownShareOfAdd < 15,
    },
  ];
}

const BENCHMARKS: Readonly<
  Record<
    string,
    { readonly title: string; readonly run: () => readonly Figure[] | Promise<readonly Figure[]> }
  >
> = {
  peers: { title: "Programming peers", run: benchPeers },
  leases: { title: "The daemon with etcd", run: benchLeases },
  cni: { title: "The CNI executable", run: cniFigures },
  udp: { title: "The udp backend", run: benchUdp },
  kube: { title: "The daemon with Kubernetes", run: benchKube },
  policy: { title: "Network policy, from event to kernel", run: benchPolicy },
  prober: { title: "The mesh prober", run: benchProber },
  "policy-compile": { title: "Network policy in memory", run: benchPolicyCompile },
};

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !Object.hasOwn(BENCHMARKS, name));
if (unknown !== undefined) {
  console.error(`no benchmark "${unknown}"; there are ${Object.keys(BENCHMARKS).join(", ")}`);
  process.exit(2);
}
const sections: string[] = [];
for (const [name, { title, run }] of Object.entries(BENCHMARKS)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.error(`bench: ${name} ...`);
  sections.push(`## ${title}\n\n${formatFigures(await run())}\n`);
}
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
const text = [
  "# Results",
  "",
  `\`npm run bench\` on ${os.cpus().length} shared cores (${os.cpus()[0]?.model.trim()}), Linux ${os.release().replace(/-.*/, "")}, Node ${process.versions.node}, ` +
    `commit ${commit}. Absolute times move with what else the machine does; the ratios are of one run, side by side.`,
  "",
  ...sections,
].join("\n");
console.log(text);
if (wanted.length === 0) writeFileSync(path.join(import.meta.dirname, "RESULTS.md"), text);
