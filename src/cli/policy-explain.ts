// `policy explain FROM TO[:PORT[/PROTOCOL]]`: may they talk, which rule decides, and does the kernel agree.
import { InvalidValueError } from "../net/errors.ts";
import { printable } from "../net/printable.ts";
import { parseExplainQuestion } from "../policy/explain-question.ts";
import type { ExplainReport } from "../policy/explain-report.ts";
import { askPolicy, formatJson, NO_ANSWER, outputProblem } from "./policy-ask.ts";
import { renderExplain } from "./policy-explain-render.ts";
import type { PolicyCall } from "./policy.ts";

const ALLOWED = 0;
/** Wholly or in part. */
const DENIED = 1;
const MISUSED = 2;

/** @returns the exit code: 0 allowed, 1 denied (also in part), 2 wrong usage or nobody of that name, 3 no answer or the kernel disagrees */
export async function runPolicyExplain(call: PolicyCall): Promise<number> {
  const { operands, flags, stdout, stderr } = call;
  const [from, to] = operands;
  const problem = outputProblem(flags.output);
  if (problem !== undefined || from === undefined || to === undefined || operands.length > 2) {
    stderr.write(`${problem ?? "policy explain needs two ends: FROM TO[:PORT[/PROTOCOL]]"}\n`);
    return MISUSED;
  }
  try {
    parseExplainQuestion(from, to);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    stderr.write(`${printable(error.message)}\n`);
    return MISUSED;
  }
  const query = new URLSearchParams({ from, to });
  const answer = await askPolicy<ExplainReport>(`/v1/policy/explain?${query.toString()}`, call);
  if ("exitCode" in answer) return answer.exitCode;
  const { report } = answer;
  stdout.write(flags.output === "json" ? formatJson(report) : renderExplain(report));
  if (report.kernel?.state === "disagrees") return NO_ANSWER;
  return report.verdict === "allowed" ? ALLOWED : DENIED;
}
