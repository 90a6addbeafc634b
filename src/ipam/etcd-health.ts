// Collects what the parts of the etcd subnet manager know of their health into one answer.
import type { Logger } from "../net/logger.ts";
import type { SubnetManagerHealth } from "./subnet-manager.ts";

/** Who says it: each has at most one problem at a time. */
export type HealthSource = "config" | "acquire" | "watch" | "keep";

/** A problem that stays is logged again after this long. */
const REPEAT_LOG_MS = 60_000;
/** More than these are somebody else's data, and not worth a line each. */
const MAX_SKIPPED = 200;

interface Problem {
  readonly text: string;
  /** True if etcd itself does not answer. */
  readonly away: boolean;
  readonly loggedAt: number;
}

export class EtcdHealth {
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #problems = new Map<HealthSource, Problem>();
  readonly #skipped = new Map<string, { readonly version: bigint; readonly reason: string }>();
  #answered = false;

  constructor(log: Logger, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** The source works (again). */
  ok(source: HealthSource): void {
    this.#answered = true;
    const problem = this.#problems.get(source);
    if (problem === undefined) return;
    this.#problems.delete(source);
    this.#log.info({ source, was: problem.text }, `etcd: ${source} works again`);
  }

  /** Logs a new problem at once and a lasting one now and then. `away`: etcd does not answer. */
  problem(source: HealthSource, text: string, away: boolean): void {
    if (!away) this.#answered = true;
    const known = this.#problems.get(source);
    const repeated = known?.text === text && this.#now() - known.loggedAt < REPEAT_LOG_MS;
    this.#problems.set(source, { text, away, loggedAt: repeated ? known.loggedAt : this.#now() });
    if (!repeated) this.#log.warn({ source }, text);
  }

  /** A key that cannot be read. Logged once per `version` of it. */
  skip(key: string, version: bigint, reason: string): void {
    const known = this.#skipped.get(key);
    if (known?.version === version) return;
    if (known === undefined && this.#skipped.size >= MAX_SKIPPED) return;
    this.#skipped.set(key, { version, reason });
    this.#log.warn(
      { key, reason, cure: `correct or delete it: etcdctl del '${key}'` },
      "not a lease; skipped",
    );
  }

  /** The key can be read now, or is gone. */
  unskip(key: string): void {
    this.#skipped.delete(key);
  }

  /** Forgets what was skipped but for these keys. */
  keepSkipped(keys: ReadonlySet<string>): void {
    for (const key of this.#skipped.keys()) if (!keys.has(key)) this.#skipped.delete(key);
  }

  read(): SubnetManagerHealth {
    const problems = [...this.#problems.values()];
    const problem = problems.find(({ away }) => away) ?? problems[0];
    return {
      // A watch that etcd refuses does not run either.
      connected: this.#answered && !this.#problems.has("watch") && !problems.some(({ away }) => away),
      ...(problem && { problem: problem.text }),
      skipped: [...this.#skipped].map(([key, { reason }]) => ({ key, reason })),
    };
  }
}
