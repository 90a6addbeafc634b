// The prompt of a running lab.
import { createInterface } from "node:readline/promises";

export interface ConsoleModules {
  /** Runs a program in a node or pod on this terminal. */
  readonly exec: (target: string, words: readonly string[]) => Promise<unknown>;
  readonly status: () => Promise<void>;
  readonly matrix: () => Promise<unknown>;
  readonly print: (text: string) => void;
}

export const CONSOLE_HELP = `Commands:
  exec NODE|POD CMD...   e.g. exec n1 ip route, exec n1-p1 ping 10.244.2.2; without CMD: a shell
  matrix                 measure connectivity again
  status                 nodes, pods and what each daemon says
  help                   this text
  quit                   end the lab (also Ctrl-C, Ctrl-D)
The same from another terminal: npm run lab -- exec NODE|POD CMD...
`;

/** Reads commands until quit, the end of input, Ctrl-C, or `signal`. */
export async function runConsole(signal: AbortSignal, modules: ConsoleModules): Promise<void> {
  let history: string[] = [];
  while (!signal.aborted) {
    // An interface per line: between lines the terminal belongs to the command that runs.
    const lines = createInterface({ input: process.stdin, output: process.stdout, history });
    const interrupted = new AbortController();
    lines.once("SIGINT", () => interrupted.abort());
    lines.once("close", () => interrupted.abort());
    lines.on("history", (kept) => (history = kept));
    let line: string;
    try {
      line = await lines.question("lab> ", { signal: AbortSignal.any([signal, interrupted.signal]) });
    } catch {
      return;
    } finally {
      lines.close();
    }
    if (!(await runLine(line.trim(), modules))) return;
  }
}

/** @returns false for quit */
async function runLine(line: string, { exec, status, matrix, print }: ConsoleModules): Promise<boolean> {
  const [command = "", target = "", ...rest] = line.split(/\s+/);
  try {
    switch (command) {
      case "":
        return true;
      case "exec":
        if (target === "") print("exec what, and where? exec NODE|POD CMD...\n");
        // A shell line after the target: quotes and pipes work as in a shell.
        else
          await exec(
            target,
            rest.length === 0 ? ["bash"] : ["bash", "-c", line.replace(/^exec\s+\S+\s+/, "")],
          );
        return true;
      case "matrix":
        await matrix();
        return true;
      case "status":
        await status();
        return true;
      case "quit":
      case "exit":
        return false;
      case "help":
        print(CONSOLE_HELP);
        return true;
      default:
        print(`unknown command "${command}"\n${CONSOLE_HELP}`);
        return true;
    }
  } catch (error) {
    print(`${(error as Error).message}\n`);
    return true;
  }
}
