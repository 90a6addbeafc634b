// The running daemon after start-up: remembers events, plans the host, applies it, and reports.
import type { Backend, BackendPlan, LocalNode } from "../backends/backend.ts";
import type { ApplyReport, HostApplier } from "../host/apply.ts";
import { chooseUplink } from "../host/choose-uplink.ts";
import type { UplinkWish } from "../host/choose-uplink.ts";
import type { DataPath } from "../host/data-path.ts";
import type { TableName } from "../host/kernel-table.ts";
import type { Ownership } from "../host/ownership.ts";
import type { HostFacts } from "../host/uplink.ts";
import { foldLeaseEvent, subnetKeyOf } from "../ipam/lease.ts";
import type { Lease, LeaseBook, LeaseEvent, SubnetKey } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import type { SubnetManager } from "../ipam/subnet-manager.ts";
import { indexForDrift, driftOf } from "../kernel/drift.ts";
import type { DriftIndex } from "../kernel/drift.ts";
import type { KernelEvent } from "../kernel/monitor-codec.ts";
import type { Logger } from "../net/logger.ts";
import { planHost } from "./plan-host.ts";
import type { HostPlanOptions } from "./plan-host.ts";
import type { RepairStatus } from "./status-report.ts";

export interface NodeAgentOptions {
  readonly config: NetworkConfig;
  readonly backend: Backend;
  readonly wish: UplinkWish;
  readonly plan: HostPlanOptions;
  readonly ownership: Ownership;
  /** The node at start. */
  readonly self: Lease;
  readonly node: LocalNode;
  readonly facts: HostFacts;
}

export interface NodeAgentModules {
  readonly applier: HostApplier;
  /** Of a backend whose packets pass through this program. */
  readonly dataPath?: DataPath | undefined;
  readonly readFacts: () => Promise<HostFacts>;
  readonly manager: SubnetManager;
  readonly log: Logger;
  readonly now: () => number;
  /** Asks the loop for a pass. */
  readonly request: () => void;
  /** Called once, after the first pass whose own rows are all in place. Throws to be called again after the next pass. */
  readonly becomeReady: (self: Lease, node: LocalNode) => Promise<void>;
}

/** Tables whose failures concern this node itself, not one peer. */
const ESSENTIAL_TABLES: ReadonlySet<TableName> = new Set(["links", "addresses", "firewall"]);
const MAX_REPAIRS_KEPT = 20;

export interface LastPass {
  readonly at: number;
  readonly durationMs: number;
  readonly report: ApplyReport;
}

