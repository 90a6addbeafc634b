// The one place that starts processes. Arguments are arrays; no shell is ever involved.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that could not be started, timed out, or exited non-zero where that is an error. */
export class ExecError extends Error {
  override readonly name = "ExecError";
  readonly result: ExecResult | undefined;
  constructor(message: string, result?: ExecResult) {
    super(message);
    this.result = result;
  }
}

export interface ExecOptions {
  /** Standard input. */
  readonly input?: string;
  /** Milliseconds; then SIGTERM and an `ExecError`. */
  readonly timeoutMs?: number;
  /** Return non-zero exits instead of throwing. */
  readonly allowFailure?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program to its end. @throws {ExecError} */
export type Exec = (command: string, args: readonly string[], options?: ExecOptions) => Promise<ExecResult>;

const DEFAULT_TIMEOUT_MS = 30_000;
/** A dump of 5000 routes is 0.4 MB; a busy kube-proxy host's iptables-save is 10 MB. */
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

let started = 0;

/** Processes started since this process began: the metric behind "no child process between resyncs". */
export function processesStarted(): number {
  return started;
}

/** After SIGTERM, milliseconds until SIGKILL. */
const KILL_AFTER_MS = 5_000;

export const exec: Exec = async (command, args, options = {}) => {
  const { exitCode, signal, problem, ...said } = await run(command, args, options).catch((error: Error) => {
    throw new ExecError(`${command}: ${error.message}`);
  });
  if (problem !== undefined) throw new ExecError(`${command}: ${problem}`);
  if (exitCode === null) throw new ExecError(`${command}: ended by ${signal}`);
  const result = { exitCode, ...said };
  if (exitCode === 0 || options.allowFailure) return result;
  const words = result.stderr.trim() || result.stdout.trim() || "no message";
  throw new ExecError(`${command} ${args.join(" ")}: exit ${exitCode}: ${words}`, result);
};

/** How a process ended; with a problem it is not to be relied on. */
interface Ending extends Omit<ExecResult, "exitCode"> {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly problem: string | undefined;
}

/** Processes that are to end with us. */
const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill();
});

/** @throws {Error} where not even an attempt is made: arguments that are too long, for example */
async function run(command: string, args: readonly string[], options: ExecOptions): Promise<Ending> {
  started += 1;
  const { input, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const { promise, resolve } = Promise.withResolvers<Ending>();
  const child = spawn(command, [...args], {
    stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    // LC_ALL: messages of iproute2 and iptables are matched in English.
    env: { ...process.env, LC_ALL: "C", ...options.env },
  });
  let problem: string | undefined;
  let kill: NodeJS.Timeout | undefined;
  const giveUp = (why: string): void => {
    problem ??= why;
    child.kill();
    kill ??= setTimeout(() => {
      child.kill("SIGKILL");
      // Its children may hold on to what they were given.
      child.stdout?.destroy();
      child.stderr?.destroy();
    }, KILL_AFTER_MS);
  };
  const timeout = setTimeout(() => giveUp("no answer in time"), timeoutMs);
  const tooMuch = (): void => giveUp(`more than ${MAX_OUTPUT_BYTES} bytes of output`);
  const [stdout, stderr] = [collect(child.stdout, tooMuch), collect(child.stderr, tooMuch)];
  running.add(child);
  const finish = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
    clearTimeout(timeout);
    clearTimeout(kill);
    running.delete(child);
    resolve({ exitCode, signal, problem, stdout: stdout(), stderr: stderr() });
  };
  child.on("close", finish);
  child.on("error", (error) => {
    // Others are of signals to a process that runs.
    if (child.pid !== undefined) return;
    problem = explainStartFailure(error);
    finish(null, null);
  });
  // Who ends before it has read everything says why by its exit.
  child.stdin?.on("error", () => {});
  child.stdin?.end(input);
  return promise;
}

/** Returns what there is so far. */
function collect(output: Readable | null, tooMuch: () => void): () => string {
  const pieces: Buffer[] = [];
  let bytes = 0;
  output?.on("data", (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > MAX_OUTPUT_BYTES) tooMuch();
    else pieces.push(piece);
  });
  return () => Buffer.concat(pieces).toString("utf8");
}

function explainStartFailure(error: NodeJS.ErrnoException): string {
  return error.code === "ENOENT"
    ? "not found; install the package that has it (Debian: iproute2, iptables, ipset)"
    : error.message;
}

export interface LineHandlers {
  /** Ends the process. */
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
  readonly onErrorLine: (line: string) => void;
}

export interface LineProcess {
  /** Undefined if it could not be started. */
  readonly pid: number | undefined;
  /** Resolves when it has ended, with why: "exit 1", "SIGTERM", "spawn ip ENOENT". Never rejects. */
  readonly ended: Promise<string>;
}

/** As `LineHandlers`, for a program whose output is binary. */
export interface ByteHandlers extends Omit<LineHandlers, "onLine"> {
  readonly onBytes: (piece: Buffer) => void;
}

/** Starts a program that runs on and writes bytes. It dies with `signal`, and by SIGPIPE when we have died. */
export type SpawnBytes = (command: string, args: readonly string[], handlers: ByteHandlers) => LineProcess;

/** Starts a program that runs on and prints lines. It dies with `signal`, and by SIGPIPE when we have died. */
export type SpawnLines = (command: string, args: readonly string[], handlers: LineHandlers) => LineProcess;

export const spawnLines: SpawnLines = (command, args, { onLine, ...handlers }) =>
  spawnRunning(command, args, handlers, (output) => createInterface(output).on("line", onLine));

export const spawnBytes: SpawnBytes = (command, args, { onBytes, ...handlers }) =>
  spawnRunning(command, args, handlers, (output) => output.on("data", onBytes));

function spawnRunning(
  command: string,
  args: readonly string[],
  { signal, onErrorLine }: Omit<LineHandlers, "onLine">,
  onOutput: (output: Readable) => void,
): LineProcess {
  started += 1;
  const child = spawn(command, [...args], {
    signal,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, LC_ALL: "C" },
  });
  onOutput(child.stdout);
  createInterface(child.stderr).on("line", onErrorLine);
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  child.on("error", (error) => {
    // An abort is reported as an error too, before the process has gone.
    if (child.pid === undefined) resolve(error.message);
  });
  child.on("close", (exitCode, signalName) => resolve(signalName ?? `exit ${exitCode}`));
  return { pid: child.pid, ended };
}
