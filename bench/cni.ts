// Times ADD and DEL of our executable beside calling the bridge plugin directly, interleaved in one run.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

const OURS = path.resolve(import.meta.dirname, "../dist/flannel");
const PLUGINS = "/usr/lib/cni";
const BRIDGE = path.join(PLUGINS, "bridge");
const ROUNDS = 60;
const WARM_UP_ROUNDS = 5;

/** Milliseconds. */
export interface Quantiles {
  readonly p50: number;
  readonly p99: number;
}

export interface CniBenchResult {
  readonly add: { readonly ours: Quantiles; readonly bridge: Quantiles };
  readonly del: { readonly ours: Quantiles; readonly bridge: Quantiles };
  /** What our executable adds to an ADD at the median, milliseconds. */
  readonly ownShareOfAdd: number;
}

/** Prints a Markdown table. Needs root, the built executable and Debian's CNI plugins. */
export function benchCni(): CniBenchResult {
  const directory = mkdtempSync(path.join(os.tmpdir(), "ftsbench-"));
  const suffix = randomBytes(3).toString("hex");
  const node = `ftsbench-${suffix}`;
  const pod = `ftsbench-pod-${suffix}`;
  try {
    for (const name of [node, pod]) run("ip", ["netns", "add", name]);
    const result = measure(directory, node, pod);
    print(result);
    return result;
  } finally {
    for (const name of [node, pod]) spawnSync("ip", ["netns", "del", name]);
    rmSync(directory, { recursive: true, force: true });
  }
}

function run(command: string, args: readonly string[], input = "", env = process.env): void {
  const { status, stdout, stderr } = spawnSync(command, args, { input, env, encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stdout}${stderr}`);
}

function measure(directory: string, node: string, pod: string): CniBenchResult {
  const subnetFile = path.join(directory, "subnet.env");
  writeFileSync(
    subnetFile,
    "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
  );
  const common = { cniVersion: "1.0.0", name: "bench" };
  const bridgeOptions = { isDefaultGateway: true, hairpinMode: true };
  const ipam = { type: "host-local", dataDir: path.join(directory, "ipam") };
  const dataDir = path.join(directory, "data");
  const ours = { ...common, type: "flannel", subnetFile, dataDir, ipam, delegate: bridgeOptions };
  // What our executable renders from the above.
  const ranges = [[{ subnet: "10.244.1.0/24" }]];
  const direct = {
    ...common,
    ...bridgeOptions,
    type: "bridge",
    isGateway: true,
    ipMasq: false,
    mtu: 1450,
    ipam: { ...ipam, ranges, routes: [{ dst: "10.244.0.0/16" }] },
  };

  let calls = 0;
  const call = (verb: string, executable: string, conf: object, containerId: string): number => {
    const env = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: containerId,
      CNI_NETNS: `/run/netns/${pod}`,
      CNI_IFNAME: "eth0",
      CNI_PATH: PLUGINS,
      PATH: process.env["PATH"],
    };
    const begin = performance.now();
    run("nsenter", [`--net=/run/netns/${node}`, "--", executable], JSON.stringify(conf), env);
    return performance.now() - begin;
  };
  const pair = (executable: string, conf: object): readonly [number, number] => {
    const containerId = `bench-${calls++}`;
    return [call("ADD", executable, conf, containerId), call("DEL", executable, conf, containerId)];
  };

  const samples = { ours: [] as (readonly [number, number])[], bridge: [] as (readonly [number, number])[] };
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    const [first, second] = [pair(OURS, ours), pair(BRIDGE, direct)];
    if (round < 0) continue;
    samples.ours.push(first);
    samples.bridge.push(second);
  }
  const add = {
    ours: quantiles(samples.ours.map(([ms]) => ms)),
    bridge: quantiles(samples.bridge.map(([ms]) => ms)),
  };
  const del = {
    ours: quantiles(samples.ours.map(([, ms]) => ms)),
    bridge: quantiles(samples.bridge.map(([, ms]) => ms)),
  };
  return { add, del, ownShareOfAdd: add.ours.p50 - add.bridge.p50 };
}

function quantiles(samples: readonly number[]): Quantiles {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (fraction: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? 0;
  return { p50: at(0.5), p99: at(0.99) };
}

function print({ add, del, ownShareOfAdd }: CniBenchResult): void {
  const row = (name: string, { ours, bridge }: CniBenchResult["add"]) =>
    `| ${name} | ${[ours.p50, ours.p99, bridge.p50, bridge.p99].map((ms) => ms.toFixed(1)).join(" | ")} | ${(ours.p50 / bridge.p50).toFixed(2)} |`;
  console.log(
    [
      `CNI, milliseconds, ${ROUNDS} pods each, interleaved (each call includes starting nsenter)`,
      "| verb | ours p50 | ours p99 | bridge p50 | bridge p99 | ratio p50 |",
      "|---|---|---|---|---|---|",
      row("ADD", add),
      row("DEL", del),
      `our own share of ADD at p50: ${ownShareOfAdd.toFixed(1)} ms (target: under 15 ms)`,
    ].join("\n"),
  );
}
