// Runs the lab's command line in a machine of its own, where everything that it leaves behind can be seen.
import path from "node:path";
import { startMachine } from "../../lab/machine.ts";
import type { Machine, MachineProcess } from "../../lab/machine.ts";
import { waitFor } from "./wait.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const LAB = path.join(ROOT, "lab/main.ts");

/** A lab process; `output()` is all it has printed so far, on both streams. */
export interface LabRun {
  readonly process: MachineProcess;
  output(): string;
  /** Waits for a text in the output; fails at once when the lab ends without it. */
  waitForOutput(text: string | RegExp): Promise<void>;
}

/** A computer on which labs are started: its processes, mounts and links are nobody else's. */
export interface LabHost {
  readonly machine: Machine;
  start(...args: readonly string[]): Promise<LabRun>;
  /** Runs the lab's command line to its end. */
  run(
    ...args: readonly string[]
  ): Promise<{ readonly exitCode: number | undefined; readonly output: string }>;
  /** What one can see from outside of a lab: processes, mounts, named namespaces, links, /run. */
  traces(): Promise<string>;
  close(): Promise<void>;
}

export async function startLabHost(): Promise<LabHost> {
  const machine = await startMachine("host");
  const start = async (...args: readonly string[]): Promise<LabRun> => {
    const child = await machine.spawn(process.execPath, [LAB, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: ROOT,
    });
    let output = "";
    for (const stream of [child.child.stdout, child.child.stderr]) {
      stream?.on("data", (chunk: Buffer) => (output += chunk.toString()));
    }
    return {
      process: child,
      output: () => output,
      waitForOutput: async (text) => {
        const isThere = (): boolean => (typeof text === "string" ? output.includes(text) : text.test(output));
        await waitFor(`"${text}" in the lab's output`, () => isThere() || !child.isRunning(), {
          timeoutMs: 60_000,
        });
        if (!isThere()) throw new Error(`the lab ended without "${text}":\n${output}`);
      },
    };
  };
  return {
    machine,
    start,
    run: async (...args) => {
      const lab = await start(...args);
      const { exitCode } = await lab.process.ended;
      return { exitCode, output: lab.output() };
    },
    traces: async () => {
      // All processes but the machine's first one and those that look here.
      const look = [
        "ps -N -p 1 -o args= | grep -vE '^(ps -N|sh -c ps -N|grep -vE)'",
        "cat /proc/1/mounts",
        "ip netns list",
        "ip -o -br link",
        "find /run -xdev -not -path '/run/.private*'",
      ];
      return (await machine.exec("sh", ["-c", look.join("; ")])).stdout;
    },
    close: () => machine.close(),
  };
}
