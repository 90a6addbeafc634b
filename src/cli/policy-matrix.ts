// `policy matrix [-n NAMESPACE] [--port PORT[/PROTOCOL]]`: who reaches whom.
import { InvalidValueError } from "../net/errors.ts";
import { printable } from "../net/printable.ts";
import { parseService } from "../policy/explain-question.ts";
import type { MatrixReport } from "../policy/matrix.ts";
import { askPolicy, formatJson, outputProblem } from "./policy-ask.ts";
import { renderMatrix } from "./policy-matrix-render.ts";
import type { PolicyCall } from "./policy.ts";

const DONE = 0;
const MISUSED = 2;

/** @returns the exit code: 0 done, 2 wrong usage or no such pods, 3 no answer */
export async function runPolicyMatrix(call: PolicyCall): Promise<number> {
  const { operands, flags, stdout, stderr } = call;
  const [surplus] = operands;
  const problem =
    outputProblem(flags.output) ?? (surplus === undefined ? undefined : `unexpected argument "${surplus}"`);
  if (problem !== undefined) {
    stderr.write(`${printable(problem)}\n`);
    return MISUSED;
  }
  const { namespace, port } = flags;
  try {
    if (port !== undefined) parseService(port);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    stderr.write(`--port: ${printable(error.message)}\n`);
    return MISUSED;
  }
  const query = new URLSearchParams({
    ...(namespace !== undefined && { namespace }),
    ...(port !== undefined && { port }),
  });
  const answer = await askPolicy<MatrixReport>(`/v1/policy/matrix?${query.toString()}`, call);
  if ("exitCode" in answer) return answer.exitCode;
  stdout.write(flags.output === "json" ? formatJson(answer.report) : renderMatrix(answer.report));
  return DONE;
}
