// npm test: every tier, with its time; the last line reads "N passed, N failed". With --kubernetes, as CI runs it, the
// tests on a real Kubernetes too: 10 minutes more, and as long again to build it when it is not in the cache.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { startMachine } from "../lab/machine.ts";
import type { Machine } from "../lab/machine.ts";
import { CHECK_STEPS, countStep, KUBERNETES_BUILD_STEPS, KUBERNETES_STEPS, SYSTEM_STEPS } from "./steps.ts";
import type { Step, StepCount } from "./steps.ts";

const LEFTOVER_GRACE_MS = 5000;
const SECOND_TRY_REPORTER = path.join(import.meta.dirname, "second-try-reporter.ts");

process.chdir(path.join(import.meta.dirname, ".."));
const reports = mkdtempSync(path.join(tmpdir(), "flanneld-ts-test-"));
const lines: string[] = [];
const failures: string[] = [];
const secondTries = path.join(reports, "second-tries");
process.env["SECOND_TRIES"] = secondTries;
const total = { passed: 0, failed: 0 };

function withReport({ command, projects }: Step, reportFile: string): readonly string[] {
  if (projects === undefined) return command;
  return [
    ...command,
    "--passWithNoTests",
    "--reporter=default",
    "--reporter=json",
    `--reporter=${SECOND_TRY_REPORTER}`,
    `--outputFile.json=${reportFile}`,
  ];
}

async function runStep(
  step: Step,
  run: (command: readonly string[]) => Promise<number | null>,
): Promise<void> {
  const startedAt = performance.now();
  const reportFile = path.join(reports, `${step.name.replaceAll(" ", "-")}.json`);
  const exitCode = await run(withReport(step, reportFile));
  note(step.name, countStep(step, exitCode, reportFile), performance.now() - startedAt);
}

function note(name: string, count: StepCount, durationMs: number): void {
  total.passed += count.passed;
  total.failed += count.failed;
  failures.push(...count.failures);
  const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : "";
  const counts = `${count.passed} passed, ${count.failed} failed${skipped}`;
  lines.push(`  ${name.padEnd(20)} ${(durationMs / 1000).toFixed(1).padStart(6)} s   ${counts}`);
}

/**
 * The tiers that touch the system run in a machine of their own (namespaces, private /run, /etc, /var): they cannot
 * change this one, and what they leave ends with the machine. That they leave something is a failure all the same.
 */
async function runSystemSteps(steps: readonly Step[]): Promise<void> {
  const machine = await startMachine("tests");
  try {
    for (const step of steps) {
      await runStep(step, async ([program = "", ...args]) => {
        const child = await machine.spawn(program, args, { stdio: "inherit", cwd: process.cwd() });
        return (await child.ended).exitCode ?? null;
      });
    }
    const startedAt = performance.now();
    const leftovers = await findLeftovers(machine);
    const failed = leftovers.length > 0 ? 1 : 0;
    const count = { passed: 1 - failed, failed, skipped: 0, failures: leftovers };
    note("nothing left behind", count, performance.now() - startedAt);
  } finally {
    await machine.close();
  }
}

/** Returns whether all of them passed. */
async function runHere(steps: readonly Step[]): Promise<boolean> {
  const before = total.failed;
  for (const step of steps) {
    await runStep(step, ([program = "", ...args]) =>
      Promise.resolve(spawnSync(program, args, { stdio: "inherit" }).status),
    );
  }
  return total.failed === before;
}

async function findLeftovers(machine: Machine): Promise<string[]> {
  const deadline = Date.now() + LEFTOVER_GRACE_MS;
  for (;;) {
    const { stdout: processes } = await machine.exec("ps", ["-e", "-o", "pid=,args="]);
    const { stdout: namespaces } = await machine.exec("ip", ["netns", "list"]);
    const { stdout: links } = await machine.exec("ip", ["-br", "link"]);
    const found = [
      // The machine's first process and the ps that looks.
      ...rows(processes).filter((row) => !/^\s*1 |ps -e -o/.test(row)).map((row) => `process ${row.trim()}`),
      ...rows(namespaces).map((row) => `network namespace ${row}`),
      ...rows(links).filter((row) => !row.startsWith("lo ")).map((row) => `link ${row}`),
    ]; // prettier-ignore
    if (found.length === 0 || Date.now() > deadline) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function rows(text: string): string[] {
  return text.split("\n").filter((row) => row !== "");
}

try {
  await runHere(CHECK_STEPS);
  await runSystemSteps(SYSTEM_STEPS);
  if (process.argv.includes("--kubernetes") && (await runHere(KUBERNETES_BUILD_STEPS)))
    await runSystemSteps(KUBERNETES_STEPS);
  if (existsSync(secondTries))
    lines.push(...rows(readFileSync(secondTries, "utf8")).map((name) => `  only at the second try: ${name}`));
} finally {
  rmSync(reports, { recursive: true, force: true });
}
console.log(`\n${lines.join("\n")}\n`);
for (const failure of failures) console.log(`failed: ${failure}`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;
