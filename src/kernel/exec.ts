// The one place that starts processes. Arguments are arrays; no shell is ever involved.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { execa, ExecaError } from "execa";

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

export const exec: Exec = async (command, args, options = {}) => {
  started += 1;
  try {
    const result = await execa(command, [...args], {
      stripFinalNewline: false,
      timeout: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      maxBuffer: MAX_OUTPUT_BYTES,
      // LC_ALL: messages of iproute2 and iptables are matched in English.
      env: { LC_ALL: "C", ...options.env },
      ...(options.input === undefined ? { stdin: "ignore" } : { input: options.input }),
    });
    return { exitCode: 0, stdout: result.stdout, stderr: result.stderr };
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    if (error.exitCode === undefined) throw new ExecError(explainStartFailure(command, error));
    const result = { exitCode: error.exitCode, stdout: error.stdout ?? "", stderr: error.stderr ?? "" };
    if (options.allowFailure) return result;
    const said = result.stderr.trim() || result.stdout.trim() || "no message";
    throw new ExecError(`${command} ${args.join(" ")}: exit ${error.exitCode}: ${said}`, result);
  }
};

function explainStartFailure(command: string, error: ExecaError): string {
  if (error.code === "ENOENT")
    return `${command}: not found; install the package that has it (Debian: iproute2, iptables, ipset)`;
  if (error.timedOut) return `${command}: no answer in time`;
  if (error.signal !== undefined) return `${command}: ended by ${error.signal}`;
  return `${command}: ${error.shortMessage}`;
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
