// Measures a connectivity matrix with real packets: ping at the full MTU with DF, and TCP to outside.
import type { Exec } from "../src/kernel/exec.ts";
import { parsePing } from "./plan-matrix.ts";
import type { Cell, CellResult, Matrix } from "./plan-matrix.ts";

/** Cells in flight at once. */
const CONCURRENCY = 8;
const PING_TIMEOUT_S = 1;
/** A lost first packet is no broken network: a cell fails when both tries do. */
const TRIES = 2;
/** Port of tell-source.ts. */
export const TELL_SOURCE_PORT = 8000;

export interface MeasureModules {
  /** The `Exec` of a pod. */
  readonly execOf: (pod: string) => Exec;
  /** Called after each cell. */
  readonly onCell?: (result: CellResult) => void;
}

/** Probes every cell. */
export async function measureMatrix(cells: readonly Cell[], modules: MeasureModules): Promise<Matrix> {
  const results: CellResult[] = [];
  const queue = cells.entries();
  const work = async (): Promise<void> => {
    for (const [i, cell] of queue) {
      const result = await measureCell(cell, modules.execOf(cell.from));
      results[i] = result;
      modules.onCell?.(result);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return { cells: results, ok: results.every(({ ok }) => ok) };
}

async function measureCell(cell: Cell, exec: Exec): Promise<CellResult> {
  const pinged = await pingCell(cell, exec);
  if (!pinged.ok || cell.expectedSource === undefined) return pinged;
  const script = "exec 3<>/dev/tcp/$1/$2 && cat <&3";
  const args = ["3", "bash", "-c", script, "source", cell.address, String(TELL_SOURCE_PORT)];
  const { stdout } = await exec("timeout", args, { allowFailure: true });
  const sourceSeen = stdout.trim().replace(/^::ffff:/, "");
  if (sourceSeen === cell.expectedSource) return { ...pinged, sourceSeen };
  const problem =
    sourceSeen === ""
      ? `TCP connection to ${cell.address}:${TELL_SOURCE_PORT}: no answer in 3 s, though ping gets one`
      : `seen from ${sourceSeen}, not from the node's ${cell.expectedSource}: no masquerade`;
  return { ...pinged, ok: false, problem, ...(sourceSeen === "" ? {} : { sourceSeen }) };
}

async function pingCell(cell: Cell, exec: Exec): Promise<CellResult> {
  const args = [
    "-n",
    "-c",
    "1",
    "-W",
    String(PING_TIMEOUT_S),
    "-M",
    "do",
    "-s",
    String(cell.payloadBytes),
    cell.address,
  ];
  let problem = "";
  for (let i = 0; i < TRIES; i += 1) {
    const { stdout, stderr } = await exec("ping", args, { allowFailure: true });
    const outcome = parsePing(`${stdout}\n${stderr}`);
    if (outcome.rttMs !== undefined) return { ...cell, ok: true, rttMs: outcome.rttMs };
    problem = outcome.problem ?? "no answer";
  }
  return { ...cell, ok: false, problem: `ping ${args.join(" ")}: ${problem}, ${TRIES} tries` };
}
