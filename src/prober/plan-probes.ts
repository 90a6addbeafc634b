// Which probes to send now: what is due, the most overdue first, within a budget; and when to look again. Pure.
import { nextSize } from "./mtu-search.ts";
import { mayAskSize, sizeBounds } from "./path-state.ts";
import type { Millis, PathState } from "./path-state.ts";
import { ECHO_BYTES } from "./probe.ts";
import type { Probe } from "./probe.ts";

export interface ProbeBudget {
  /** Probes that may be sent now. */
  readonly now: number;
  /** Milliseconds until one more may be sent. */
  readonly perProbeMs: number;
  /** Looks are at least this far apart, so that one serves several probes and thousands of paths cost little. */
  readonly minLookMs: number;
}

export interface ProbePlan {
  readonly probes: readonly Probe[];
  /** When the next one is due or affordable; Infinity without paths. */
  readonly lookAgainAt: Millis;
}

interface Due {
  readonly state: PathState;
  readonly purpose: Probe["purpose"];
  readonly at: Millis;
}

/** One pass over all states; what is kept meanwhile is no more than the budget. */
export function planProbes(states: Iterable<PathState>, now: Millis, budget: ProbeBudget): ProbePlan {
  /** Rising by due time. */
  const chosen: Due[] = [];
  let nextDueAt = Number.POSITIVE_INFINITY;
  const consider = (state: PathState, purpose: Probe["purpose"], at: Millis): void => {
    if (at > now) {
      nextDueAt = Math.min(nextDueAt, at);
      return;
    }
    const last = chosen.at(-1);
    if (chosen.length >= budget.now) {
      // Somebody has to wait for the budget.
      nextDueAt = now + budget.perProbeMs;
      if (last === undefined || last.at <= at) return;
      chosen.pop();
    }
    const place = chosen.findLastIndex((other) => other.at <= at);
    chosen.splice(place + 1, 0, { state, purpose, at });
  };
  for (const state of states) {
    consider(state, "echo", state.echoDueAt);
    // A path whose echoes fail asks for its size as soon as they do not.
    if (mayAskSize(state)) consider(state, "size", state.sizeDueAt);
  }
  return { probes: chosen.map(probeOf), lookAgainAt: Math.max(nextDueAt, now + budget.minLookMs) };
}

function probeOf({ state: { path, sizing }, purpose }: Due): Probe {
  const bytes = purpose === "echo" ? ECHO_BYTES[path.family] : nextSize(sizing, sizeBounds(path));
  return { path, bytes, purpose };
}
