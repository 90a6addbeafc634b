// npm run lab: starts a lab, or acts on one that runs.
import { existsSync } from "node:fs";
import { InvalidValueError } from "../src/net/errors.ts";
import { DAEMON_COMMAND, SUBNET_FILE } from "./daemon-process.ts";
import { endLab, runInside, runningLab } from "./enter.ts";
import { execInMachine } from "./machine.ts";
import { HELP, parseArguments } from "./parse-arguments.ts";
import type { LabCommand } from "./parse-arguments.ts";
import { renderTable } from "./render.ts";
import type { LabState } from "./state.ts";
import { runUp } from "./up.ts";

// `su` without `-` leaves root without the directories where ip and iptables lie.
process.env["PATH"] = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;

const EXIT_USAGE = 2;
const EXIT_FAILURE = 1;

async function run(command: LabCommand): Promise<number> {
  switch (command.command) {
    case "help":
      process.stdout.write(HELP);
      return 0;
    case "up":
      requireRootAndBuild();
      return runUp(command);
    case "exec": {
      const lab = runningLab(command.name);
      // The program in the lab gets Ctrl-C from the terminal; we wait for its end.
      process.on("SIGINT", () => undefined);
      return runInside(lab, command.target, command.words);
    }
    case "down":
      await endLab(runningLab(command.name));
      process.stdout.write("lab: ended\n");
      return 0;
    case "status":
      await showStatus(runningLab(command.name));
      return 0;
  }
}

function requireRootAndBuild(): void {
  if (process.getuid?.() !== 0) throw new Error("network namespaces need root: sudo npm run lab");
  const bundle = DAEMON_COMMAND.at(-1) ?? "";
  if (!existsSync(bundle))
    throw new Error(`${bundle} is not built; \`npm run lab\` builds it, or \`npm run build\``);
}

async function showStatus(lab: LabState): Promise<void> {
  process.stdout.write(`lab "${lab.name}", PID ${lab.lab.pid}\n`);
  const rows = lab.pods.map(({ name, node, ip }) => [name, ip, `on ${node}`]);
  process.stdout.write(renderTable(rows));
  for (const { name, publicIp } of lab.nodes) {
    const pid = lab.machines.find((machine) => machine.name === name)?.process.pid ?? 0;
    const exec = execInMachine(name, pid);
    const [program = "", ...first] = DAEMON_COMMAND;
    const args = [...first, "status", `--subnet-file=${SUBNET_FILE}`];
    const { stdout, stderr } = await exec(program, args, { allowFailure: true });
    process.stdout.write(`\n${name} (${publicIp})\n${(stdout || stderr).replaceAll(/^(?=.)/gm, "  ")}`);
  }
}

let command: LabCommand;
try {
  command = parseArguments(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`lab: ${(error as Error).message}\n`);
  process.exit(EXIT_USAGE);
}
try {
  process.exitCode = await run(command);
} catch (error) {
  process.stderr.write(`lab: ${(error as Error).message}\n`);
  process.exitCode = error instanceof InvalidValueError ? EXIT_USAGE : EXIT_FAILURE;
}
