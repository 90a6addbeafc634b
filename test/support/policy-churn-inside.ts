// Applies one policy after the other to the node whose namespace it is started in, until it is killed. Arguments: mode of
// iptables, seed. Begins at the first line of its stdin; prints "applied" after each pass.
import { once } from "node:events";
import { exec } from "../../src/kernel/exec.ts";
import type { IptablesMode } from "../../src/kernel/iptables/choose-mode.ts";
import { compilePolicy } from "../../src/policy/compile.ts";
import { churn } from "./policy-churn.ts";
import { NODE_SETTINGS, startApplier } from "./policy-node.ts";

const [mode, seed] = process.argv.slice(2);
const applier = await startApplier(exec, mode as IptablesMode);
await once(process.stdin, "data");
for (const snapshot of churn(Number(seed))) {
  const { failed } = await applier.apply(compilePolicy(snapshot, NODE_SETTINGS));
  process.stdout.write(`${failed.length === 0 ? "applied" : JSON.stringify(failed)}\n`);
}
