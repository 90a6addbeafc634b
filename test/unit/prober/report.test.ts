// What the prober says of a path in words and figures.
import { expect, it } from "vitest";
import { parseIp } from "../../../src/net/ip.ts";
import { foldOutcome, startPath } from "../../../src/prober/path-state.ts";
import type { Pace, PathState } from "../../../src/prober/path-state.ts";
import type { ProbeOutcome, ProbePath } from "../../../src/prober/probe.ts";
import { reportPath } from "../../../src/prober/report.ts";

const PATH: ProbePath = {
  key: "k",
  subnetKey: "10.244.2.0/24",
  peer: "n2",
  via: "overlay",
  family: 4,
  address: parseIp("10.244.2.0"),
  fullBytes: 1450,
  mayBeSilent: false,
  cure: "let UDP port 8472 through",
};
const PACE: Pace = { intervalMs: 1000, sizeIntervalMs: 300_000, searchStepMs: 500, random: () => 0 };
const PASSED: ProbeOutcome = { kind: "answered", rttMs: 2 };
const LOST: ProbeOutcome = { kind: "lost" };

function after(outcomes: readonly ProbeOutcome[], path: ProbePath = PATH): PathState {
  return outcomes.reduce(
    (state, outcome) => foldOutcome(state, { purpose: "echo", bytes: 84 }, outcome, 0, PACE),
    startPath(path, 0, { ...PACE, intervalMs: 1000, random: () => 0 }),
  );
}

const repeat = (outcome: ProbeOutcome, count: number): ProbeOutcome[] =>
  Array.from({ length: count }, () => outcome);

it("is waiting before the first answer, then well", () => {
  expect(reportPath(after([]))).toMatchObject({ condition: "waiting", loss: 0, echoes: 0 });
  expect(reportPath(after([PASSED]))).toEqual({
    via: "overlay",
    family: 4,
    address: "10.244.2.0",
    condition: "ok",
    rttMs: 2,
    loss: 0,
    echoes: 1,
    fullBytes: 1450,
  });
});

it("has no answer after three in a row, and says what to look at and why it could not be sent", () => {
  expect(reportPath(after([PASSED, LOST, LOST])).condition).toBe("ok");
  const down = reportPath(after([PASSED, LOST, LOST, { kind: "lost", reason: "Network is unreachable" }]));
  expect(down).toMatchObject({ condition: "no answer", loss: 0.75 });
  expect(down.problem).toBe(
    "overlay: no answer from 10.244.2.0 to ICMP echo (Network is unreachable): let UDP port 8472 through",
  );
});

it("takes silence for nothing where the address comes with the first pod, until it has answered once", () => {
  const path = { ...PATH, mayBeSilent: true };
  expect(reportPath(after(repeat(LOST, 5), path))).toMatchObject({ condition: "waiting" });
  expect(reportPath(after([PASSED, ...repeat(LOST, 5)], path))).toMatchObject({ condition: "no answer" });
});

it("counts the last twenty; one lost is no trouble, three are", () => {
  expect(reportPath(after([...repeat(LOST, 50), PASSED, ...repeat(PASSED, 18), LOST]))).toMatchObject({
    echoes: 20,
    loss: 0.05,
    condition: "ok",
  });
  const lossy = reportPath(after([...repeat(PASSED, 10), LOST, PASSED, LOST, PASSED, LOST, PASSED]));
  expect(lossy).toMatchObject({ condition: "lossy" });
  expect(lossy.problem).toContain("19% of the last 16 packets");
});

it("names a black hole while it looks for its size, and then the size", () => {
  const searching = {
    ...after([PASSED]),
    sizing: { kind: "searching", passes: 84, fails: 1450, failures: 0 },
  } as const;
  expect(reportPath(searching)).toMatchObject({ condition: "black hole", passesBytes: 84 });
  const found = reportPath({ ...after([PASSED]), sizing: { kind: "limited", passes: 1400 } });
  expect(found.problem).toBe(
    "overlay: black hole: packets of more than 1400 bytes to 10.244.2.0 vanish, though 1450 should pass: " +
      'raise the MTU of the network below, or lower the backend\'s MTU and restart the pods, and let ICMP "fragmentation needed" through',
  );
});

it("tells a black hole from a limit that a router names", () => {
  const told = { by: parseIp("192.0.2.254"), mtu: 1400 };
  const state = { ...after([PASSED]), sizing: { kind: "limited", passes: 1400, told } } as const;
  expect(reportPath(state)).toMatchObject({ condition: "small MTU", passesBytes: 1400 });
  expect(reportPath(state).problem).toContain("do not pass, says 192.0.2.254 (MTU 1400), though 1450 should");
  const lie = { ...state, sizing: { kind: "limited", passes: 1000, told } } as const;
  expect(reportPath(lie).condition).toBe("black hole");
});
