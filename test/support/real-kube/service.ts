// One long-running program of a real cluster, with its log, that can be killed and started again.
import { closeSync, openSync } from "node:fs";
import { lastLines } from "../../../lab/etcd.ts";
import type { Machine, MachineProcess } from "../../../lab/machine.ts";
import { waitUntil } from "../../../lab/wait.ts";

export interface Service {
  readonly logFile: string;
  isRunning(): boolean;
  /** Starts it and waits until it serves. Idempotent. */
  start(): Promise<void>;
  /** Default SIGTERM. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface ServiceOptions {
  readonly name: string;
  readonly machine: Machine;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Truthy when it serves. */
  readonly isReady: () => Promise<unknown>;
  readonly timeoutMs?: number;
}

export function createService(options: ServiceOptions): Service {
  const { name, machine, command, args, env, logFile, isReady, timeoutMs = 60_000 } = options;
  let process: MachineProcess | undefined;
  const isRunning = (): boolean => process?.isRunning() ?? false;
  return {
    logFile,
    isRunning,
    start: async () => {
      if (isRunning()) return;
      const log = openSync(logFile, "a");
      try {
        const stdio = ["ignore", log, log] as const;
        process = await machine.spawn(command, args, {
          stdio: [...stdio],
          ...(env === undefined ? {} : { env }),
        });
      } finally {
        closeSync(log);
      }
      await waitUntil(
        `${name} on ${machine.name}`,
        async () => {
          if (!isRunning()) throw new Error(`${name} on ${machine.name} ended:\n${lastLines(logFile, 20)}`);
          return await isReady();
        },
        { timeoutMs, intervalMs: 100, fatal: () => !isRunning() },
      );
    },
    stop: async (signal = "SIGTERM") => {
      await process?.stop(signal, 10_000);
    },
  };
}
