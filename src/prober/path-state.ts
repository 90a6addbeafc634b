// What is remembered of one path: the last echoes, the round trip, the size that passes; and when it is probed next. Pure.
import { doubtSizing, foldSize, isSearching, searchAnew, UNKNOWN_SIZING } from "./mtu-search.ts";
import type { Sizing } from "./mtu-search.ts";
import { ECHO_BYTES } from "./probe.ts";
import type { Probe, ProbeOutcome, ProbePath } from "./probe.ts";

/** Milliseconds of one monotonic clock. */
export type Millis = number;

export interface PathState {
  readonly path: ProbePath;
  readonly echoDueAt: Millis;
  readonly sizeDueAt: Millis;
  /** One bit per echo, the latest lowest: 1 is lost. */
  readonly lost: number;
  /** Echoes in `lost`, at most `ECHOES_KEPT`. */
  readonly echoes: number;
  readonly everAnswered: boolean;
  /** Of the last answer, and smoothed as TCP does (RFC 6298: 7/8 old, 1/8 new). */
  readonly rttMs: number | undefined;
  readonly smoothedRttMs: number | undefined;
  /** Why the last probe could not be sent. */
  readonly reason: string | undefined;
  readonly sizing: Sizing;
  /** When the size is looked for anew although nothing changed. */
  readonly searchAnewAt: Millis;
}

export const ECHOES_KEPT = 20;
/** So many lost in a row are "no answer". */
const SILENT_ECHOES = 3;
const SEARCH_ANEW_MS = 3_600_000;
/** Of an interval, so that a thousand daemons that started together do not stay in step. */
const JITTER = 0.1;

