// The search for the size that passes, against paths of every limit, with and without a router that speaks.
import { describe, expect, it } from "vitest";
import {
  doubtSizing,
  foldSize,
  isSearching,
  nextSize,
  searchAnew,
  UNKNOWN_SIZING,
} from "../../../src/prober/mtu-search.ts";
import type { Sizing } from "../../../src/prober/mtu-search.ts";
import type { ProbeOutcome } from "../../../src/prober/probe.ts";

const BOUNDS = { least: 84, full: 1500 };
const PASSED: ProbeOutcome = { kind: "answered", rttMs: 1 };
const LOST: ProbeOutcome = { kind: "lost" };

/** Probes until the search has ended. */
function search(from: Sizing, path: (bytes: number) => ProbeOutcome): { sizing: Sizing; probes: number } {
  let sizing = from;
  let probes = 0;
  do {
    const bytes = nextSize(sizing, BOUNDS);
    sizing = foldSize(sizing, BOUNDS, bytes, path(bytes));
    probes += 1;
  } while (isSearching(sizing) && probes < 1000);
  return { sizing, probes };
}

const silent = (limit: number) => (bytes: number) => (bytes <= limit ? PASSED : LOST);

describe("a search", () => {
  it("is one probe where the full size passes", () => {
    expect(search(UNKNOWN_SIZING, silent(1500))).toEqual({ sizing: { kind: "full" }, probes: 1 });
  });

  it.each([84, 85, 576, 1279, 1400, 1499])(
    "finds a silent limit of %i bytes in at most 40 probes",
    (limit) => {
      const { sizing, probes } = search(UNKNOWN_SIZING, silent(limit));
      expect(sizing).toEqual({ kind: "limited", passes: limit });
      expect(probes).toBeLessThanOrEqual(40);
    },
  );

  it("tries first what a router names, and believes it when it passes", () => {
    const told = { by: "192.0.2.1", mtu: 1400 };
    const path = (bytes: number) => (bytes <= 1400 ? PASSED : ({ kind: "too big", ...told } as ProbeOutcome));
    expect(search(UNKNOWN_SIZING, path)).toEqual({
      sizing: { kind: "limited", passes: 1400, told },
      probes: 2,
    });
  });

  it("finds the truth where a router lies", () => {
    const path = (bytes: number): ProbeOutcome =>
      bytes > 1400 ? { kind: "too big", mtu: 1400 } : bytes > 1000 ? LOST : PASSED;
    expect(search(UNKNOWN_SIZING, path).sizing).toEqual({
      kind: "limited",
      passes: 1000,
      told: { mtu: 1400 },
    });
  });

  it("needs no router where this host refuses", () => {
    const path = (bytes: number): ProbeOutcome => (bytes > 1400 ? { kind: "too big" } : PASSED);
    expect(search(UNKNOWN_SIZING, path).sizing).toEqual({ kind: "limited", passes: 1400, told: {} });
  });

  it("of a limit follows it in both directions, and its end", () => {
    const { sizing } = search(UNKNOWN_SIZING, silent(1400));
    expect(search(searchAnew(sizing, BOUNDS), silent(1300)).sizing).toEqual({
      kind: "limited",
      passes: 1300,
    });
    expect(search(searchAnew(sizing, BOUNDS), silent(1450)).sizing).toEqual({
      kind: "limited",
      passes: 1450,
    });
    expect(foldSize(sizing, BOUNDS, 1500, LOST)).toBe(sizing);
    expect(foldSize(sizing, BOUNDS, 1500, PASSED)).toEqual({ kind: "full" });
  });

  it("does not begin for one or two lost packets, nor where small ones are lost too", () => {
    let sizing: Sizing = { kind: "full" };
    for (let i = 0; i < 2; i += 1) sizing = foldSize(sizing, BOUNDS, 1500, LOST);
    expect(sizing.kind).toBe("unknown");
    sizing = doubtSizing(sizing);
    for (let i = 0; i < 2; i += 1) sizing = foldSize(sizing, BOUNDS, 1500, LOST);
    expect(sizing.kind).toBe("unknown");
    expect(foldSize(sizing, BOUNDS, 1500, LOST)).toMatchObject({
      kind: "searching",
      passes: 84,
      fails: 1500,
    });
  });

  it("is not led astray by an answer that belongs to an earlier step", () => {
    const sizing: Sizing = { kind: "searching", passes: 800, fails: 1500, failures: 0 };
    expect(foldSize(sizing, BOUNDS, 1300, LOST)).toBe(sizing);
    expect(foldSize(sizing, BOUNDS, 700, PASSED)).toBe(sizing);
    expect(foldSize(sizing, BOUNDS, 1200, PASSED)).toMatchObject({ passes: 1200 });
  });
});
