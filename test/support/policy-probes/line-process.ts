// A program in a machine that answers each line of JSON with one, after it has said "ready".
import { createInterface } from "node:readline";
import type { MachineProcess, SpawnOptions } from "../../../lab/machine.ts";

export interface LineProcess {
  /** One request at a time. */
  ask<T>(request: unknown): Promise<T>;
  stop(): Promise<void>;
}

type Spawn = (command: string, args: readonly string[], options?: SpawnOptions) => Promise<MachineProcess>;

/** @param script runs under this Node. @throws {Error} if it ends before it is ready */
export async function startLineProcess(
  spawn: Spawn,
  script: string,
  args: readonly string[],
): Promise<LineProcess> {
  const started = await spawn(process.execPath, [script, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  const { stdout, stdin } = started.child;
  if (stdout === null || stdin === null) throw new Error("no pipes");
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`${script} ${args.join(" ")} has ended`);
    return value;
  };
  await next();
  return {
    ask: async <T>(request: unknown) => {
      stdin.write(`${JSON.stringify(request)}\n`);
      return JSON.parse(await next()) as T;
    },
    stop: async () => {
      await started.stop("SIGKILL");
    },
  };
}
