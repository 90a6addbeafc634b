// The kernel's connection tracking table, by the conntrack tool: finds flows of given pods, and ends exactly those it is given.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Flow } from "../net/flow.ts";
import { FAMILIES } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import { deleteArguments, listArguments, mentionsSource, parseFlow } from "./conntrack-codec.ts";
import { ExecError } from "./exec.ts";
import type { Exec, SpawnLines } from "./exec.ts";

/** What could not be done, and the cure; absent if all went well. */
interface Outcome {
  readonly problem?: string;
}
export interface FoundFlows extends Outcome {
  readonly flows: readonly Flow[];
}
export interface EndedFlows extends Outcome {
  /** Flows that were there. One that has ended by itself meanwhile is no problem. */
  readonly ended: number;
}

export interface ConntrackTable {
  /**
   * Flows that begin or end (after translation) at one of the addresses, and that `isWanted`. The table is read line by line
   * and only what is wanted is kept: it can have a million entries. Never throws.
   */
  find(addresses: ReadonlySet<Ip>, isWanted: (flow: Flow) => boolean): Promise<FoundFlows>;
  /**
   * Deletes the flows, and with each those that differ only in the port or the ICMP id of the end that began: policies
   * cannot tell them apart, and a thousand clients' requests are one deletion. Their next packets are judged as those of new
   * connections. Never throws.
   */
  end(flows: readonly Flow[]): Promise<EndedFlows>;
}

/** Deletions per process: each walks the whole table, some 10 ms where it is large (conntrack.c, CT_DELETE). */
const MAX_PER_BATCH = 100;
const TIMEOUT_MS = 60_000;

export function createConntrackTable(modules: {
  readonly exec: Exec;
  readonly spawnLines: SpawnLines;
}): ConntrackTable {
  return {
    async find(addresses, isWanted) {
      const found: Flow[] = [];
      const problems: string[] = [];
      const families = FAMILIES.filter((family) =>
        [...addresses].some((ip) => ip.includes(":") === (family === 6)),
      );
      for (const family of families) {
        const problem = await readTable(modules.spawnLines, family, (line) => {
          if (!mentionsSource(line, addresses)) return;
          const flow = parseFlow(line);
          if (flow !== undefined && isWanted(flow)) found.push(flow);
        });
        if (problem !== undefined) problems.push(problem);
      }
      return { flows: found, ...(problems[0] !== undefined && { problem: problems[0] }) };
    },
    end: (flows) => endFlows(modules.exec, flows),
  };
}

/** Undefined is success. */
async function readTable(
  spawnLines: SpawnLines,
  family: Family,
  onLine: (line: string) => void,
): Promise<string | undefined> {
  const complaints: string[] = [];
  const { ended } = spawnLines("conntrack", listArguments(family), {
    signal: AbortSignal.timeout(TIMEOUT_MS),
    onLine,
    onErrorLine: (line) => complaints.push(line),
  });
  const end = await ended;
  return end === "exit 0" ? undefined : explain(`${end}: ${complaints.join("; ")}`);
}

async function endFlows(exec: Exec, flows: readonly Flow[]): Promise<EndedFlows> {
  const named = flows.map(deleteArguments).filter((line) => line !== undefined);
  const lines = [...new Map(named.map((line) => [line.join(" "), line])).values()];
  let ended = 0;
  try {
    for (let at = 0; at < lines.length; at += MAX_PER_BATCH)
      ended += await deleteBatch(exec, lines.slice(at, at + MAX_PER_BATCH));
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return { ended, problem: explain(error.message) };
  }
  const unnamed = flows.length - named.length;
  return unnamed === 0
    ? { ended }
    : {
        ended,
        problem: `${unnamed} flows are of protocols that conntrack cannot delete one by one; they go on`,
      };
}

/** The number of flows that were there: the tool prints each one. */
async function deleteBatch(exec: Exec, lines: readonly (readonly string[])[]): Promise<number> {
  const options = { timeoutMs: TIMEOUT_MS, allowFailure: true };
  const batch = await withFile(lines.map((line) => `${line.join(" ")}\n`).join(""), (path) =>
    exec("conntrack", ["-R", path], options),
  );
  if (batch?.exitCode === 0) return countLines(batch.stdout);
  // conntrack-tools before 1.4.7 knows no batches. A flow that is gone by now is exit 1 without harm.
  let ended = 0;
  for (const line of lines) {
    const { exitCode, stdout, stderr } = await exec("conntrack", line, options);
    if (exitCode !== 0 && !stderr.includes("0 flow entries"))
      throw new ExecError(`conntrack -D: ${stderr.trim()}`);
    ended += countLines(stdout);
  }
  return ended;
}

/** A file, since the tool opens /dev/stdin by name, which our pipes, being sockets, do not bear. Undefined: no room for one. */
async function withFile<T>(text: string, use: (path: string) => Promise<T>): Promise<T | undefined> {
  let directory: string;
  try {
    directory = await mkdtemp(join(tmpdir(), "flanneld-conntrack-"));
  } catch {
    return undefined;
  }
  try {
    const path = join(directory, "flows");
    await writeFile(path, text);
    return await use(path);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function countLines(text: string): number {
  return text.split("\n").filter(Boolean).length;
}

function explain(said: string): string {
  return /ENOENT|: not found/.test(said)
    ? "conntrack is not installed, so connections that a policy now denies go on until they end by themselves; " +
        "install it (Debian, Ubuntu: conntrack; Alpine, Fedora: conntrack-tools)"
    : `conntrack failed, so connections that a policy now denies may go on: ${said}`;
}
