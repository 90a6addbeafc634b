// Which pairs a connectivity matrix probes, and how a cell is judged. Pure.

export interface MatrixPod {
  readonly name: string;
  readonly ip: string;
  /** Bytes. */
  readonly mtu: number;
  readonly node: { readonly name: string; readonly address: string };
}

export interface MatrixNode {
  readonly name: string;
  readonly address: string;
}

export type CellKind = "pod" | "node" | "outside";

/** One pair: a pod, and what it should reach. */
export interface Cell {
  readonly from: string;
  readonly to: string;
  readonly kind: CellKind;
  readonly address: string;
  /** ICMP payload that fills the pod's MTU: IP header 20 or 40, ICMP header 8 bytes. */
  readonly payloadBytes: number;
  /** Outside only: the source that must be seen there, which is the node's, not the pod's. */
  readonly expectedSource?: string;
}

export interface CellResult extends Cell {
  readonly ok: boolean;
  readonly rttMs?: number;
  readonly sourceSeen?: string;
  /** What was tried and what came of it; for a failed cell. */
  readonly problem?: string;
}

export interface Matrix {
  readonly cells: readonly CellResult[];
  readonly ok: boolean;
}

export const OUTSIDE = "outside";

/** Every pod to every other pod, to every node, and to outside. */
export function planCells(
  pods: readonly MatrixPod[],
  nodes: readonly MatrixNode[],
  outsideAddress: string,
): Cell[] {
  return pods.flatMap((from): Cell[] => {
    const cell = (kind: CellKind, to: string, address: string): Cell => ({
      from: from.name,
      to,
      kind,
      address,
      payloadBytes: from.mtu - (address.includes(":") ? 48 : 28),
    });
    return [
      ...pods.filter((to) => to.name !== from.name).map((to) => cell("pod", to.name, to.ip)),
      ...nodes.map((to) => cell("node", to.name, to.address)),
      { ...cell("outside", OUTSIDE, outsideAddress), expectedSource: from.node.address },
    ];
  });
}

export interface PingOutcome {
  readonly rttMs?: number;
  /** Why there was no answer, in ping's own words where it has some. */
  readonly problem?: string;
}

/** Reads the output of `ping -c 1` (iputils). */
export function parsePing(output: string): PingOutcome {
  const time = /time[=<]([\d.]+) ms/.exec(output)?.[1];
  if (time !== undefined) return { rttMs: Number(time) };
  const said = /(?:From \S+ icmp_seq=\d+ .*|.*[Mm]essage too long.*|.*unreachable.*)/
    .exec(output)?.[0]
    .trim();
  return { problem: said ?? "no answer" };
}
