// The running policy engine: remembers events and attachments, applies what follows from them, and tells when it is in force.
import type { PolicyApplier } from "../../host/policy-applier.ts";
import { countRepairs } from "../../host/policy-report.ts";
import type { PolicyApplyReport } from "../../host/policy-report.ts";
import type { Logger } from "../../net/logger.ts";
import type { PolicyGraph } from "../../policy/graph.ts";
import type { InForceBook } from "../../policy/in-force-book.ts";
import type { PodRegistry } from "../../policy/pod-registry.ts";
import type { PolicyEvent, PolicySource } from "../../policy/source.ts";
import type { Notice } from "../connect-store.ts";
import type { AttachmentStore } from "./attachment-store.ts";
import type { AttachmentKey } from "./attachment.ts";
import { localPodsOf } from "./attachment.ts";
import type { BridgeSwitches } from "./bridge-switches.ts";
import type { EstablishedCheck } from "./established.ts";
import { createOwnNode } from "./own-node.ts";
import type { OwnNode } from "./own-node.ts";
import { PodBook } from "./pod-book.ts";
import type { PodWiring } from "./pod-wiring.ts";
import type { PolicyMetrics } from "./policy-metrics.ts";
import type { PolicyAgentState } from "./read-source.ts";

export interface PolicyAgentModules {
  readonly source: PolicySource;
  readonly graph: PolicyGraph;
  readonly applier: PolicyApplier;
  readonly inForce: InForceBook;
  readonly switches: BridgeSwitches;
  readonly attachments: AttachmentStore;
  readonly wiring?: Pick<PodWiring, "problem" | "handOverProblem">;
  /** Where nobody else tells the cluster of our pods. */
  readonly registry?: PodRegistry;
  /** Ends established connections that are denied now; absent: they are kept. */
  readonly established?: EstablishedCheck;
  readonly metrics: PolicyMetrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Tells an operator beyond the log (on Kubernetes an Event). */
  readonly notify: (notice: Notice) => void;
  /** Asks the loop for a pass. */
  readonly request: () => void;
}

/** Log lines that tell a change, and not a state. */
const MAX_FAILURES_LOGGED = 5;

type LastPass = NonNullable<PolicyAgentState["lastPass"]>;

export class PolicyAgent {
  readonly #modules: PolicyAgentModules;
  readonly book: PodBook;
  readonly ownNode: OwnNode;
  readonly #waiting = new Set<() => void>();
  #revisionInForce: number | undefined;
  /** When the first event came that no pass has taken yet. */
  #pendingSince: number | undefined;
  #bridgeProblem: string | undefined;
  #isBridgeDue = true;
  #lastPass: LastPass | undefined;
  #lastReport: PolicyApplyReport | undefined;
  #repairs = 0;
  #loggedFailures = new Set<string>();

  constructor(nodeName: string, modules: PolicyAgentModules) {
    this.#modules = modules;
    const { attachments, registry, now } = modules;
    const emit = (event: PolicyEvent): void => this.#tellGraph(event);
    this.ownNode = createOwnNode(nodeName, { emit, onChange: (node) => registry?.setNode(node) });
    const stored = attachments.load();
    this.book = new PodBook(
      { nodeName, selfDescribing: registry !== undefined },
      { emit, save: (each) => attachments.save(each), remove: (key) => attachments.remove(key), now },
      stored,
    );
    registry?.reconcile(localPodsOf(this.book.attachments));
  }

  get bridgeProblem(): string | undefined {
    return this.#bridgeProblem;
  }
  get lastReport(): PolicyApplyReport | undefined {
    return this.#lastReport;
  }

  onSourceEvent(event: PolicyEvent): void {
    this.#modules.metrics.event(event.kind);
    if (event.kind === "pods") this.book.apply(event);
    else if (event.kind === "nodes") this.ownNode.apply(event);
    else this.#tellGraph(event);
  }