export interface Pace {
  /** Between echoes. */
  readonly intervalMs: number;
  /** Between full-sized probes where nothing is wrong. */
  readonly sizeIntervalMs: number;
  /** Between two probes of a search. */
  readonly searchStepMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** A new path is probed first at some moment of the first interval. */
export function startPath(path: ProbePath, now: Millis, { intervalMs, random }: Pace): PathState {
  const echoDueAt = now + random() * intervalMs;
  return {
    path,
    echoDueAt,
    sizeDueAt: echoDueAt,
    lost: 0,
    echoes: 0,
    everAnswered: false,
    rttMs: undefined,
    smoothedRttMs: undefined,
    reason: undefined,
    sizing: UNKNOWN_SIZING,
    searchAnewAt: now + SEARCH_ANEW_MS,
  };
}

/** The same way to a peer whose address, size or advice changed: what was measured of another address is worth nothing. */
export function repath(state: PathState, path: ProbePath): PathState {
  const { path: before } = state;
  if (before.address !== path.address) {
    const fresh = { lost: 0, echoes: 0, everAnswered: false, rttMs: undefined, smoothedRttMs: undefined };
    return { ...state, ...fresh, path, sizing: UNKNOWN_SIZING, sizeDueAt: state.echoDueAt };
  }
  if (before.fullBytes !== path.fullBytes)
    return { ...state, path, sizing: UNKNOWN_SIZING, sizeDueAt: state.echoDueAt };
  return { ...state, path };
}

/** Nothing can be said of sizes while small packets do not come back. */
export function mayAskSize({ echoes, lost }: PathState): boolean {
  return echoes > 0 && (lost & 1) === 0;
}

export function sizeBounds({ family, fullBytes }: ProbePath): {
  readonly least: number;
  readonly full: number;
} {
  return { least: Math.min(ECHO_BYTES[family], fullBytes), full: fullBytes };
}

/** A probe was sent: when is the next of its kind due? */
export function scheduleNext(
  state: PathState,
  purpose: Probe["purpose"],
  now: Millis,
  { intervalMs, sizeIntervalMs, searchStepMs, random }: Pace,
): PathState {
  const jittered = (ms: number): number => ms * (1 + JITTER * (2 * random() - 1));
  if (purpose === "echo") return { ...state, echoDueAt: now + jittered(intervalMs) };
  const sizeDueAt = now + jittered(isSearching(state.sizing) ? searchStepMs : sizeIntervalMs);
  if (now < state.searchAnewAt) return { ...state, sizeDueAt };
  return {
    ...state,
    sizeDueAt,
    sizing: searchAnew(state.sizing, sizeBounds(state.path)),
    searchAnewAt: now + jittered(SEARCH_ANEW_MS),
  };
}

/** Folds how a probe ended. */
export function foldOutcome(
  state: PathState,
  { purpose, bytes }: Pick<Probe, "purpose" | "bytes">,
  outcome: ProbeOutcome,
  now: Millis,
  pace: Pace,
): PathState {
  const rtt =
    outcome.kind === "answered" ? { rttMs: outcome.rttMs, smoothedRttMs: smooth(state, outcome.rttMs) } : {};
  if (purpose === "size")
    return { ...state, ...rtt, ...foldSizeOutcome(state, bytes, outcome, now + pace.searchStepMs) };
  const isLost = outcome.kind !== "answered";
  return {
    ...state,
    ...rtt,
    lost: ((state.lost << 1) | (isLost ? 1 : 0)) & (2 ** ECHOES_KEPT - 1),
    echoes: Math.min(ECHOES_KEPT, state.echoes + 1),
    everAnswered: state.everAnswered || !isLost,
    reason: outcome.kind === "lost" ? outcome.reason : undefined,
    sizing: isLost ? doubtSizing(state.sizing) : state.sizing,
  };
}

/** @param nextStepAt the next step of a search does not wait for the usual interval */
function foldSizeOutcome(
  state: PathState,
  bytes: number,
  outcome: ProbeOutcome,
  nextStepAt: Millis,
): Partial<PathState> {
  const sizing = foldSize(state.sizing, sizeBounds(state.path), bytes, outcome);
  return { sizing, ...(isSearching(sizing) && { sizeDueAt: Math.min(state.sizeDueAt, nextStepAt) }) };
}

function smooth({ smoothedRttMs }: PathState, rttMs: number): number {
  return smoothedRttMs === undefined ? rttMs : (7 * smoothedRttMs + rttMs) / 8;
}

export type PathCondition =
  | "waiting"
  | "ok"
  | "lossy"
  | "no answer"
  /** Big packets vanish and nobody says so. */
  | "black hole"
  /** Big packets do not pass, and a router or this host says so. */
  | "small MTU";

/** What a person should know of the path. */
export function conditionOf(state: PathState): PathCondition {
  const { sizing, echoes, path } = state;
  if (isSilent(state)) return state.everAnswered || !path.mayBeSilent ? "no answer" : "waiting";
  if (sizing.kind === "searching") return sizing.told === undefined ? "black hole" : "small MTU";
  if (sizing.kind === "limited") {
    const { told, passes } = sizing;
    const isTold = told !== undefined && (told.mtu === undefined || told.mtu <= passes);
    return isTold ? "small MTU" : "black hole";
  }
  if (!state.everAnswered) return "waiting";
  return echoes >= ECHOES_KEPT / 2 && lossOf(state) > LOSSY ? "lossy" : "ok";
}

/** Share of echoes above which loss is a trouble of its own: one lost of twenty is not. */
const LOSSY = 0.1;

function isSilent({ lost, echoes }: PathState): boolean {
  const latest = 2 ** SILENT_ECHOES - 1;
  return echoes >= SILENT_ECHOES && (lost & latest) === latest;
}

/** Share of the last echoes that were lost, 0 to 1. */
export function lossOf({ lost, echoes }: Pick<PathState, "lost" | "echoes">): number {
  let count = 0;
  for (let bits = lost; bits > 0; bits &= bits - 1) count += 1;
  return echoes === 0 ? 0 : count / echoes;
}
