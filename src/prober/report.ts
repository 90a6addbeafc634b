// What the prober tells: the figures of each path and, in words, what is wrong with it and what to do. Pure.
import type { Family } from "../net/ip.ts";
import { conditionOf, lossOf } from "./path-state.ts";
import type { PathCondition, PathState } from "./path-state.ts";
import type { ProbeTransport, Via } from "./probe.ts";

/** One path to a peer, for `status` and metrics. */
export interface PathReport {
  readonly via: Via;
  readonly family: Family;
  readonly address: string;
  readonly condition: PathCondition;
  /** Smoothed round trip, milliseconds; absent before the first answer. */
  readonly rttMs?: number;
  /** Of the last 20 echoes, 0 to 1. */
  readonly loss: number;
  readonly echoes: number;
  /** The packet size that should pass, bytes. */
  readonly fullBytes: number;
  /** The largest that was seen to pass with "don't fragment"; absent before that was tried. */
  readonly passesBytes?: number;
  /** What is wrong, with the cure. */
  readonly problem?: string;
}

export interface ProbeSummary {
  readonly transport: ProbeTransport["name"];
  /** Seconds between two echoes on a path, as wished. */
  readonly intervalSeconds: number;
  /** As the packet budget allows it for this number of paths. */
  readonly actualIntervalSeconds: number;
  /** Why it is not the transport one would want. */
  readonly note?: string;
  readonly sent: number;
  readonly answered: number;
}

export interface ProbeReport {
  readonly summary: ProbeSummary;
  /** By `subnetKey`. */
  readonly peers: ReadonlyMap<string, readonly PathReport[]>;
}

export function reportPath(state: PathState): PathReport {
  const { path, sizing } = state;
  const condition = conditionOf(state);
  const passesBytes =
    sizing.kind === "full" ? path.fullBytes : sizing.kind === "unknown" ? undefined : sizing.passes;
  const problem = describeProblem(state, condition);
  return {
    via: path.via,
    family: path.family,
    address: path.address,
    condition,
    ...(state.smoothedRttMs !== undefined && { rttMs: state.smoothedRttMs }),
    loss: lossOf(state),
    echoes: state.echoes,
    fullBytes: path.fullBytes,
    ...(passesBytes !== undefined && { passesBytes }),
    ...(problem !== undefined && { problem }),
  };
}

/** One sentence for log and status, without the peer's name. */
export function describeProblem(state: PathState, condition = conditionOf(state)): string | undefined {
  const { path, sizing } = state;
  switch (condition) {
    case "ok":
    case "waiting":
      return undefined;
    case "no answer": {
      const why = state.reason === undefined ? "" : ` (${state.reason})`;
      return `${path.via}: no answer from ${path.address} to ICMP echo${why}: ${path.cure}`;
    }
    case "lossy": {
      const percent = Math.round(lossOf(state) * 100);
      return `${path.via}: ${percent}% of the last ${state.echoes} packets to ${path.address} were lost: look for an overloaded link or a faulty cable`;
    }
    case "black hole":
      return (
        `${path.via}: black hole: ${describeLimit(sizing)} to ${path.address} vanish, though ${path.fullBytes} should pass: ` +
        `${sizeCure(state)}, and let ICMP "fragmentation needed" through`
      );
    case "small MTU":
      return `${path.via}: ${describeLimit(sizing)} to ${path.address} do not pass${describeTeller(sizing)}, though ${path.fullBytes} should: ${sizeCure(state)}`;
  }
}

function describeLimit(sizing: PathState["sizing"]): string {
  if (sizing.kind === "limited") return `packets of more than ${sizing.passes} bytes`;
  return sizing.kind === "searching" ? `packets of ${sizing.fails} bytes` : "big packets";
}

function describeTeller(sizing: PathState["sizing"]): string {
  const told = sizing.kind === "limited" || sizing.kind === "searching" ? sizing.told : undefined;
  if (told === undefined) return "";
  const mtu = told.mtu === undefined ? "" : ` (MTU ${told.mtu})`;
  return told.by === undefined ? `, says this host${mtu}` : `, says ${told.by}${mtu}`;
}

/** The headers of the tunnel come on top of what a pod sends, so the setting depends on where the limit is. */
function sizeCure({ path }: PathState): string {
  return path.via === "underlay"
    ? "raise the MTU on the way, or lower it on the nodes' uplinks and restart the pods"
    : "raise the MTU of the network below, or lower the backend's MTU and restart the pods";
}
