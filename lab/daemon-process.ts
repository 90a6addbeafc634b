// One flanneld-ts on one node: its command line, start, readiness, stop, log and status.
import { closeSync, openSync, readFileSync } from "node:fs";
import path from "node:path";
import type { StatusReport } from "../src/daemon/status-report.ts";
import { lastLines } from "./etcd.ts";
import type { Machine, MachineProcess, ProcessEnd } from "./machine.ts";
import { waitUntil } from "./wait.ts";

const ROOT = path.resolve(import.meta.dirname, "..");

/** Files as they lie in a node; all in directories that are private to the machine. */
export const SUBNET_FILE = "/run/flannel/subnet.env";
export const CONFLIST_FILE = "/etc/cni/net.d/10-flannel.conflist";
export const HEALTH_PORT = 10471;

/** The built daemon, as `npm run build` leaves it. */
export const DAEMON_COMMAND: readonly string[] = [path.join(ROOT, "dist/flanneld-ts")];

const READY_TIMEOUT_MS = 60_000;

export interface DaemonOptions {
  /** Program and first arguments. Default DAEMON_COMMAND. */
  readonly command?: readonly string[];
  /** Flags for etcd and the cluster, added to those of the node. */
  readonly flags: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Appended to over restarts. */
  readonly logFile: string;
  readonly signal?: AbortSignal | undefined;
}

export interface Daemon {
  /** Starts it; waits until /readyz says ready unless `waitReady` is false. @throws {Error} with the end of the log */
  start(options?: { readonly flags?: readonly string[]; readonly waitReady?: boolean }): Promise<void>;
  /** Sends the signal (default SIGTERM) and waits for the end. No effect when it does not run. */
  stop(signal?: NodeJS.Signals): Promise<ProcessEnd | undefined>;
  restart(signal?: NodeJS.Signals): Promise<void>;
  waitReady(timeoutMs?: number): Promise<void>;
  isRunning(): boolean;
  /** PID in our own PID namespace. */
  pid(): number | undefined;
  /** How the present or last one ended; undefined before the first start. */
  ended(): Promise<ProcessEnd> | undefined;
  log(): string;
  readonly logFile: string;
  /** `status --json`. @throws {Error} when the daemon does not answer */
  status(): Promise<StatusReport>;
  /** Runs a command of the daemon's executable on the node, e.g. ("config", "get"). @throws {ExecError} */
  command(...args: readonly string[]): Promise<string>;
}

/** Prepares a daemon on a node; nothing runs until `start`. */
export function createDaemon(machine: Machine, options: DaemonOptions): Daemon {
  const [program = process.execPath, ...firstArguments] = options.command ?? DAEMON_COMMAND;
  const flags = [
    "--iface=eth0",
    "--ip-masq",
    `--subnet-file=${SUBNET_FILE}`,
    `--cni-conf-file=${CONFLIST_FILE}`,
    "--healthz-ip=127.0.0.1",
    `--healthz-port=${HEALTH_PORT}`,
    ...options.flags,
  ];
  let current: MachineProcess | undefined;

  const waitReady = async (timeoutMs = READY_TIMEOUT_MS): Promise<void> => {
    let said = "";
    const isGone = (): boolean => current === undefined || !current.isRunning();
    const probe = async (): Promise<boolean> => {
      if (isGone()) throw new Error(`the daemon on ${machine.name} ended${describeEnd(options.logFile)}`);
      const answer = await httpGet(machine, HEALTH_PORT, "/readyz");
      said = answer?.body.trim() ?? "no answer from /readyz";
      return answer?.status === 200;
    };
    try {
      await waitUntil("", probe, { timeoutMs, fatal: isGone, signal: options.signal });
    } catch (error) {
      if (isGone() || options.signal?.aborted) throw error;
      const waited = `the daemon on ${machine.name} was not ready within ${timeoutMs / 1000} s: ${said}`;
      throw new Error(`${waited}${describeEnd(options.logFile)}`, { cause: error });
    }
  };

  const start: Daemon["start"] = async (startOptions = {}) => {
    if (current?.isRunning()) throw new Error(`the daemon on ${machine.name} runs already`);
    const log = openSync(options.logFile, "a");
    const args = [...firstArguments, ...flags, ...(startOptions.flags ?? [])];
    const spawnOptions = { stdio: ["ignore", log, log] as const, env: options.env ?? {} };
    current = await machine.spawn(program, args, { ...spawnOptions, stdio: [...spawnOptions.stdio] });
    closeSync(log);
    if (startOptions.waitReady ?? true) await waitReady();
  };

  const command = async (...args: readonly string[]): Promise<string> =>
    (await machine.exec(program, [...firstArguments, ...args], { env: options.env ?? {} })).stdout;

  return {
    start,
    stop: async (signal = "SIGTERM") => current?.stop(signal),
    restart: async (signal = "SIGTERM") => {
      await current?.stop(signal);
      await start();
    },
    waitReady,
    isRunning: () => current?.isRunning() ?? false,
    pid: () => (current?.isRunning() ? current.pid : undefined),
    ended: () => current?.ended,
    log: () => readLog(options.logFile),
    logFile: options.logFile,
    status: async () => {
      const args = [...firstArguments, "status", "--json", `--subnet-file=${SUBNET_FILE}`];
      const { stdout, stderr } = await machine.exec(program, args, { allowFailure: true });
      // Exit 1 with a report: not ready.
      if (stdout === "") throw new Error(`${machine.name}: ${stderr.trim()}`);
      return JSON.parse(stdout) as StatusReport;
    },
    command,
  };
}

/** GET over loopback of a machine, without any HTTP client in it; undefined when nobody listens. */
export async function httpGet(
  machine: Pick<Machine, "exec">,
  port: number,
  pathname: string,
): Promise<{ readonly status: number; readonly body: string } | undefined> {
  const script = 'exec 3<>/dev/tcp/127.0.0.1/$1 && printf "GET %s HTTP/1.0\\r\\n\\r\\n" "$2" >&3 && cat <&3';
  const args = ["-c", script, "get", String(port), pathname];
  const { stdout } = await machine.exec("bash", args, { allowFailure: true, timeoutMs: 5000 });
  const match = /^HTTP\/1\.\d (\d{3})[^\n]*\n(?:[^\n]+\n)*?\r?\n([\s\S]*)$/.exec(stdout);
  return match ? { status: Number(match[1]), body: match[2] ?? "" } : undefined;
}

function describeEnd(logFile: string): string {
  return `\n  the end of its log:\n${lastLines(logFile, 20).replaceAll(/^/gm, "    ")}`;
}

function readLog(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
