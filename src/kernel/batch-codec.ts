// The text that `ip -batch` and `bridge -batch` read, and the failures they print. Pure.

/**
 * One argument of a batch line. The tools split at blanks and know double quotes but no escapes inside them (iproute2
 * lib/utils.c, makeargs).
 */
export function quoteArgument(argument: string): string {
  return /^[^\s"'#\\]+$/.test(argument) ? argument : `"${argument.replaceAll(/["\n\\]/g, "")}"`;
}

export function formatBatchLine(args: readonly string[]): string {
  return args.map(quoteArgument).join(" ");
}

export interface BatchFailure {
  /** Index into the lines that were sent, from 0. */
  readonly line: number;
  /** What the tool said, on one line. */
  readonly message: string;
}

export interface BatchOutcome {
  readonly failures: readonly BatchFailure[];
  /**
   * Set when the tool gave up in the middle: a value it cannot parse, and a few unknown devices, make it exit at once in
   * spite of -force, without a line number. No line after the last failure is known to have been read.
   */
  readonly aborted?: string;
}

/**
 * Reads stderr of `ip -force -batch -`: the messages of a failed line come first, then `Command failed -:N` with N from 1
 * (iproute2 lib/utils.c, do_batch). Messages after the last such line belong to what made the tool exit.
 */
export function parseBatchErrors(stderr: string, exitCode: number): BatchOutcome {
  const failures: BatchFailure[] = [];
  let messages: string[] = [];
  for (const text of stderr.split("\n")) {
    const failed = /^Command failed -:(\d+)$/.exec(text.trim());
    if (failed) {
      failures.push({ line: Number(failed[1]) - 1, message: messages.join("; ") || "no message" });
      messages = [];
    } else if (text.trim() !== "") {
      messages.push(text.trim());
    }
  }
  if (exitCode === 0) return { failures: [] };
  // With -force the exit code is 1 as soon as one line has failed.
  if (messages.length === 0 && failures.length > 0) return { failures };
  return { failures, aborted: messages.join("; ") || `exit ${exitCode}` };
}
