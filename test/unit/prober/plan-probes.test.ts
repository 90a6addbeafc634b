// When which probe goes out: evenly, within the budget, sizes only where small packets pass.
import { describe, expect, it } from "vitest";
import { parseIp } from "../../../src/net/ip.ts";
import { foldOutcome, repath, scheduleNext, startPath } from "../../../src/prober/path-state.ts";
import type { Pace, PathState } from "../../../src/prober/path-state.ts";
import { planProbes } from "../../../src/prober/plan-probes.ts";
import type { Probe, ProbeOutcome, ProbePath } from "../../../src/prober/probe.ts";

const PATH: ProbePath = {
  key: "10.244.2.0/24 overlay 4",
  subnetKey: "10.244.2.0/24",
  peer: "n2",
  via: "overlay",
  family: 4,
  address: parseIp("10.244.2.0"),
  fullBytes: 1450,
  mayBeSilent: false,
  cure: "look",
};
const PACE: Pace = { intervalMs: 1000, sizeIntervalMs: 300_000, searchStepMs: 500, random: () => 0 };
const PASSED: ProbeOutcome = { kind: "answered", rttMs: 1 };
const LOST: ProbeOutcome = { kind: "lost" };
const PLENTY = { now: 1000, perProbeMs: 1, minLookMs: 250 };

/** Numbers that only look like chance. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
}

/** Sends what is planned, lets every probe end at once, and tells what was sent when. */
function simulate(options: {
  readonly paths: number;
  readonly seconds: number;
  readonly intervalMs: number;
  readonly perSecond: number;
  readonly network: (probe: Probe) => ProbeOutcome;
}): readonly { readonly at: number; readonly probe: Probe }[] {
  const pace = { ...PACE, intervalMs: options.intervalMs, random: randomOf(7) };
  const states = new Map<string, PathState>();
  for (let i = 0; i < options.paths; i += 1) {
    const path = { ...PATH, key: `path ${i}` };
    states.set(path.key, startPath(path, 0, pace));
  }
  const sent: { at: number; probe: Probe }[] = [];
  let tokens = 0;
  const stepMs = 100;
  for (let now = 0; now < options.seconds * 1000; now += stepMs) {
    tokens = Math.min(options.perSecond / 10, tokens + (options.perSecond * stepMs) / 1000);
    const budget = { now: Math.floor(tokens), perProbeMs: 1000 / options.perSecond, minLookMs: 100 };
    const { probes } = planProbes(states.values(), now, budget);
    tokens -= probes.length;
    for (const probe of probes) {
      const { key } = probe.path;
      const state = states.get(key);
      if (state === undefined) throw new Error(`no ${key}`);
      const scheduled = scheduleNext(state, probe.purpose, now, pace);
      states.set(key, foldOutcome(scheduled, probe, options.network(probe), now, pace));
      sent.push({ at: now, probe });
    }
  }
  return sent;
}

function countBy(values: readonly (string | number)[]): readonly number[] {
  const counts = new Map<string | number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts.values()];
}

