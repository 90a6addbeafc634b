// A clock that tests turn by hand.
import type { Clock } from "../../src/daemon/clock.ts";

export class FakeClock implements Clock {
  #nowMs = 0;
  #nextId = 0;
  readonly #timers = new Map<number, { readonly at: number; readonly callback: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    this.#nextId += 1;
    const id = this.#nextId;
    this.#timers.set(id, { at: this.#nowMs + Math.max(0, delayMs), callback });
    return () => void this.#timers.delete(id);
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Turns the clock on, firing timers in order; promises settle after each. */
  async advance(byMs: number): Promise<void> {
    const until = this.#nowMs + byMs;
    for (;;) {
      const due = [...this.#timers]
        .filter(([, { at }]) => at <= until)
        .sort(([a, x], [b, y]) => x.at - y.at || a - b);
      const first = due[0];
      if (first === undefined) break;
      const [id, { at, callback }] = first;
      this.#timers.delete(id);
      this.#nowMs = Math.max(this.#nowMs, at);
      callback();
      await settle();
    }
    this.#nowMs = until;
    await settle();
  }
}

/** Lets promises that are ready run on. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
