// A machine: network, mount, UTS and PID namespaces of its own, held by one process; it ends when that process ends.
import { spawn } from "node:child_process";
import type { ChildProcess, StdioOptions } from "node:child_process";
import { readFileSync } from "node:fs";
import { exec, ExecError } from "../src/kernel/exec.ts";
import type { Exec } from "../src/kernel/exec.ts";

/**
 * What the machine's first process does before it says "ready". Paths inside are the standard ones, yet private: /run
 * is a tmpfs (xtables.lock, netns, flannel), and /etc, /var and /opt are overlays whose changes live in that tmpfs.
 * `cat` then waits for the end of its input, which is the end of the lab: so a SIGKILL of the lab ends the machine,
 * and the kernel ends every process in it. As the first process it must not collect zombies, so SIGCHLD is ignored.
 */
const INIT = `
set -e
echo "$1" >/proc/sys/kernel/hostname
# Mounts below /run are others' namespaces and containers: copies of them here would keep them alive.
inherited=
while read -r _ dir _; do
  case $dir in /run/*) inherited="$dir $inherited" ;; esac
done </proc/self/mounts
if [ -n "$inherited" ]; then umount --lazy $inherited 2>/dev/null || true; fi
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns /run/.private/cgroup
if mount --rbind /sys/fs/cgroup /run/.private/cgroup 2>/dev/null; then cgroup=yes; fi
mount -t sysfs sysfs /sys
if [ "$cgroup" = yes ]; then mount --move /run/.private/cgroup /sys/fs/cgroup; fi
for dir in etc var opt; do
  layers=/run/.private/$dir
  mkdir -p $layers/upper $layers/work
  mount -t overlay overlay -o lowerdir=/$dir,upperdir=$layers/upper,workdir=$layers/work /$dir 2>/dev/null ||
    plain="$plain $dir"
done
# A kernel without overlayfs: only the directories that a node writes to are private.
case " $plain " in *" etc "*) mkdir -p /etc/cni; mount -t tmpfs tmpfs /etc/cni ;; esac
case " $plain " in *" var "*) mkdir -p /var/lib/cni; mount -t tmpfs tmpfs /var/lib/cni ;; esac
mkdir -p /etc/cni/net.d /var/lib/cni
ip link set lo up
echo ready
exec env --ignore-signal=CHLD cat
`;

const START_TIMEOUT_MS = 30_000;

export interface SpawnOptions {
  readonly stdio?: StdioOptions;
  readonly env?: Readonly<Record<string, string>>;
  /** Path inside the machine of a network namespace to run in, e.g. /run/netns/n1-p1. Default: the machine's own. */
  readonly netns?: string;
  /** Working directory, as seen inside the machine. */
  readonly cwd?: string;
}

