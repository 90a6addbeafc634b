// Traffic between pods whose every packet and byte is accounted for.
import path from "node:path";
import type { Cluster } from "../../lab/cluster.ts";
import { measureMatrix, TELL_SOURCE_PORT } from "../../lab/matrix.ts";
import { planCells } from "../../lab/plan-matrix.ts";
import { OUTSIDE_ATTACHMENT } from "../../lab/plan-topology.ts";
import type { MachineProcess } from "../../lab/machine.ts";
import type { LabPod } from "../../lab/node.ts";
import type { Transfer } from "./tcp-transfer.ts";
import { waitFor } from "./wait.ts";

const TCP_TRANSFER = path.join(import.meta.dirname, "tcp-transfer.ts");

/** One ping with DF. Gives "ok", or what ping says. */
export async function ping(from: Pick<LabPod, "exec">, address: string, payloadBytes = 56): Promise<string> {
  const args = ["-n", "-c", "1", "-W", "2", "-M", "do", "-s", String(payloadBytes), address];
  const { exitCode, stdout, stderr } = await from.exec("ping", args, { allowFailure: true });
  return exitCode === 0 ? "ok" : `${stdout}${stderr}`;
}

/** What is wrong in the matrix of pod to pod, to node and to outside; empty when all is right. */
export async function brokenCells(cluster: Cluster, pods = cluster.pods()): Promise<readonly string[]> {
  const byName = new Map(pods.map((pod) => [pod.name, pod]));
  const cells = planCells(pods, [...cluster.nodes.values()], cluster.outsideAddress);
  const { cells: measured } = await measureMatrix(cells, { execOf: (name) => byName.get(name)!.exec });
  return measured.flatMap(({ from, to, ok, problem }) => (ok ? [] : [`${from} -> ${to}: ${problem}`]));
}

/** Connects to outside again and again; `stop` gives the addresses it was seen from, "" for no answer in 5 s. */
export async function startAskingOutside(pod: LabPod): Promise<{ stop(): Promise<readonly string[]> }> {
  const seen: string[] = [];
  const enough = new AbortController();
  const ask = async (): Promise<void> => {
    const { address, address6 } = OUTSIDE_ATTACHMENT;
    const outside = pod.ip.includes(":") ? address6 : address;
    const script = `exec 3<>/dev/tcp/${outside}/${TELL_SOURCE_PORT} && cat <&3`;
    const { stdout } = await pod.exec("timeout", ["5", "bash", "-c", script], { allowFailure: true });
    seen.push(stdout.trim().replace(/^::ffff:/, ""));
  };
  await ask();
  const asking = (async () => {
    while (!enough.signal.aborted) await ask();
  })();
  return {
    stop: async () => {
      enough.abort();
      await asking;
      return seen;
    },
  };
}

/** A ping every millisecond. */
export interface PingStream {
  readonly process: MachineProcess;
  /** Answers so far. */
  answered(): number;
  /** Waits for `count` more answers: the network carries packets now. */
  waitForMore(count?: number): Promise<void>;
  /** Ends it and gives the sequence numbers that were not answered, though a later one was. */
  stop(): Promise<readonly number[]>;
}

/**
 * The whole number of an answer. ping shows 16 bits of it (RFC 792), which are used up after 65 s of a ping every millisecond.
 * @param near the number of a recent answer, less than 32,768 away
 */
export function unwrapSequence(shown: number, near: number): number {
  const rounds = Math.round((near - shown) / 65_536);
  return shown + Math.max(0, rounds) * 65_536;
}

export async function startPings(from: Pick<LabPod, "spawn">, address: string): Promise<PingStream> {
  // -S: a socket buffer so large that a busy machine drops nothing in it.
  const args = ["-n", "-i", "0.001", "-W", "5", "-S", "4000000", address];
  const process = await from.spawn("stdbuf", ["-oL", "ping", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const answers = new Set<number>();
  let latest = 0;
  let rest = "";
  process.child.stdout?.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const sequence = /bytes from .* icmp_seq=(\d+)/.exec(line)?.[1];
      if (sequence === undefined) continue;
      latest = unwrapSequence(Number(sequence), latest);
      answers.add(latest);
    }
  });
  const waitForMore = async (count = 100): Promise<void> => {
    const wanted = answers.size + count;
    await waitFor(`${count} more answers from ${address}`, () => answers.size >= wanted);
  };
  await waitForMore();
  return {
    process,
    answered: () => answers.size,
    waitForMore,
    stop: async () => {
      await waitForMore();
      await process.stop("SIGINT");
      const last = [...answers].reduce((highest, sequence) => Math.max(highest, sequence));
      return Array.from({ length: last }, (_, i) => i + 1).filter((sequence) => !answers.has(sequence));
    },
  };
}

/** A TCP connection between two pods. */
export interface TcpStream {
  /** Ends the stream and gives what both ends saw. */
  finish(): Promise<{ readonly sent: Transfer; readonly received: Transfer }>;
  /** Ends both programs, whatever they do. */
  abort(): Promise<void>;
}

export interface TcpStreamOptions {
  /** 0: until `finish`. */
  readonly bytes?: number;
  /** Milliseconds between two chunks of 64 KiB. */
  readonly pauseMs?: number;
}

let nextPort = 9000;

export async function startTcpStream(
  from: Pick<LabPod, "spawn">,
  to: Pick<LabPod, "spawn" | "ip">,
  { bytes = 0, pauseMs = 0 }: TcpStreamOptions = {},
): Promise<TcpStream> {
  const port = String((nextPort += 1));
  const receiver = await runTransfer(to, ["receive", to.ip, port]);
  await waitFor("the receiver to listen", () => receiver.output().includes("ready"));
  const sender = await runTransfer(from, ["send", to.ip, port, String(bytes), String(pauseMs)]);
  const end = async (run: TransferRun, who: string): Promise<Transfer> => {
    const { exitCode } = await run.process.ended;
    const line = run
      .output()
      .split("\n")
      .find((text) => text.startsWith("{"));
    if (exitCode !== 0 || line === undefined) throw new Error(`the ${who} failed, exit ${exitCode}`);
    return JSON.parse(line) as Transfer;
  };
  return {
    finish: async () => {
      if (bytes === 0) sender.process.child.stdin?.end();
      const sent = await end(sender, "sender");
      return { sent, received: await end(receiver, "receiver") };
    },
    abort: async () => {
      await Promise.all([sender.process.stop("SIGKILL"), receiver.process.stop("SIGKILL")]);
    },
  };
}

interface TransferRun {
  readonly process: MachineProcess;
  output(): string;
}

async function runTransfer(pod: Pick<LabPod, "spawn">, args: readonly string[]): Promise<TransferRun> {
  const started = await pod.spawn(process.execPath, [TCP_TRANSFER, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let output = "";
  started.child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return { process: started, output: () => output };
}
