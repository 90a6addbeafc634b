// Collects what the parts of the Kubernetes subnet manager know of their health into one answer.
import type { Logger } from "../net/logger.ts";
import type { SkippedNode } from "./kube-lease-book.ts";
import type { SubnetManagerHealth } from "./subnet-manager.ts";

/** Who says it: each has at most one problem at a time. */
export type KubeHealthSource = "config" | "node name" | "nodes" | "own node" | "annotations" | "condition";

/** A problem that stays is logged again after this long. */
const REPEAT_LOG_MS = 60_000;
/** More than these say nothing that the first ones do not. */
const MAX_SKIPPED = 200;

interface Problem {
  readonly text: string;
  readonly loggedAt: number;
}

export class KubeHealth {
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #problems = new Map<KubeHealthSource, Problem>();
  #connected = false;
  #skipped: () => readonly SkippedNode[] = () => [];
  readonly #loggedSkips = new Map<string, string>();

  constructor(log: Logger, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  /** The source works (again). */
  ok(source: KubeHealthSource): void {
    const problem = this.#problems.get(source);
    if (problem === undefined) return;
    this.#problems.delete(source);
    this.#log.info({ source, was: problem.text }, `Kubernetes: ${source}: works again`);
  }

  /** Logs a new problem at once and a lasting one now and then. Returns whether it is new. */
  problem(source: KubeHealthSource, text: string): boolean {
    const known = this.#problems.get(source);
    const isNew = known?.text !== text;
    const repeated = !isNew && this.#now() - known.loggedAt < REPEAT_LOG_MS;
    this.#problems.set(source, { text, loggedAt: repeated ? known.loggedAt : this.#now() });
    if (!repeated) this.#log.warn({ source }, text);
    return isNew;
  }

  /** Whether the list and the watch of Nodes run. */
  set connected(connected: boolean) {
    this.#connected = connected;
  }

  /** Where the Nodes that are skipped can be asked for. */
  watchSkipped(skipped: () => readonly SkippedNode[]): void {
    this.#skipped = skipped;
  }

  /** Logs Nodes that are skipped, each reason once. */
  logSkipped(): void {
    const skipped = this.#skipped();
    if (skipped.length === 0 && this.#loggedSkips.size === 0) return;
    const names = new Set(skipped.map(({ nodeName }) => nodeName));
    for (const nodeName of this.#loggedSkips.keys())
      if (!names.has(nodeName)) this.#loggedSkips.delete(nodeName);
    for (const { nodeName, reason } of skipped.slice(0, MAX_SKIPPED)) {
      if (this.#loggedSkips.get(nodeName) === reason) continue;
      this.#loggedSkips.set(nodeName, reason);
      this.#log.warn({ node: nodeName, reason }, `no routes to node "${nodeName}": ${reason}`);
    }
  }

  read(): SubnetManagerHealth {
    // What keeps the API away explains the rest.
    const problem = this.#problems.get("nodes") ?? [...this.#problems.values()][0];
    return {
      connected: this.#connected,
      ...(problem && { problem: problem.text }),
      skipped: this.#skipped()
        .slice(0, MAX_SKIPPED)
        .map(({ nodeName, reason }) => ({ key: `node ${nodeName}`, reason })),
    };
  }
}
