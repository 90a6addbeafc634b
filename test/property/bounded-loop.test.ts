// Any interleaving of requests, time, slow and failing passes: one pass at a time, and no request is ever lost.
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { createBoundedLoop } from "../../src/daemon/bounded-loop.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { runs } from "../support/property-runs.ts";

const MIN_MS = 100;
const MAX_MS = 10_000;

type Step =
  | { readonly do: "request"; readonly full: boolean }
  | { readonly do: "advance"; readonly ms: number }
  /** Ends the pass that runs, if one does. */
  | { readonly do: "finish"; readonly as: "ok" | "failed" | "thrown" };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant("request" as const), full: fc.boolean() }),
  fc.record({ do: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 3_000 }) }),
  fc.record({ do: fc.constant("finish" as const), as: fc.constantFrom("ok", "failed", "thrown") }),
);

class Harness {
  readonly clock = new FakeClock();
  readonly stop = new AbortController();
  /** Counts requests and pass starts in one order. */
  #order = 0;
  lastRequest = 0;
  lastFullRequest = 0;
  lastStart = 0;
  lastFullStart = 0;
  atOnce = 0;
  lastEndMs = Number.NEGATIVE_INFINITY;
  lastFullEndMs = 0;
  #finish: ((outcome: "ok" | "failed" | "thrown") => void) | undefined;
  readonly loop = createBoundedLoop(
    {
      run: ({ full }) => this.#run(full),
      minIntervalMs: MIN_MS,
      retryIntervalMs: 500,
      maxIntervalMs: MAX_MS,
      clock: this.clock,
    },
    this.stop.signal,
  );

  async #run(full: boolean): Promise<boolean> {
    this.atOnce += 1;
    expect(this.atOnce).toBe(1);
    expect(this.clock.now() - this.lastEndMs).toBeGreaterThanOrEqual(MIN_MS);
    this.#order += 1;
    this.lastStart = this.#order;
    if (full) this.lastFullStart = this.#order;
    const outcome = await new Promise<string>((resolve) => (this.#finish = resolve));
    this.#finish = undefined;
    this.atOnce -= 1;
    this.lastEndMs = this.clock.now();
    if (outcome === "thrown") throw new Error("thrown");
    if (full) this.lastFullEndMs = this.clock.now();
    return outcome === "ok";
  }

  async apply(step: Step): Promise<void> {
    if (step.do === "advance") return this.clock.advance(step.ms);
    if (step.do === "finish") {
      this.#finish?.(step.as);
      return this.clock.advance(0);
    }
    this.#order += 1;
    this.lastRequest = this.#order;
    if (step.full) this.lastFullRequest = this.#order;
    this.loop.request({ full: step.full });
  }

  /** Ends what runs and gives everything that is due the time to run. */
  async drain(): Promise<void> {
    for (let i = 0; i < 6; i += 1) {
      await this.apply({ do: "finish", as: "ok" });
      await this.clock.advance(MIN_MS);
    }
    await this.apply({ do: "finish", as: "ok" });
  }
}

it("runs one pass at a time and loses no request", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const harness = new Harness();
      for (const next of steps) await harness.apply(next);
      await harness.drain();
      expect(harness.lastStart).toBeGreaterThanOrEqual(harness.lastRequest);
      expect(harness.lastFullStart).toBeGreaterThanOrEqual(harness.lastFullRequest);
      expect(harness.clock.now() - harness.lastFullEndMs).toBeLessThanOrEqual(MAX_MS + 1);
      harness.stop.abort();
      await harness.apply({ do: "finish", as: "failed" });
      await harness.loop.stopped;
      expect(harness.clock.pendingTimers).toBe(0);
    }),
    { numRuns: runs(1_000) },
  );
});
