// Asks the daemon of this node about policy, and says why where there is no answer.
import { printable } from "../net/printable.ts";
import { getOverSocket, StatusClientError } from "./status-client.ts";
import type { TextSink } from "./text-sink.ts";

/** Exit code: there is no answer, or none that can be relied on. */
export const NO_ANSWER = 3;
const MISUSED = 2;

/** The kernel may be asked several times before the answer comes. */
const ANSWER_TIMEOUT_MS = 30_000;

export interface AskModules {
  readonly statusSocket: string;
  readonly stderr: TextSink;
}

export type Answer<Report> =
  | { readonly report: Report }
  /** What was wrong has been said. */
  | { readonly exitCode: number };

/** @param path with its query, e.g. `/v1/policy/explain?from=a&to=b` */
export async function askPolicy<Report>(
  path: string,
  { statusSocket, stderr }: AskModules,
): Promise<Answer<Report>> {
  const refuse = (message: string, exitCode: number): Answer<Report> => {
    stderr.write(`${printable(message)}\n`);
    return { exitCode };
  };
  try {
    const { status, body } = await getOverSocket(statusSocket, path, ANSWER_TIMEOUT_MS);
    if (status === 200) return { report: JSON.parse(body) as Report };
    const problem = readProblem(body);
    if (problem !== undefined) return refuse(problem, status < 500 ? MISUSED : NO_ANSWER);
    if (status === 404)
      return refuse(
        "the daemon of this node enforces no network policy; start it with --network-policy (flanneld-ts status shows how it runs)",
        NO_ANSWER,
      );
    return refuse(`the daemon answers ${status}: ${body.trim()}`, NO_ANSWER);
  } catch (error) {
    if (error instanceof StatusClientError) return refuse(error.message, NO_ANSWER);
    if (error instanceof SyntaxError)
      return refuse("the daemon's answer is not JSON; is it of the same version as this command?", NO_ANSWER);
    throw error;
  }
}

/** Undefined if the body is not one of ours. */
function readProblem(body: string): string | undefined {
  try {
    const { problem } = JSON.parse(body) as { readonly problem?: unknown };
    return typeof problem === "string" ? problem : undefined;
  } catch {
    return undefined;
  }
}

/** The value of `-o`: text for people, or JSON. */
export function outputProblem(output: string | undefined): string | undefined {
  return output === undefined || output === "json" ? undefined : `-o ${output}: only json is known`;
}

export function formatJson(report: unknown): string {
  return `${JSON.stringify(report, undefined, 2)}\n`;
}