export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #modules: NodeAgentModules;
  #wish: UplinkWish;
  #self: Lease;
  #node: LocalNode;
  #facts: HostFacts;
  readonly #book = new Map<SubnetKey, Lease>();
  /** The first apply waits for the first snapshot, so that a restart never sweeps peers it was not told of. */
  #synced = false;
  #plan: BackendPlan | undefined;
  #drift: DriftIndex | undefined;
  #uplinkChanged = false;
  #unpublished = false;
  #publishing = false;
  #ready = false;
  #lastPass: LastPass | undefined;
  #repairs: readonly RepairStatus[] = [];
  #repairsTotal = 0;
  #uplinkProblem: string | undefined;
  #dataPathProblem: string | undefined;
  /** Problems already logged, so that a log line tells a change and not a state. */
  #loggedProblems = new Map<string, string>();

  constructor(options: NodeAgentOptions, modules: NodeAgentModules) {
    this.#options = options;
    this.#modules = modules;
    this.#wish = options.wish;
    this.#self = options.self;
    this.#node = options.node;
    this.#facts = options.facts;
  }

  get self(): Lease {
    return this.#self;
  }
  get node(): LocalNode {
    return this.#node;
  }
  /** Of the host, as they were when the uplink was last looked at. */
  get facts(): HostFacts {
    return this.#facts;
  }
  get ready(): boolean {
    return this.#ready;
  }
  get lastPass(): LastPass | undefined {
    return this.#lastPass;
  }
  get repairs(): { readonly recent: readonly RepairStatus[]; readonly total: number } {
    return { recent: this.#repairs, total: this.#repairsTotal };
  }
  get reach(): BackendPlan["reach"] {
    return this.#plan?.reach ?? [];
  }
  get leases(): LeaseBook {
    return this.#book;
  }

  /** Why the node is not ready, in words for a person; undefined when it is. */
  notReadyReason(): string | undefined {
    if (this.#ready) return undefined;
    if (!this.#synced) return `waiting for the leases of the other nodes${this.#storeProblem()}`;
    if (this.#uplinkProblem !== undefined) return this.#uplinkProblem;
    const failed = this.#lastPass?.report.tables.find(
      ({ table, failed }) => ESSENTIAL_TABLES.has(table) && failed.length > 0,
    );
    const failure = failed?.failed[0];
    if (failed && failure) return `${failed.table}: ${failure.key}: ${failure.reason}`;
    if (this.#dataPathProblem !== undefined) return this.#dataPathProblem;
    return "the first pass over the host is not complete yet";
  }

  #storeProblem(): string {
    const { problem } = this.#modules.manager.health();
    return problem === undefined ? "" : `: ${problem}`;
  }

  onLeaseEvent(event: LeaseEvent): void {
    foldLeaseEvent(this.#book, event);
    if (event.type === "snapshot") this.#synced = true;
    this.#modules.request();
  }

  /** The store has given us another subnet: devices, rules and files follow in the next pass. */
  onOwnLease({ subnet, subnet6 }: Lease): void {
    const { subnet: _, subnet6: __, ...rest } = this.#self;
    this.#self = {
      ...rest,
      ...(subnet !== undefined && { subnet }),
      ...(subnet6 !== undefined && { subnet6 }),
    };
    // subnet.env carries the subnets: it must be written again.
    this.#ready = false;
    this.#modules.request();
  }

  /** Asks for the uplink to be chosen anew, by another wish. */
  onWish(wish: UplinkWish): void {
    this.#wish = wish;
    this.#uplinkChanged = true;
    this.#modules.request();
  }

  /** Remembers what an event contradicts. Returns whether a pass is needed. */
  onKernelEvent(event: KernelEvent): boolean {
    if (this.#drift === undefined) return false;
    const { tables, uplink } = driftOf(event, this.#drift);
    if (tables.length > 0) this.#modules.applier.invalidate(tables);
    if (uplink) this.#uplinkChanged = true;
    return uplink || tables.length > 0;
  }

  /** Forgets what is known of some tables and asks for a pass, which lists them. */
  recheck(tables: readonly TableName[]): void {
    this.#modules.applier.invalidate(tables);
    this.#modules.request();
  }

  /**
   * One pass: plan from scratch, apply the difference. Returns false if something must be tried again.
   * @param pass.full trust nothing that is remembered of the host
   */
  async pass({ full }: { readonly full: boolean }): Promise<boolean> {
    if (!this.#synced) return true;
    if (full) {
      this.#modules.applier.invalidate();
      this.#uplinkChanged = true;
    }
    const startedAt = this.#modules.now();
    let complete = await this.#followUplink();
    const ownKey = subnetKeyOf(this.#self);
    const peers = [...this.#book.values()].filter((lease) => subnetKeyOf(lease) !== ownKey);
    const { backend, config } = this.#options;
    const planned = { self: this.#self, node: this.#node };
    const input = { ...planned, peers, config };
    this.#plan = planHost(backend, input, this.#options.plan);
    // Before the writes: their echoes must be compared with what they were meant to be.
    const { ownership } = this.#options;
    const drift = { ownership, uplink: this.#node.uplink.name, facts: this.#facts };
    this.#drift = indexForDrift(this.#plan.state, drift);
    const report = await this.#modules.applier.apply(this.#plan.state);
    await this.#applyDataPath(this.#plan, report);
    this.#lastPass = { at: startedAt, durationMs: this.#modules.now() - startedAt, report };
    this.#recordRepairs(report, startedAt);
    this.#logProblems(report);
    if (report.tables.some(({ failed }) => failed.length > 0)) complete = false;
    if (this.#dataPathProblem !== undefined) complete = false;
    else if (!this.#ready && !this.#hasEssentialFailure(report))
      complete = (await this.#tryBecomingReady(planned)) && complete;
    this.#publishChanges();
    return complete && !this.#unpublished;
  }

  /** After the tables, since it attaches to a device; not to one that is somebody else's. */
  async #applyDataPath({ dataPath }: BackendPlan, { tables }: ApplyReport): Promise<void> {
    if (tables.some(({ table, failed }) => table === "links" && failed.length > 0)) return;
    this.#dataPathProblem = await this.#modules.dataPath?.apply(dataPath);
  }

  #hasEssentialFailure(report: ApplyReport): boolean {
    return report.tables.some(({ table, failed }) => ESSENTIAL_TABLES.has(table) && failed.length > 0);
  }

  /** Files are about what the host has. If the store has given us another subnet meanwhile, the next pass writes them. */
  async #tryBecomingReady({
    self,
    node,
  }: {
    readonly self: Lease;
    readonly node: LocalNode;
  }): Promise<boolean> {
    if (this.#self !== self) return false;
    try {
      await this.#modules.becomeReady(self, node);
      this.#ready = this.#self === self;
      return this.#ready;
    } catch (error) {
      this.#modules.log.error({ err: error }, "not ready: cannot write what runtimes read; trying again");
      return false;
    }
  }

  /** Reads the host again after a change. Returns false to be called again. */
  async #followUplink(): Promise<boolean> {
    if (!this.#uplinkChanged) return true;
    this.#uplinkChanged = false;
    try {
      const facts = await this.#modules.readFacts();
      this.#adoptUplink(facts);
      this.#facts = facts;
      this.#uplinkProblem = undefined;
      return true;
    } catch (error) {
      this.#uplinkChanged = true;
      this.#reportUplinkProblem(error as Error);
      return false;
    }
  }

  #adoptUplink(facts: HostFacts): void {
    const { log } = this.#modules;
    const { uplink, publicIps } = chooseUplink(facts, this.#wish);
    const before = this.#node;
    this.#node = { ...before, uplink, publicIps };
    if (before.uplink.name !== uplink.name || before.uplink.mtu !== uplink.mtu) {
      log.warn(
        { before: before.uplink.name, beforeMtu: before.uplink.mtu, now: uplink.name, mtu: uplink.mtu },
        "the uplink changed; running pods keep the MTU they were started with",
      );
      // subnet.env carries the MTU: it must be written again.
      this.#ready = false;
    }
    const { publicIp, publicIp6, ...rest } = this.#self;
    const nowIp = publicIps[4] ?? publicIp;
    const nowIp6 = publicIps[6] ?? publicIp6;
    if (nowIp === publicIp && nowIp6 === publicIp6) return;
    log.warn(
      { before: publicIp ?? publicIp6, now: nowIp ?? nowIp6 },
      "our public IP changed; publishing it to the peers",
    );
    this.#self = {
      ...rest,
      ...(nowIp !== undefined && { publicIp: nowIp }),
      ...(nowIp6 !== undefined && { publicIp6: nowIp6 }),
    };
    this.#unpublished = true;
  }

  #reportUplinkProblem(error: Error): void {
    if (this.#uplinkProblem === error.message) return;
    this.#uplinkProblem = error.message;
    this.#modules.log.warn({ err: error }, "the uplink is gone; keeping the last one until it is back");
  }

  /** Begins to tell peers of a change; the host does not wait for that, since a store can be silent for long. */
  #publishChanges(): void {
    if (!this.#unpublished || this.#publishing) return;
    this.#publishing = true;
    const { manager, log } = this.#modules;
    const published = this.#self;
    void manager
      .updateLease(published)
      .then(
        () => {
          if (this.#self === published) this.#unpublished = false;
        },
        (error: unknown) => log.warn({ err: error }, "cannot publish the changed lease yet; trying again"),
      )
      .finally(() => {
        this.#publishing = false;
      });
  }

  #recordRepairs(report: ApplyReport, at: number): void {
    for (const { table, repaired } of report.tables) {
      const rows = repaired.created + repaired.replaced + repaired.removed;
      if (rows === 0) continue;
      const repair: RepairStatus = { at: new Date(at).toISOString(), table, ...repaired };
      this.#repairs = [repair, ...this.#repairs].slice(0, MAX_REPAIRS_KEPT);
      this.#repairsTotal += rows;
      this.#modules.log.warn(
        { table, ...repaired },
        "put back rows that something else changed; look for another network manager on this host if it goes on",
      );
    }
  }

  #logProblems(report: ApplyReport): void {
    const problems = new Map<string, string>();
    for (const { subnetKey, problem } of this.reach) {
      if (problem !== undefined) problems.set(`peer ${subnetKey}`, problem);
    }
    for (const { table, failed } of report.tables) {
      for (const { key, reason } of failed) problems.set(`${table} ${key}`, reason);
    }
    if (this.#dataPathProblem !== undefined) problems.set("data path", this.#dataPathProblem);
    for (const [what, problem] of problems) {
      if (this.#loggedProblems.get(what) !== problem)
        this.#modules.log.warn({ what, problem }, `${what}: ${problem}`);
    }
    for (const what of this.#loggedProblems.keys()) {
      if (!problems.has(what)) this.#modules.log.info({ what }, `${what}: resolved`);
    }
    this.#loggedProblems = problems;
  }
}