export interface ProcessEnd {
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

/** A long-running process in a machine. */
export interface MachineProcess {
  /** The Node child: its streams are the process's streams, its pid is nsenter's. */
  readonly child: ChildProcess;
  /** PID of the process itself, in our own PID namespace. */
  readonly pid: number;
  readonly ended: Promise<ProcessEnd>;
  isRunning(): boolean;
  /** Sends a signal to the process itself; no effect when it has ended. */
  signal(signal: NodeJS.Signals): void;
  /** Sends `signal` (default SIGTERM), then SIGKILL after `graceMs` (default 5000), and waits for the end. */
  stop(signal?: NodeJS.Signals, graceMs?: number): Promise<ProcessEnd>;
}

export interface Machine {
  readonly name: string;
  /** PID of the machine's first process, in our own PID namespace: what nsenter -t takes. */
  readonly pid: number;
  /** Runs a program in the machine to its end. Killing us, or a timeout, kills it. */
  readonly exec: Exec;
  /** The same, in another network namespace of the machine (a pod's). */
  execIn(netns: string): Exec;
  readonly spawn: (
    command: string,
    args: readonly string[],
    options?: SpawnOptions,
  ) => Promise<MachineProcess>;
  /** The path by which we reach a path inside the machine, for node:fs. */
  hostPath(inside: string): string;
  isRunning(): boolean;
  /** Ends the machine and every process in it; its namespaces, mounts and links go with it. Idempotent. */
  close(): Promise<void>;
}

/** The nsenter arguments that run `command` in the machine whose first process is `pid`. */
export function enterArguments(
  pid: number,
  command: readonly string[],
  options: Pick<SpawnOptions, "netns" | "cwd"> = {},
): string[] {
  const net = options.netns === undefined ? "--net" : `--net=/proc/${pid}/root${options.netns}`;
  const cwd = options.cwd === undefined ? [] : ["env", `--chdir=${options.cwd}`];
  // setpriv: nsenter waits outside for the program inside, and killing nsenter alone would leave the program.
  return [
    "--target", String(pid), "--mount", "--uts", "--pid", net, "--wdns=/", "--",
    "setpriv", "--pdeathsig", "KILL", ...cwd, ...command,
  ]; // prettier-ignore
}

/** Starts a machine with an empty network (loopback up). Needs root. @throws {Error} with what the shell said */
export async function startMachine(name: string): Promise<Machine> {
  const unshare = [
    "unshare",
    "--fork",
    "--pid",
    "--mount-proc",
    "--net",
    "--mount",
    "--uts",
    "--kill-child=KILL",
  ];
  // detached: Ctrl-C must reach the lab only, which then ends its machines in order.
  const holder = spawn("setpriv", ["--pdeathsig", "KILL", ...unshare, "sh", "-c", INIT, "machine", name], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  const ended = endOf(holder);
  try {
    await readyOf(holder, name);
  } catch (error) {
    holder.kill("SIGKILL");
    throw error;
  }
  const pid = onlyChildOf(holder.pid ?? 0);
  if (pid === undefined) {
    holder.kill("SIGKILL");
    throw new Error(`machine ${name}: its first process is gone`);
  }
  const execIn = (netns: string | undefined): Exec => execInMachine(name, pid, netns);
  return {
    name,
    pid,
    exec: execIn(undefined),
    execIn,
    spawn: (command, args, options) => spawnInMachine(pid, command, args, options),
    hostPath: (inside) => `/proc/${pid}/root${inside}`,
    isRunning: () => holder.exitCode === null && holder.signalCode === null,
    close: async () => {
      holder.kill("SIGKILL");
      await ended;
    },
  };
}

/** An `Exec` that runs programs in the machine whose first process is `pid`; errors name the machine, not nsenter. */
export function execInMachine(name: string, pid: number, netns?: string): Exec {
  return async (command, args, options) => {
    const enter = enterArguments(pid, [command, ...args], netns === undefined ? {} : { netns });
    try {
      return await exec("nsenter", enter, options);
    } catch (error) {
      if (!(error instanceof ExecError)) throw error;
      const { result } = error;
      const said = result ? result.stderr.trim() || result.stdout.trim() || "no message" : error.message;
      const code = result ? `exit ${result.exitCode}: ` : "";
      throw new ExecError(`${name}: ${command} ${args.join(" ")}: ${code}${said}`, result);
    }
  };
}

async function spawnInMachine(
  machinePid: number,
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<MachineProcess> {
  const child = spawn("nsenter", enterArguments(machinePid, [command, ...args], options), {
    stdio: options.stdio ?? ["ignore", "ignore", "ignore"],
    env: { ...ownEnvironment(), ...options.env },
    detached: true,
  });
  const ended = endOf(child);
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  let pid: number | undefined;
  while (pid === undefined && isRunning()) {
    pid = child.pid === undefined ? undefined : onlyChildOf(child.pid);
    if (pid === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const signal = (name: NodeJS.Signals): void => {
    if (isRunning()) killQuietly(pid, name);
  };
  return {
    child,
    pid: pid ?? 0,
    ended,
    isRunning,
    signal,
    stop: async (name = "SIGTERM", graceMs = 5000) => {
      signal(name);
      const force = setTimeout(() => signal("SIGKILL"), graceMs);
      try {
        return await ended;
      } finally {
        clearTimeout(force);
      }
    },
  };
}

/** A machine is a computer of its own: flags that the user's shell has set for a daemon do not reach it. */
function ownEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("FLANNELD_")));
}

function killQuietly(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined || pid === 0) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It ended meanwhile.
  }
}

function endOf(child: ChildProcess): Promise<ProcessEnd> {
  return new Promise((resolve) => {
    child.once("error", () => resolve({ exitCode: 127, signal: undefined }));
    child.once("close", (code, signal) =>
      resolve({ exitCode: code ?? undefined, signal: signal ?? undefined }),
    );
  });
}

/** The child of a process that forks once (unshare, nsenter), or undefined when it has none. */
function onlyChildOf(pid: number): number | undefined {
  try {
    const first = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0];
    return first ? Number(first) : undefined;
  } catch {
    return undefined;
  }
}

function readyOf(holder: ChildProcess, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = "";
    const fail = (why: string): void => {
      reject(new Error(`machine ${name}: ${why}${said ? `: ${said.trim()}` : ""}`));
    };
    const timer = setTimeout(() => fail(`not ready after ${START_TIMEOUT_MS} ms`), START_TIMEOUT_MS);
    holder.once("error", (error) => fail(`cannot start: ${error.message} (Debian package util-linux)`));
    holder.once("close", (code) => {
      clearTimeout(timer);
      fail(`could not be made, exit ${code}; are you root, with CAP_SYS_ADMIN?`);
    });
    holder.stderr?.on("data", (text: Buffer) => (said += text.toString()));
    holder.stdout?.on("data", (text: Buffer) => {
      if (!text.toString().includes("ready")) return;
      clearTimeout(timer);
      resolve();
    });
  });
}
