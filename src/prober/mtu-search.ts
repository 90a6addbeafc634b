// Which packet size passes a path: one full-sized probe now and then, and a binary search when it does not pass. Pure.
import type { Ip } from "../net/ip.ts";
import type { ProbeOutcome } from "./probe.ts";

/** Who says that a packet is too big: a router, or this host itself. A black hole says nothing. */
export interface ToldMtu {
  readonly by?: Ip;
  readonly mtu?: number;
}

export type Sizing =
  /** Full-sized probes have not been answered or refused yet. */
  | { readonly kind: "unknown"; readonly failures: number }
  | { readonly kind: "full" }
  /** Between a size that passes and one that does not. `failures` of the size that is being tried. */
  | {
      readonly kind: "searching";
      readonly passes: number;
      readonly fails: number;
      readonly failures: number;
      readonly told?: ToldMtu;
    }
  /** `passes` does, one byte more does not. `failures` of full-sized probes since, none of which is news. */
  | { readonly kind: "limited"; readonly passes: number; readonly told?: ToldMtu };

export const UNKNOWN_SIZING: Sizing = { kind: "unknown", failures: 0 };

export interface SizingBounds {
  /** A size that is known to pass: that of the echoes. */
  readonly least: number;
  readonly full: number;
}

/** So many in a row, with small ones answered meanwhile, are no accident. */
const FAILURES_TO_BELIEVE = 3;

/** Bytes of the next size probe. */
export function nextSize(sizing: Sizing, { full }: SizingBounds): number {
  if (sizing.kind !== "searching") return full;
  const { passes, fails, told } = sizing;
  // A router's word is tried first; it may be wrong, and it may be a lie.
  const mtu = told?.mtu;
  if (mtu !== undefined && mtu > passes && mtu < fails) return mtu;
  return Math.floor((passes + fails) / 2);
}

/** True while probes should follow each other quickly. */
export function isSearching(sizing: Sizing): boolean {
  return sizing.kind === "searching" || (sizing.kind === "unknown" && sizing.failures > 0);
}

/** A full-sized probe that passes again ends a limit; another limit is only found by searching anew from time to time. */
export function searchAnew(sizing: Sizing, { least, full }: SizingBounds): Sizing {
  if (sizing.kind !== "limited") return sizing;
  const { told } = sizing;
  return { kind: "searching", passes: least, fails: full, failures: 0, ...(told !== undefined && { told }) };
}

/** Small probes are lost too: what was lost of the large ones then says nothing about size. */
export function doubtSizing(sizing: Sizing): Sizing {
  return sizing.kind === "full" || sizing.kind === "limited" || sizing.failures === 0
    ? sizing
    : { ...sizing, failures: 0 };
}

/** Folds how a probe of `bytes` bytes ended. */
export function foldSize(sizing: Sizing, bounds: SizingBounds, bytes: number, outcome: ProbeOutcome): Sizing {
  if (outcome.kind === "answered") return foldPassed(sizing, bounds, bytes);
  // Sent by an older plan: it says nothing about the size that is tried now.
  if (bytes !== nextSize(sizing, bounds)) return sizing;
  if (outcome.kind === "too big") return foldTold(sizing, bounds, bytes, outcome);
  return foldLost(sizing, bounds, bytes);
}

function foldPassed(sizing: Sizing, { full }: SizingBounds, bytes: number): Sizing {
  if (bytes >= full) return { kind: "full" };
  if (sizing.kind !== "searching" || bytes <= sizing.passes) return sizing;
  return settle({ ...sizing, passes: bytes, failures: 0 });
}

function foldTold(
  sizing: Sizing,
  { least }: SizingBounds,
  bytes: number,
  { by, mtu }: Extract<ProbeOutcome, { kind: "too big" }>,
): Sizing {
  if (sizing.kind === "limited" && (mtu === undefined || mtu === sizing.told?.mtu)) return sizing;
  const passes = sizing.kind === "searching" ? sizing.passes : least;
  const told: ToldMtu = { ...(by !== undefined && { by }), ...(mtu !== undefined && { mtu }) };
  return settle({ kind: "searching", passes, fails: bytes, failures: 0, told });
}

function foldLost(sizing: Sizing, { least }: SizingBounds, bytes: number): Sizing {
  switch (sizing.kind) {
    case "limited":
      return sizing;
    case "full":
      return { kind: "unknown", failures: 1 };
    case "unknown":
    case "searching": {
      const failures = sizing.failures + 1;
      if (failures < FAILURES_TO_BELIEVE) return { ...sizing, failures };
      const passes = sizing.kind === "searching" ? sizing.passes : least;
      const told = sizing.kind === "searching" ? sizing.told : undefined;
      return settle({
        kind: "searching",
        passes,
        fails: bytes,
        failures: 0,
        ...(told !== undefined && { told }),
      });
    }
  }
}

function settle(search: Extract<Sizing, { kind: "searching" }>): Sizing {
  const { passes, fails, told } = search;
  // What the router names has been seen to pass: there is no need to try what lies above.
  if (fails - passes > 1 && told?.mtu !== passes) return search;
  return { kind: "limited", passes, ...(told !== undefined && { told }) };
}
