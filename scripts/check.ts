// The fast gate, under a minute: types, lint, format, and the tests that need no kernel.
import { spawnSync } from "node:child_process";
import { CHECK_STEPS } from "./steps.ts";

const failed: string[] = [];
for (const { name, command } of CHECK_STEPS) {
  const [program = "", ...args] = command;
  const startedAt = performance.now();
  const { status } = spawnSync(program, args, { stdio: "inherit" });
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(`check: ${name} ${status === 0 ? "ok" : "FAILED"} (${seconds} s)`);
  if (status !== 0) failed.push(name);
}
if (failed.length > 0) {
  console.error(`check: failed: ${failed.join(", ")}`);
  process.exitCode = 1;
}