describe("a plan", () => {
  it("of nothing is nothing, and needs no second look", () => {
    expect(planProbes([], 0, PLENTY)).toEqual({ probes: [], lookAgainAt: Number.POSITIVE_INFINITY });
  });

  it("sends a small echo when it is due, and its size only after an answer", () => {
    const state = { ...startPath(PATH, 0, { ...PACE, intervalMs: 1000, random: () => 0.5 }) };
    expect(planProbes([state], 499, PLENTY)).toEqual({ probes: [], lookAgainAt: 749 });
    expect(planProbes([state], 0, PLENTY).lookAgainAt).toBe(500);
    expect(planProbes([state], 500, PLENTY).probes).toEqual([{ path: PATH, bytes: 84, purpose: "echo" }]);
    const echo = { purpose: "echo", bytes: 84 } as const;
    const answered = foldOutcome(state, echo, PASSED, 501, PACE);
    expect(planProbes([answered], 501, PLENTY).probes).toContainEqual({
      path: PATH,
      bytes: 1450,
      purpose: "size",
    });
    const lost = foldOutcome(state, echo, LOST, 501, PACE);
    expect(planProbes([lost], 501, PLENTY).probes).toEqual([{ path: PATH, bytes: 84, purpose: "echo" }]);
  });

  it("keeps to the budget, the most overdue first, and comes back when there is more", () => {
    const dueAgo = (ago: number): PathState =>
      startPath({ ...PATH, key: `${ago}` }, 1000 - ago, { ...PACE, random: () => 0 });
    const states = [30, 10, 20].map(dueAgo);
    const { probes, lookAgainAt } = planProbes(states, 1000, { ...PLENTY, now: 2, perProbeMs: 300 });
    expect(probes.map(({ path }) => path.key)).toEqual(["30", "20"]);
    expect(lookAgainAt).toBe(1300);
    expect(planProbes(states, 1000, { ...PLENTY, now: 0 }).probes).toEqual([]);
  });
});

describe("a thousand peers, two paths each", () => {
  const sent = simulate({
    paths: 2000,
    seconds: 120,
    intervalMs: 30_000,
    perSecond: 100,
    network: () => PASSED,
  });
  const echoes = sent.filter(({ probe }) => probe.purpose === "echo");

  it("never send more than the budget in any second", () => {
    expect(Math.max(...countBy(sent.map(({ at }) => Math.floor(at / 1000))))).toBeLessThanOrEqual(110);
  });

  it("are each probed once per interval, spread over it", () => {
    const perPath = countBy(echoes.map(({ probe }) => probe.path.key));
    expect(perPath).toHaveLength(2000);
    expect(Math.min(...perPath)).toBeGreaterThanOrEqual(3);
    expect(Math.max(...perPath)).toBeLessThanOrEqual(5);
    const perSecond = countBy(echoes.filter(({ at }) => at < 30_000).map(({ at }) => Math.floor(at / 1000)));
    expect(Math.min(...perSecond)).toBeGreaterThanOrEqual(30);
  });

  it("are asked for their size once: that is rare", () => {
    expect(sent.length - echoes.length).toBe(2000);
  });

  it("are all probed, only slower, where the interval is more than the budget allows", () => {
    const hurried = simulate({
      paths: 2000,
      seconds: 120,
      intervalMs: 5000,
      perSecond: 100,
      network: () => PASSED,
    });
    const perPath = countBy(hurried.map(({ probe }) => probe.path.key));
    expect(perPath).toHaveLength(2000);
    expect(Math.max(...perPath) - Math.min(...perPath)).toBeLessThanOrEqual(4);
    expect(hurried.length).toBeLessThanOrEqual(120 * 100);
  });

  it("with a black hole to each of two hundred stay within the budget, and all are found", () => {
    const limits = new Map<string, number>();
    const dark = simulate({
      paths: 200,
      seconds: 1200,
      intervalMs: 30_000,
      perSecond: 20,
      network: ({ bytes, path }) => {
        if (bytes > 1400) return LOST;
        limits.set(path.key, Math.max(limits.get(path.key) ?? 0, bytes));
        return PASSED;
      },
    });
    expect(dark.length).toBeLessThanOrEqual(1200 * 20);
    expect([...limits.values()].filter((bytes) => bytes !== 1400)).toEqual([]);
  });
});

describe("a path", () => {
  it("that leads to another address now forgets what it knew of the old one", () => {
    const pace = { ...PACE, intervalMs: 1000, random: () => 0 };
    const known = foldOutcome(startPath(PATH, 0, pace), { purpose: "echo", bytes: 84 }, PASSED, 1, PACE);
    expect(repath(known, { ...PATH, peer: "n3" })).toMatchObject({ echoes: 1, rttMs: 1 });
    expect(repath(known, { ...PATH, address: parseIp("10.244.2.1") })).toMatchObject({
      echoes: 0,
      rttMs: undefined,
    });
  });
});
