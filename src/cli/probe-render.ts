// What the mesh prober found, for `status`: two columns of the peers' table and a line of facts. Pure.
import type { PeerStatus, StatusReport } from "../daemon/status-report.ts";

type PathStatus = NonNullable<PeerStatus["probes"]>[number];

export const PROBE_HEADS = ["UNDERLAY", "OVERLAY"] as const;

/** One cell per head; of both families the worse. */
export function probeCells({ probes = [] }: PeerStatus): readonly string[] {
  return (["underlay", "overlay"] as const).map((via) => {
    const paths = probes.filter((path) => path.via === via);
    const [worst] = paths.toSorted((a, b) => severityOf(b) - severityOf(a));
    return worst === undefined ? "-" : renderPath(worst);
  });
}

function severityOf({ condition }: PathStatus): number {
  return ["waiting", "ok", "small MTU", "lossy", "black hole", "no answer"].indexOf(condition);
}

function renderPath({ condition, rttMs, loss, passesBytes, fullBytes }: PathStatus): string {
  if (condition === "waiting") return "?";
  if (condition === "no answer") return "NO ANSWER";
  const parts = [rttMs === undefined ? "?" : `${rttMs.toPrecision(rttMs < 10 ? 2 : 3)} ms`];
  if (loss > 0) parts.push(`${Math.round(loss * 100)}% lost`);
  if (condition === "black hole") parts.push("BLACK HOLE");
  if (passesBytes !== undefined) {
    parts.push(passesBytes < fullBytes ? `only ${passesBytes} of ${fullBytes} B` : `${fullBytes} B`);
  }
  return parts.join(", ");
}

/** What is wrong on the way to a peer. */
export function probeProblems({ probes = [] }: PeerStatus): readonly string[] {
  return probes.flatMap(({ problem }) => problem ?? []);
}

/** The line of facts, "Probes". */
export function describeProbes(
  { transport, intervalSeconds, actualIntervalSeconds, note }: NonNullable<StatusReport["probes"]>,
  peers: readonly PeerStatus[],
): string {
  const troubled = peers.filter((peer) => probeProblems(peer).length > 0).length;
  const every =
    actualIntervalSeconds > intervalSeconds
      ? `every ${Math.ceil(actualIntervalSeconds)} s (${intervalSeconds} s would be too many packets)`
      : `every ${intervalSeconds} s`;
  const found =
    troubled === 0 ? "no trouble found" : `TROUBLE on the way to ${troubled} of ${peers.length} peers`;
  return `${every} by ${transport}, ${found}${note === undefined ? "" : `; ${note}`}`;
}