  #tellGraph(event: PolicyEvent): void {
    const { graph, inForce, now, request } = this.#modules;
    inForce.onEvent(event);
    graph.apply(event);
    this.#pendingSince ??= now();
    request();
  }

  /** Something may have changed behind our back: the next pass asks the kernel. */
  recheck(): void {
    this.#modules.applier.invalidate();
    this.#isBridgeDue = true;
    this.#modules.request();
  }

  /** One pass. Returns false if something must be tried again. @param pass.full trust nothing that is remembered */
  async pass(pass: { readonly full: boolean }): Promise<boolean> {
    try {
      return await this.#pass(pass);
    } finally {
      for (const resolve of this.#waiting) resolve();
    }
  }

  async #pass({ full }: { readonly full: boolean }): Promise<boolean> {
    const { graph, applier, inForce, now, metrics } = this.#modules;
    if (full) {
      applier.invalidate();
      this.#isBridgeDue = true;
    }
    await this.#checkBridge();
    // Rules of what is not known completely could close, or sweep, what an earlier daemon has set up rightly.
    if (!graph.synced()) return this.#bridgeProblem === undefined;
    await this.#modules.established?.ending();
    const startedAt = now();
    const eventAt = this.#pendingSince;
    this.#pendingSince = undefined;
    const revision = this.book.revision;
    const pass = inForce.beginPass();
    const desired = graph.compiled();
    const report = await applier.apply(desired);
    const endedAt = now();
    this.#record(report, startedAt, endedAt);
    metrics.pass((endedAt - startedAt) / 1000, report.failed.length);
    if (report.failed.length > 0) {
      pass.failed();
      this.#pendingSince ??= eventAt;
      return false;
    }
    pass.done(endedAt);
    if (eventAt !== undefined) metrics.eventInKernel((endedAt - eventAt) / 1000);
    this.#revisionInForce = revision;
    this.#modules.established?.afterPass(desired, report);
    return this.#bridgeProblem === undefined;
  }

  async #checkBridge(): Promise<void> {
    if (!this.#isBridgeDue) return;
    this.#isBridgeDue = false;
    const { switches, log } = this.#modules;
    const { problem, repaired } = await switches.check();
    if (repaired.length > 0) {
      this.#repairs += repaired.length;
      log.warn(
        { switches: repaired },
        `put back ${repaired.join(" and ")}, which something had turned off: until then traffic between pods of this node ` +
          "passed without policy; look for a sysctl.d file or another network program that sets them to 0",
      );
    }
    if (problem !== undefined && problem !== this.#bridgeProblem) {
      log.error({}, problem);
      this.#notify(problem);
    }
    if (problem === undefined && this.#bridgeProblem !== undefined)
      log.info({}, "traffic between pods of this node passes through iptables again");
    this.#bridgeProblem = problem;
    if (problem !== undefined) this.#isBridgeDue = true;
  }

  #record(report: PolicyApplyReport, startedAt: number, endedAt: number): void {
    const { log } = this.#modules;
    this.#lastReport = report;
    this.#lastPass = { at: startedAt, durationMs: endedAt - startedAt, failed: report.failed };
    const repairs = countRepairs(report.repaired);
    if (repairs > 0) {
      this.#repairs += repairs;
      log.warn(
        { firewall: report.repaired.firewall, sets: report.repaired.sets },
        "put back rules or sets of network policy that something else had changed; look for what flushes iptables or ipsets " +
          "on this host if it goes on",
      );
    }
    const failures = new Map(
      report.failed.map(({ part, key, reason }) => [`${part} ${key}: ${reason}`, { part, key }]),
    );
    const fresh = [...failures.keys()].filter((text) => !this.#loggedFailures.has(text));
    if (fresh[0] !== undefined) this.#notify(`${fresh[0]}; the rules in force stay, and it is tried again`);
    for (const text of fresh.slice(0, MAX_FAILURES_LOGGED))
      log.error(
        { ...failures.get(text) },
        `network policy: ${text}; the rules in force stay, and it is tried again`,
      );
    if (fresh.length > MAX_FAILURES_LOGGED)
      log.error({}, `network policy: ${fresh.length - MAX_FAILURES_LOGGED} more failures like these`);
    if (failures.size === 0 && this.#loggedFailures.size > 0)
      log.info({}, "network policy: all rules and sets are in force again");
    this.#loggedFailures = new Set(failures.keys());
  }

  #notify(message: string): void {
    this.#modules.notify({ type: "Warning", reason: "NetworkPolicyNotEnforced", message });
  }

  /** Why policy cannot be enforced at present, with the cure; undefined if all of it is in force. */
  notReadyReason(): string | undefined {
    if (this.#bridgeProblem !== undefined) return this.#bridgeProblem;
    const { graph, source, wiring } = this.#modules;
    if (wiring?.problem !== undefined) return wiring.problem;
    if (!graph.synced()) {
      const { problem } = source.health();
      const why = problem === undefined ? "" : `: ${problem}`;
      return `network policy: waiting for pods, namespaces, nodes and policies${why}`;
    }
    const [failure] = this.#lastPass?.failed ?? [];
    if (failure !== undefined) return `network policy: ${failure.key}: ${failure.reason}`;
    return this.#revisionInForce !== undefined
      ? undefined
      : "network policy: the first rules are being written";
  }

  /** What an enforcing node cannot do at present: follow changes, or make new pods wait. */
  problem(): string | undefined {
    const { source, registry, established, wiring } = this.#modules;
    const problem =
      source.health().problem ??
      registry?.health().problem ??
      wiring?.handOverProblem ??
      established?.problem();
    return problem === undefined ? undefined : `network policy: ${problem}`;
  }

  state(): PolicyAgentState {
    const reason = this.notReadyReason();
    return {
      source: this.#modules.source.health(),
      ...(this.#lastPass && { lastPass: this.#lastPass }),
      repairs: this.#repairs,
      waiting: this.book.attachments.filter((attachment) => !this.isInForce(attachment)).length,
      problems: [reason, this.problem()].filter((text) => text !== undefined),
    };
  }

  /** True if the attachment's pod is known with its addresses, and the kernel has all that follows. */
  isInForce(key: AttachmentKey): boolean {
    const revision = this.book.admittedAt(key);
    const inForce = this.#revisionInForce;
    return inForce !== undefined && revision !== undefined && revision <= inForce;
  }

  /** What of the pod book is in the kernel, as its revision; undefined before the first pass that left nothing undone. */
  get revisionInForce(): number | undefined {
    return this.#revisionInForce;
  }

  /** Settles at the end of the next pass, or at the abort. */
  async nextPass(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const onAbort = (): void => resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    this.#waiting.add(resolve);
    await promise;
    this.#waiting.delete(resolve);
    signal.removeEventListener("abort", onAbort);
  }
}
