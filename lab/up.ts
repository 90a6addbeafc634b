// Starts a lab, shows it, stays for commands, and takes it away again.
import { readFileSync } from "node:fs";
import { startCluster } from "./cluster.ts";
import type { Cluster, ClusterOptions } from "./cluster.ts";
import { CONSOLE_HELP, runConsole } from "./console.ts";
import { runInside } from "./enter.ts";
import { parseNetConf } from "./parse-arguments.ts";
import type { UpCommand } from "./parse-arguments.ts";
import { COLOUR, PLAIN } from "./render.ts";
import { describeNode, describeNodes, reportMatrix } from "./report.ts";
import { preparePolicy } from "./policy.ts";
import { claimState, identify } from "./state.ts";
import type { LabState } from "./state.ts";

const EXIT_CELLS_FAILED = 1;
/** As a shell reports a program that SIGINT ended. */
const EXIT_INTERRUPTED = 130;
/** One Ctrl-C arrives twice under `npm run`: from the terminal, and passed on by npm. */
const SAME_INTERRUPT_MS = 1000;

/** @returns the exit code: 0 if all cells of the last matrix are right. @throws {Error} when the lab cannot start */
export async function runUp(command: UpCommand): Promise<number> {
  const policy = command.policy === undefined ? undefined : preparePolicy(command.policy, command.pods);
  const options = { ...clusterOptions(command), ...(policy && { podExtra: policy.podExtra }) };
  const startedAt = performance.now();
  const seconds = (): string => ((performance.now() - startedAt) / 1000).toFixed(1);
  const print = (text: string): void => void process.stdout.write(text);
  const paint = process.stdout.isTTY && process.env["NO_COLOR"] === undefined ? COLOUR : PLAIN;
  const columns = process.stdout.isTTY ? process.stdout.columns : 160;
  const state = claimState(command.name);
  // Also when this process ends in any other way than by SIGKILL.
  process.once("exit", state.remove);
  // A reader that has gone (`| head`, a closed terminal) does not end the lab half-way.
  process.stdout.on("error", () => undefined);
  const interrupts = catchInterrupts();
  const { signal } = interrupts;
  let cluster: Cluster | undefined;
  try {
    print(`lab: starting; nodes: ${command.nodes}, pods on each: ${command.pods}, logs in ${state.path}\n`);
    const onProgress = (line: string): void => print(paint.faint(`[${seconds()} s] `) + `${line}\n`);
    cluster = await startCluster({ ...options, directory: state.path, onProgress, signal });
    const up = cluster;
    state.write(describeState(command.name, up));
    print(`\n${await describeNodes(up, paint)}\n`);
    const showMatrix = (): Promise<boolean> => reportMatrix(up, print, paint, columns);
    let isRight = await showMatrix();
    if (policy !== undefined) isRight = (await policy.run(up, { print, paint })) && isRight;
    print(`lab: ${isRight ? "complete" : "NOT right"} after ${seconds()} s\n`);
    if (!command.once) {
      await stay(signal, {
        print,
        matrix: async () => (isRight = await showMatrix()),
        status: async () => {
          print(`\n${await describeNodes(up, paint)}`);
          for (const node of up.nodes.values()) print(await describeNode(node));
        },
        exec: (target, words) =>
          interrupts.ignoreWhile(runInside(describeRunning(command.name, up), target, words)),
      });
    }
    return isRight ? 0 : EXIT_CELLS_FAILED;
  } catch (error) {
    if (!signal.aborted) throw error;
    return EXIT_INTERRUPTED;
  } finally {
    if (signal.aborted || !command.once) print("\nlab: ending\n");
    await cluster?.close();
    state.remove();
    if (signal.aborted || !command.once) print("lab: ended, nothing is left\n");
    interrupts.release();
  }
}

interface StayModules {
  readonly print: (text: string) => void;
  readonly matrix: () => Promise<unknown>;
  readonly status: () => Promise<void>;
  readonly exec: (target: string, words: readonly string[]) => Promise<unknown>;
}

async function stay(signal: AbortSignal, modules: StayModules): Promise<void> {
  if (process.stdin.isTTY) {
    modules.print(`\n${CONSOLE_HELP}\n`);
    await runConsole(signal, modules);
    return;
  }
  modules.print(
    "lab: up until Ctrl-C or `npm run lab -- down`; look inside with `npm run lab -- exec n1 ip route`\n",
  );
  // Something must keep the process alive; the machines' pipes do.
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

interface Interrupts {
  readonly signal: AbortSignal;
  /** While a program runs on this terminal, Ctrl-C is for that program. */
  ignoreWhile<T>(work: Promise<T>): Promise<T>;
  release(): void;
}

/** Ctrl-C, `down` and a closed terminal end the lab in order; a second Ctrl-C ends it at once. */
function catchInterrupts(): Interrupts {
  const controller = new AbortController();
  let ignoring = 0;
  let firstAt = 0;
  const onSignal = (name: NodeJS.Signals): void => {
    if (ignoring > 0 && name === "SIGINT") return;
    if (!controller.signal.aborted) {
      firstAt = Date.now();
      controller.abort(new Error(`interrupted by ${name}`));
    } else if (Date.now() - firstAt > SAME_INTERRUPT_MS) {
      // Ending this process closes the pipes that hold the machines.
      process.exit(EXIT_INTERRUPTED);
    }
  };
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of names) process.on(name, onSignal);
  return {
    signal: controller.signal,
    ignoreWhile: async (work) => {
      ignoring += 1;
      try {
        return await work;
      } finally {
        ignoring -= 1;
      }
    },
    release: () => {
      for (const name of names) process.off(name, onSignal);
    },
  };
}

function clusterOptions(command: UpCommand): Omit<ClusterOptions, "directory"> {
  const { netConf, backend, etcdEndpoints, etcdPrefix } = command;
  const prefix = etcdPrefix === undefined ? {} : { prefix: etcdPrefix };
  return {
    nodes: command.nodes,
    pods: command.pods,
    topology: command.topology,
    // People read these logs; a --daemon-flag of theirs comes later and wins.
    daemonFlags: ["--log-format=text", "--network-policy", ...command.daemonFlags],
    ...(backend === undefined ? {} : { backend }),
    ...(netConf === undefined ? {} : { netConf: readNetConf(netConf) }),
    etcd:
      etcdEndpoints.length === 0
        ? prefix
        : { endpoints: etcdEndpoints, prefix: etcdPrefix ?? `/flanneld-ts-lab/${command.name}` },
  };
}

function readNetConf(value: string): Readonly<Record<string, unknown>> {
  if (!value.startsWith("@")) return parseNetConf(value, "--net-conf");
  const file = value.slice(1);
  return parseNetConf(readFileSync(file, "utf8"), `--net-conf ${file}`);
}

function describeState(name: string, cluster: Cluster): Omit<LabState, "lab"> {
  const nodes = [...cluster.nodes.values()];
  const machines = [...nodes.map(({ machine }) => machine), cluster.outside, cluster.underlay.machine];
  return {
    name,
    machines: machines.flatMap((machine) => {
      const process = identify(machine.pid);
      return process === undefined ? [] : [{ name: machine.name, process }];
    }),
    nodes: nodes.map((node) => ({ name: node.name, publicIp: node.address })),
    pods: cluster.pods().map((pod) => ({
      name: pod.name,
      node: pod.node.name,
      netns: pod.attachment.netns,
      ip: pod.ip,
    })),
  };
}

function describeRunning(name: string, cluster: Cluster): LabState {
  return { ...describeState(name, cluster), lab: { pid: process.pid, startTicks: "" } };
}
