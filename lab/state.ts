// What a running lab tells other terminals: a directory under /run with its processes and machines.
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { writeFileAtomically } from "../src/host/write-file.ts";

export const LABS_DIRECTORY = "/run/flanneld-ts-lab";

/** A process that can be told from a later one with the same PID. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot: field 22 of /proc/PID/stat. */
  readonly startTicks: string;
}

export interface MachineState {
  readonly name: string;
  readonly process: ProcessIdentity;
}

export interface LabState {
  readonly name: string;
  readonly lab: ProcessIdentity;
  /** Nodes, and the machines of the underlay and outside. */
  readonly machines: readonly MachineState[];
  readonly nodes: readonly { readonly name: string; readonly publicIp: string }[];
  readonly pods: readonly {
    readonly name: string;
    readonly node: string;
    readonly netns: string;
    readonly ip: string;
  }[];
}

export interface StateDirectory {
  readonly path: string;
  readonly write: (state: Omit<LabState, "lab">) => void;
  /** Idempotent. */
  readonly remove: () => void;
}

/**
 * Takes the name for this process; a directory that a killed lab left is swept first.
 * @throws {Error} when a lab of that name runs
 */
export function claimState(name: string): StateDirectory {
  sweepStale();
  const directory = path.join(LABS_DIRECTORY, name);
  mkdirSync(LABS_DIRECTORY, { recursive: true, mode: 0o755 });
  const lab = identify(process.pid);
  if (lab === undefined) throw new Error("no /proc; the lab needs Linux with /proc mounted");
  try {
    mkdirSync(directory, { mode: 0o755 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const pid = readState(name)?.lab.pid;
    throw new Error(
      `a lab named "${name}" runs already${pid === undefined ? "" : ` (PID ${pid})`}; end it with \`npm run lab -- down\`, ` +
        "or give this one a --name of its own",
      { cause: error },
    );
  }
  const file = path.join(directory, "state.json");
  const write: StateDirectory["write"] = (state) => {
    writeFileAtomically(file, `${JSON.stringify({ ...state, lab }, null, 2)}\n`, 0o644);
  };
  write({ name, machines: [], nodes: [], pods: [] });
  return {
    path: directory,
    write,
    remove: () => {
      removeDirectory(directory);
    },
  };
}

/** The state of a lab that runs, or undefined. */
export function readRunningState(name: string): LabState | undefined {
  const state = readState(name);
  return state !== undefined && isAlive(state.lab) ? state : undefined;
}

/** Names of labs that run. */
export function listRunning(): string[] {
  return listNames().filter((name) => readRunningState(name) !== undefined);
}

/** Removes what killed labs left: the directory only; the kernel has taken the rest. */
export function sweepStale(): void {
  for (const name of listNames()) {
    const state = readState(name);
    // No state yet: a lab is just being made.
    if (state === undefined ? ageMs(name) < BIRTH_MS : isAlive(state.lab)) continue;
    removeDirectory(path.join(LABS_DIRECTORY, name));
  }
}

function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  try {
    rmdirSync(LABS_DIRECTORY);
  } catch {
    // Other labs have theirs in it.
  }
}

export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field, the name in parentheses, may contain blanks; the 22nd is the 20th after it.
    const startTicks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    return startTicks === undefined ? undefined : { pid, startTicks };
  } catch {
    return undefined;
  }
}

export function isAlive({ pid, startTicks }: ProcessIdentity): boolean {
  return identify(pid)?.startTicks === startTicks;
}

/** Between making the directory and writing the state. */
const BIRTH_MS = 5000;

function ageMs(name: string): number {
  try {
    return Date.now() - statSync(path.join(LABS_DIRECTORY, name)).mtimeMs;
  } catch {
    return 0;
  }
}

function listNames(): string[] {
  try {
    return readdirSync(LABS_DIRECTORY);
  } catch {
    return [];
  }
}

function readState(name: string): LabState | undefined {
  try {
    return JSON.parse(readFileSync(path.join(LABS_DIRECTORY, name, "state.json"), "utf8")) as LabState;
  } catch {
    return undefined;
  }
}
