// `policy status`: what policy is in force on this node.
import { printable } from "../net/printable.ts";
import type { InForceReport } from "../policy/in-force-report.ts";
import { askPolicy, formatJson, outputProblem } from "./policy-ask.ts";
import { isInForce, renderInForce } from "./policy-in-force-render.ts";
import type { PolicyCall } from "./policy.ts";

const IN_FORCE = 0;
const NOT_IN_FORCE = 1;
const MISUSED = 2;

/** @returns the exit code: 0 in force, 1 not in force as it should be, 2 wrong usage, 3 no answer */
export async function runPolicyInForce(call: PolicyCall, now: () => number = Date.now): Promise<number> {
  const { operands, flags, stdout, stderr } = call;
  const [surplus] = operands;
  const problem =
    outputProblem(flags.output) ?? (surplus === undefined ? undefined : `unexpected argument "${surplus}"`);
  if (problem !== undefined) {
    stderr.write(`${printable(problem)}\n`);
    return MISUSED;
  }
  const answer = await askPolicy<InForceReport>("/v1/policy", call);
  if ("exitCode" in answer) return answer.exitCode;
  const { report } = answer;
  stdout.write(flags.output === "json" ? formatJson(report) : renderInForce(report, now()));
  return isInForce(report) ? IN_FORCE : NOT_IN_FORCE;
}
