// When passes run: coalescing, retries with back-off, full passes, stopping.
import { describe, expect, it } from "vitest";
import { createBoundedLoop } from "../../../src/daemon/bounded-loop.ts";
import { FakeClock } from "../../support/fake-clock.ts";

type Outcome = boolean | Error;

function setUp({ outcomes = [], passMs = 0 }: { outcomes?: Outcome[]; passMs?: number } = {}) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const passes: { at: number; full: boolean }[] = [];
  const errors: unknown[] = [];
  const loop = createBoundedLoop(
    {
      minIntervalMs: 100,
      retryIntervalMs: 1_000,
      maxRetryIntervalMs: 5_000,
      maxIntervalMs: 300_000,
      clock,
      onError: (error) => errors.push(error),
      run: async ({ full }) => {
        passes.push({ at: clock.now(), full });
        if (passMs > 0) await new Promise<void>((resolve) => clock.after(passMs, resolve));
        const outcome = outcomes.shift() ?? true;
        if (outcome instanceof Error) throw outcome;
        return outcome;
      },
    },
    stop.signal,
  );
  return { clock, loop, passes, errors, stop, starts: () => passes.map(({ at }) => at) };
}

describe("requests", () => {
  it("the first runs at once and is full", async () => {
    const { clock, loop, passes } = setUp();
    loop.request();
    await clock.advance(0);
    expect(passes).toEqual([{ at: 0, full: true }]);
  });

  it("in a row make one pass", async () => {
    const { clock, loop, starts } = setUp();
    loop.request();
    loop.request();
    await clock.advance(0);
    loop.request();
    loop.request();
    await clock.advance(1_000);
    expect(starts()).toEqual([0, 100]);
  });

  it("during a pass make one more after it", async () => {
    const { clock, loop, starts } = setUp({ passMs: 500 });
    loop.request();
    await clock.advance(200);
    loop.request();
    loop.request();
    await clock.advance(2_000);
    expect(starts()).toEqual([0, 600]);
  });

  it("after a rest run at once", async () => {
    const { clock, loop, starts } = setUp();
    loop.request();
    await clock.advance(5_000);
    loop.request();
    await clock.advance(0);
    expect(starts()).toEqual([0, 5_000]);
  });

  it("for a full pass get one", async () => {
    const { clock, loop, passes } = setUp();
    loop.request();
    await clock.advance(1_000);
    loop.request({ full: true });
    loop.request();
    await clock.advance(1_000);
    expect(passes.map(({ full }) => full)).toEqual([true, true]);
  });
});

describe("failures", () => {
  it("are retried, doubling up to the bound, and from the start after a success", async () => {
    const { clock, loop, starts } = setUp({
      outcomes: [false, false, false, false, false, true, false, true],
    });
    loop.request();
    await clock.advance(25_000);
    expect(starts()).toEqual([0, 1_000, 3_000, 7_000, 12_000, 17_000]);
    loop.request();
    await clock.advance(10_000);
    expect(starts().slice(6)).toEqual([25_000, 26_000]);
  });

  it("do not delay a request, and requests do not lengthen the wait", async () => {
    const { clock, loop, starts } = setUp({ outcomes: [false, false, false, true] });
    loop.request();
    await clock.advance(200);
    loop.request();
    await clock.advance(200);
    loop.request();
    await clock.advance(5_000);
    expect(starts()).toEqual([0, 200, 400, 1_400]);
  });

  it("by a throw are told and leave the full pass due", async () => {
    const { clock, loop, passes, errors } = setUp({ outcomes: [new Error("no iptables"), true] });
    loop.request();
    await clock.advance(2_000);
    expect(passes).toEqual([
      { at: 0, full: true },
      { at: 1_000, full: true },
    ]);
    expect(errors).toHaveLength(1);
  });

  it("by a returned false do not make retries full: one bad row must not list the host again and again", async () => {
    const { clock, loop, passes } = setUp({ outcomes: [false, true] });
    loop.request();
    await clock.advance(2_000);
    expect(passes.map(({ full }) => full)).toEqual([true, false]);
  });
});

describe("full passes", () => {
  it("come every maximum interval, whatever else runs", async () => {
    const { clock, loop, passes } = setUp();
    loop.request();
    await clock.advance(200_000);
    loop.request();
    await clock.advance(500_000);
    expect(passes).toEqual([
      { at: 0, full: true },
      { at: 200_000, full: false },
      { at: 300_000, full: true },
      { at: 600_000, full: true },
    ]);
  });

  it("come without any request too", async () => {
    const { clock, starts } = setUp();
    await clock.advance(300_000);
    expect(starts()).toEqual([300_000]);
  });
});

describe("stopping", () => {
  it("waits for the running pass and starts no other", async () => {
    const { clock, loop, starts, stop } = setUp({ passMs: 500, outcomes: [false] });
    loop.request();
    await clock.advance(100);
    let stopped = false;
    void loop.stopped.then(() => (stopped = true));
    loop.request();
    stop.abort();
    await clock.advance(100);
    expect(stopped).toBe(false);
    await clock.advance(600_000);
    expect(stopped).toBe(true);
    expect(starts()).toEqual([0]);
    loop.request();
    expect(clock.pendingTimers).toBe(0);
  });

  it("is at once when idle, and leaves no timer", async () => {
    const { clock, loop, stop } = setUp();
    stop.abort();
    await loop.stopped;
    expect(clock.pendingTimers).toBe(0);
  });

  it("holds for a signal that was given before", async () => {
    const clock = new FakeClock();
    const run = async () => true;
    const loop = createBoundedLoop(
      { run, minIntervalMs: 1, retryIntervalMs: 1, maxIntervalMs: 1, clock },
      AbortSignal.abort(),
    );
    await loop.stopped;
    expect(clock.pendingTimers).toBe(0);
  });
});
