// The mesh prober: asks the planner what is due, sends it, folds the answers, and logs what changed.
import type { Logger } from "../net/logger.ts";
import { conditionOf, foldOutcome, repath, scheduleNext, startPath } from "./path-state.ts";
import type { Pace, PathCondition, PathState } from "./path-state.ts";
import { planProbes } from "./plan-probes.ts";
import type { Probe, ProbePath, ProbeTransport } from "./probe.ts";
import { describeProblem, reportPath } from "./report.ts";
import type { PathReport, ProbeReport } from "./report.ts";
import { createTokenBucket } from "./token-bucket.ts";

/** Size probes come this many intervals apart, and not more often than once a minute. */
const SIZE_EVERY_INTERVALS = 10;
const MIN_SIZE_INTERVAL_MS = 60_000;
/** How often the paths are asked for: a new peer waits that long for its first probe. */
const REFRESH_MS = 2_000;
/** Probes that go out at once, as a share of what a second allows. */
const BURST_SHARE = 0.3;

export interface ProberTiming {
  /** An answer that comes later counts as lost, milliseconds. */
  readonly answerTimeoutMs: number;
  readonly sizeIntervalMs: number;
  readonly searchStepMs: number;
  /** Between two looks at what is due. */
  readonly lookMs: number;
}

export interface ProberOptions {
  /** Between two echoes on a path, milliseconds. */
  readonly intervalMs: number;
  /** All paths as they are now. Called every two seconds: the same array means that nothing changed. */
  readonly paths: () => readonly ProbePath[];
  readonly timing?: Partial<ProberTiming>;
  /** Why the transport is a second choice. */
  readonly note?: string | undefined;
}

export interface ProberModules {
  /** Closed when the prober ends. */
  readonly transport: ProbeTransport;
  readonly log: Logger;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  readonly random?: () => number;
}

export class Prober {
  readonly #options: ProberOptions;
  readonly #transport: ProbeTransport;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #pace: Pace;
  readonly #answerTimeoutMs: number;
  readonly #lookMs: number;
  readonly #states = new Map<string, PathState>();
  /** Conditions that were logged, so that a line tells a change. */
  readonly #logged = new Map<string, string>();
  #paths: readonly ProbePath[] = [];
  #inFlight = 0;
  #sent = 0;
  #answered = 0;

  constructor(options: ProberOptions, { transport, log, now, random }: ProberModules) {
    this.#options = options;
    this.#transport = transport;
    this.#log = log;
    this.#now = now ?? (() => performance.now());
    const { intervalMs, timing } = options;
    this.#lookMs = timing?.lookMs ?? 250;
    this.#answerTimeoutMs = timing?.answerTimeoutMs ?? 2_000;
    this.#pace = {
      intervalMs,
      sizeIntervalMs:
        timing?.sizeIntervalMs ?? Math.max(MIN_SIZE_INTERVAL_MS, SIZE_EVERY_INTERVALS * intervalMs),
      searchStepMs: timing?.searchStepMs ?? 500,
      random: random ?? Math.random,
    };
  }

  /** Probes until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    const { maxPerSecond, maxInFlight } = this.#transport;
    const bucket = createTokenBucket(maxPerSecond, Math.max(1, maxPerSecond * BURST_SHARE));
    let refreshAt = 0;
    try {
      while (!signal.aborted) {
        const now = this.#now();
        if (now >= refreshAt) {
          this.#refresh(now);
          refreshAt = now + REFRESH_MS;
        }
        const affordable = Math.min(bucket.available(now), maxInFlight - this.#inFlight);
        const budget = { now: affordable, perProbeMs: bucket.periodMs, minLookMs: this.#lookMs };
        const { probes, lookAgainAt } = planProbes(this.#states.values(), now, budget);
        bucket.take(probes.length);
        for (const probe of probes) this.#launch(probe, now, signal);
        await pause(Math.min(lookAgainAt, refreshAt) - this.#now(), signal);
      }
    } finally {
      this.#transport.close();
    }
  }

  report(): ProbeReport {
    const { intervalMs, note } = this.#options;
    const peers = new Map<string, PathReport[]>();
    for (const state of this.#states.values()) {
      const { subnetKey } = state.path;
      const reports = peers.get(subnetKey);
      if (reports === undefined) peers.set(subnetKey, [reportPath(state)]);
      else reports.push(reportPath(state));
    }
    const leastInterval = this.#states.size / this.#transport.maxPerSecond;
    const summary = {
      transport: this.#transport.name,
      intervalSeconds: intervalMs / 1000,
      actualIntervalSeconds: Math.max(intervalMs / 1000, leastInterval),
      ...(note !== undefined && { note }),
      sent: this.#sent,
      answered: this.#answered,
    };
    return { summary, peers };
  }

  #refresh(now: number): void {
    const paths = this.#options.paths();
    if (paths === this.#paths) return;
    this.#paths = paths;
    const keys = new Set<string>();
    for (const path of paths) {
      keys.add(path.key);
      const known = this.#states.get(path.key);
      if (known?.path === path) continue;
      this.#states.set(
        path.key,
        known === undefined ? startPath(path, now, this.#pace) : repath(known, path),
      );
    }
    for (const key of this.#states.keys()) {
      if (keys.has(key)) continue;
      this.#states.delete(key);
      this.#logged.delete(key);
    }
  }

  #launch(probe: Probe, now: number, signal: AbortSignal): void {
    const { key, address } = probe.path;
    const state = this.#states.get(key);
    if (state === undefined) return;
    this.#states.set(key, scheduleNext(state, probe.purpose, now, this.#pace));
    this.#inFlight += 1;
    this.#sent += 1;
    void this.#transport.probe(address, probe.bytes, this.#answerTimeoutMs).then((outcome) => {
      this.#inFlight -= 1;
      if (outcome.kind === "answered") this.#answered += 1;
      const current = this.#states.get(key);
      // Gone meanwhile, or at another address.
      if (signal.aborted || current === undefined || current.path.address !== address) return;
      const folded = foldOutcome(current, probe, outcome, this.#now(), this.#pace);
      this.#states.set(key, folded);
      this.#logChange(folded);
    });
  }

  #logChange(state: PathState): void {
    const { path, sizing } = state;
    const condition = conditionOf(state);
    if (condition === "waiting") return;
    const was = this.#logged.get(path.key);
    // A limit is news again when its size is known.
    const is = sizing.kind === "limited" ? `${condition} ${sizing.passes}` : condition;
    if (was === is || (was === undefined && condition === "ok")) return;
    // A search that is repeated from time to time is no news.
    if (sizing.kind === "searching" && was?.startsWith(`${condition} `)) return;
    if (isOver(condition)) this.#logged.delete(path.key);
    else this.#logged.set(path.key, is);
    this.#tell(state, condition);
  }

  #tell(state: PathState, condition: PathCondition): void {
    const { peer, via, address, fullBytes } = state.path;
    const { sizing } = state;
    const fields = {
      peer,
      via,
      address,
      condition,
      fullBytes,
      ...(sizing.kind === "limited" && { passesBytes: sizing.passes }),
    };
    if (isOver(condition)) this.#log.info(fields, `probe of ${peer} through the ${via}: all is well again`);
    else this.#log.warn(fields, `probe of ${peer}: ${describeProblem(state, condition)}`);
  }
}

function isOver(condition: PathCondition): boolean {
  return condition === "ok";
}

/** Ends early with the signal; never rejects. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, ms));
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
}
