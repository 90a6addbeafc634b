// Writes many rows with one process: each row is one or more lines of an iproute2 batch.
import type { RowFailure } from "../host/kernel-table.ts";
import { formatBatchLine, parseBatchErrors } from "./batch-codec.ts";
import type { Exec } from "./exec.ts";

/** A row as lines of a batch; each line is a list of arguments. */
export interface BatchRow {
  readonly key: string;
  readonly lines: readonly (readonly string[])[];
}

export interface BatchOptions {
  /** True for a message that means that there is nothing left to be done, e.g. removing what is absent. */
  readonly isHarmless?: (message: string) => boolean;
}

/** A dump or a batch of 5000 rows takes half a second; a minute means that something is stuck. */
const BATCH_TIMEOUT_MS = 60_000;

/** Enough to single out one bad row among 30 000 and then some; a tool that fails always must not be started for ever. */
const MAX_RUNS = 40;

/**
 * Sends all rows to one `ip` or `bridge`. A row fails with its first message. Where the tool exits in the middle, the rows
 * are halved until the one that it cannot read stands alone; lines may then run twice, so they must be idempotent.
 * @throws {ExecError} if the tool cannot be started
 */
export async function runBatch(
  exec: Exec,
  tool: "ip" | "bridge",
  rows: readonly BatchRow[],
  { isHarmless = () => false }: BatchOptions = {},
): Promise<readonly RowFailure[]> {
  const failures: RowFailure[] = [];
  const queue = [rows];
  for (let runs = 0, part = queue.shift(); part !== undefined; part = queue.shift(), runs += 1) {
    if (part.length === 0) continue;
    const { failed, aborted } = await runOnce(exec, tool, part);
    if (aborted === undefined) {
      failures.push(...firstFailures(failed, isHarmless));
    } else if (part.length === 1 || runs >= MAX_RUNS) {
      if (!isHarmless(aborted)) failures.push(...part.map(({ key }) => ({ key, reason: aborted })));
    } else {
      const half = Math.ceil(part.length / 2);
      queue.push(part.slice(0, half), part.slice(half));
    }
  }
  return failures;
}

interface BatchRun {
  readonly failed: readonly RowFailure[];
  readonly aborted?: string;
}

async function runOnce(exec: Exec, tool: string, rows: readonly BatchRow[]): Promise<BatchRun> {
  const owners = rows.flatMap((row) => row.lines.map(() => row.key));
  const input = rows.flatMap((row) => row.lines.map((line) => `${formatBatchLine(line)}\n`)).join("");
  const result = await exec(tool, ["-force", "-batch", "-"], {
    input,
    allowFailure: true,
    timeoutMs: BATCH_TIMEOUT_MS,
  });
  const { failures, ...rest } = parseBatchErrors(result.stderr, result.exitCode);
  const failed = failures.flatMap(({ line, message }) => {
    const key = owners[line];
    return key === undefined ? [] : [{ key, reason: message }];
  });
  return { failed, ...rest };
}

/** One failure per row: what follows a failed line of the same row is only its echo. */
function firstFailures(
  failed: readonly RowFailure[],
  isHarmless: (message: string) => boolean,
): readonly RowFailure[] {
  const first = new Map<string, RowFailure>();
  for (const failure of failed) {
    if (!first.has(failure.key) && !isHarmless(failure.reason)) first.set(failure.key, failure);
  }
  return [...first.values()];
}

/** What iproute2 says when a row that is to be removed is not there, or its device is not. */
export function isAlreadyGone(message: string): boolean {
  return /No such process|No such file or directory|ddress not found|Cannot assign requested address|Cannot find device|No such device/.test(
    message,
  );
}
