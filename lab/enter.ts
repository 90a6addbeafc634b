// Commands from another terminal: run a program in a node or pod, and end a lab.
import { spawn } from "node:child_process";
import { enterArguments } from "./machine.ts";
import { isAlive, listRunning, readRunningState, sweepStale } from "./state.ts";
import type { LabState } from "./state.ts";
import { waitUntil } from "./wait.ts";

/** The lab that runs under this name. @throws {Error} naming those that do run */
export function runningLab(name: string): LabState {
  sweepStale();
  const state = readRunningState(name);
  if (state !== undefined) return state;
  const others = listRunning();
  throw new Error(
    others.length === 0
      ? `no lab runs; start one with \`npm run lab\``
      : `no lab named "${name}" runs; there are: ${others.join(", ")} (--name)`,
  );
}

/**
 * Runs a program in a node or pod on this terminal. Ctrl-C is for that program, which gets it from the terminal; the
 * caller must not end from it. @returns its exit code, 128 + N after signal N
 */
export function runInside(state: LabState, target: string, words: readonly string[]): Promise<number> {
  const pod = state.pods.find(({ name }) => name === target);
  const machine = state.machines.find(({ name }) => name === (pod?.node ?? target));
  if (machine === undefined || !isAlive(machine.process)) {
    const names = [...state.machines, ...state.pods].map(({ name }) => name);
    return Promise.reject(new Error(`there is no "${target}" in the lab; there are ${names.join(", ")}`));
  }
  const enter = enterArguments(machine.process.pid, words, pod === undefined ? {} : { netns: pod.netns });
  const child = spawn("nsenter", enter, { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 143)));
  });
}

const DOWN_TIMEOUT_MS = 20_000;

/** Asks the lab's process to end and waits until it has; SIGKILL when it does not. */
export async function endLab(state: LabState): Promise<void> {
  const { lab } = state;
  process.kill(lab.pid, "SIGTERM");
  try {
    await waitUntil("the lab to end", () => !isAlive(lab), { timeoutMs: DOWN_TIMEOUT_MS });
  } catch {
    if (isAlive(lab)) process.kill(lab.pid, "SIGKILL");
    await waitUntil("the lab to end", () => !isAlive(lab), { timeoutMs: DOWN_TIMEOUT_MS });
  }
}
