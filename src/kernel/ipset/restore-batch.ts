// Runs lines through `ipset restore`, which stops at the first error, so that one refused line does not lose the others.
import type { RowFailure } from "../../host/kernel-table.ts";
import type { SetRole } from "../../host/set-table.ts";
import { ExecError } from "../exec.ts";
import type { Exec } from "../exec.ts";

export interface RestoreLine {
  readonly text: string;
  readonly verb: "create" | "add" | "del" | "destroy";
  readonly set: string;
  /** Absent: `isolate`. */
  readonly role?: SetRole;
  /** What the line is about: members that the set lacks if it is refused. */
  readonly members: readonly string[];
  /** Known before anybody is asked: the line is not run. */
  readonly problem?: string;
}

/**
 * Bytes per process; ordinary changes are less. So much fits into the pipe at once: had the daemon to write in parts and were
 * killed in between, ipset would take the beginning of an address at the end of the first part for another address.
 */
const MAX_BYTES = 64 * 1024;
/** Milliseconds for one process. */
const TIMEOUT_MS = 60_000;
/** Refused lines per process after which the rest is given up until the next pass: a bound on time. */
const MAX_ATTEMPTS = 64;
/** Refused lines of one set after which its other lines are not tried. */
const MAX_REFUSALS_PER_SET = 4;

const ERROR_LINE = /Error in line (\d+): (.*)/;
/** Says nothing about the line: there is no right or no memory, or no ipset in the kernel. */
const SYSTEMIC =
  /Kernel error received|Operation not permitted|Cannot open session|[Mm]emory|protocol version/;
const ABSENT = /does not exist|not in set|it's not added/;

/** What was refused so far, in one call. */
interface Refusals {
  readonly failures: RowFailure[];
  readonly perSet: Map<string, number>;
  /** Members that a set which isolates should have and has not, or should not have and has. */
  readonly members: Set<string>;
}

/**
 * After an error all other lines are run again, those before it too: when ipset ends with an error it may not have sent
 * them yet (it collects lines). So every line must be one that can be repeated. Lines come after what they rely on: a
 * member that a set refuses is withheld from what follows and could open.
 * @throws {ExecError} if ipset cannot be used at all
 */
export async function runRestore(exec: Exec, lines: Iterable<RestoreLine>): Promise<readonly RowFailure[]> {
  const refusals: Refusals = { failures: [], perSet: new Map(), members: new Set() };
  let batch: RestoreLine[] = [];
  let bytes = 0;
  for (const line of lines) {
    if (line.problem !== undefined) {
      refuse(refusals, line, line.problem);
      continue;
    }
    if (bytes + line.text.length >= MAX_BYTES) {
      await runBatch(exec, batch, refusals);
      batch = [];
      bytes = 0;
    }
    if (!isWanted(refusals, line)) continue;
    batch.push(line);
    bytes += line.text.length + 1;
  }
  if (batch.length > 0) await runBatch(exec, batch, refusals);
  return refusals.failures;
}

async function runBatch(exec: Exec, batch: readonly RestoreLine[], refusals: Refusals): Promise<void> {
  let lines = batch;
  for (let attempt = 1; lines.length > 0; attempt += 1) {
    const error = await restore(exec, lines);
    if (error === undefined) return;
    const { index, line, reason } = error;
    const isGone = (line.verb === "del" || line.verb === "destroy") && ABSENT.test(reason);
    if (!isGone) refuse(refusals, line, `${reason} (${line.text})`);
    if (attempt === MAX_ATTEMPTS) {
      for (const rest of lines.slice(index))
        refuse(refusals, rest, `not tried, since too much else was refused`);
      return;
    }
    // Nothing is there to be removed from a set that is not there.
    const isMoot = (other: RestoreLine): boolean =>
      isGone && other.set === line.set && other.verb === line.verb;
    lines = [
      ...lines.slice(0, index),
      ...lines.slice(index + 1).filter((other) => !isMoot(other) && isWanted(refusals, other)),
    ];
  }
}

interface RestoreError {
  readonly index: number;
  readonly line: RestoreLine;
  readonly reason: string;
}

async function restore(exec: Exec, lines: readonly RestoreLine[]): Promise<RestoreError | undefined> {
  const input = lines.map(({ text }) => `${text}\n`).join("");
  const options = { input, timeoutMs: TIMEOUT_MS, allowFailure: true };
  const { exitCode, stderr, stdout } = await exec("ipset", ["-exist", "restore"], options);
  if (exitCode === 0) return undefined;
  const said = (stderr || stdout).trim();
  const [, number = "", reason = ""] = ERROR_LINE.exec(said) ?? [];
  const index = Number(number) - 1;
  const line = lines[index];
  if (line === undefined || SYSTEMIC.test(reason))
    throw new ExecError(`ipset restore: exit ${exitCode}: ${said}`);
  return { index, line, reason };
}

/** One failure per set: the first says what happened. */
function refuse(refusals: Refusals, line: RestoreLine, reason: string): void {
  const count = refusals.perSet.get(line.set) ?? 0;
  if (count === 0) refusals.failures.push({ key: line.set, reason });
  // Without the set none of its lines can succeed.
  refusals.perSet.set(line.set, count + (line.verb === "create" ? MAX_REFUSALS_PER_SET : 1));
  if (line.role !== "allow") for (const member of line.members) refusals.members.add(member);
}

/** Refuses what cannot or must not be run any more. */
function isWanted(refusals: Refusals, line: RestoreLine): boolean {
  if (refusals.perSet.size === 0) return true;
  if ((refusals.perSet.get(line.set) ?? 0) >= MAX_REFUSALS_PER_SET) {
    refuse(refusals, line, "");
    return false;
  }
  // Taking a peer away closes; creating opens nothing, as no rule names a new set.
  if (line.verb === "create" || (line.verb === "del" && line.role === "allow")) return true;
  const withheld = line.members.find((member) => refusals.members.has(member));
  if (withheld === undefined) return true;
  refuse(refusals, line, `${withheld} is withheld, since a set before this one refused it`);
  return false;
}
