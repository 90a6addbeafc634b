// Ends established connections that a changed policy denies: looked for only after changes that can have denied something.
import type { IpsetRow } from "../../host/ipset-state.ts";
import { diffMembers } from "../../host/member-list.ts";
import { isEverythingUnchanged } from "../../host/policy-report.ts";
import type { PolicyApplyReport } from "../../host/policy-report.ts";
import { deleteArguments } from "../../kernel/conntrack-codec.ts";
import type { ConntrackTable } from "../../kernel/conntrack.ts";
import type { Flow } from "../../net/flow.ts";
import type { Ip } from "../../net/ip.ts";
import type { Logger } from "../../net/logger.ts";
import type { CompiledPolicy } from "../../policy/compile.ts";
import { createEvaluator } from "../../policy/evaluate.ts";
import type { PolicyGraph } from "../../policy/graph.ts";
import { policyNames } from "../../policy/names.ts";
import { createFlowJudge } from "../../policy/recheck.ts";
import type { PolicySettings } from "../../policy/settings.ts";
import { DIRECTIONS } from "../../policy/snapshot.ts";
import type { PolicySnapshot } from "../../policy/snapshot.ts";

export interface EstablishedCheck {
  /** All of `compiled` is in the kernel. Returns at once; one check runs at a time. */
  afterPass(compiled: CompiledPolicy, report: PolicyApplyReport): void;
  /** What keeps connections from being ended, with its cure. */
  problem(): string | undefined;
  /** Settles when no check runs. */
  settled(): Promise<void>;
  /**
   * Settles when no connections are being ended. To be waited for before the next pass: what that allows could otherwise be
   * ended, since deletions are told by addresses and service, and a new connection looks like an old one.
   */
  ending(): Promise<void>;
}

/** One process; a pass waits for it at most. */
const MAX_ENDED_AT_ONCE = 100;

export interface EstablishedModules {
  readonly graph: Pick<PolicyGraph, "snapshot">;
  readonly conntrack: ConntrackTable;
  readonly log: Logger;
}

/** What has been in force together: rules, and what they were made of. */
interface InForce {
  readonly compiled: CompiledPolicy;
  readonly snapshot: PolicySnapshot;
}

interface Change {
  /** Absent: of an earlier daemon. */
  readonly before?: PolicySnapshot;
  readonly after: InForce;
}

export function createEstablishedCheck(
  settings: PolicySettings,
  { graph, conntrack, log }: EstablishedModules,
): EstablishedCheck {
  let last: InForce | undefined;
  let waiting: Change | undefined;
  let running: Promise<void> | undefined;
  /** Never rejects: what goes wrong with connections must not keep rules from being written. */
  let ending: Promise<unknown> = Promise.resolve();
  let problem: string | undefined;

  const judgeOf = (localIps: ReadonlySet<Ip>, snapshot: PolicySnapshot, before?: PolicySnapshot) =>
    createFlowJudge({
      evaluate: createEvaluator(snapshot, settings),
      ...(before && { evaluateBefore: createEvaluator(before, settings) }),
      localIps,
    });

  async function check({ before, after }: Change): Promise<void> {
    const localIps = knownPods(after.compiled, settings);
    if (localIps.size === 0) return;
    const found = await conntrack.find(localIps, judgeOf(localIps, after.snapshot, before));
    const flows = distinct(found.flows);
    let ended = 0;
    let trouble = found.problem;
    for (let at = 0; at < flows.length; at += MAX_ENDED_AT_ONCE) {
      const some = flows.slice(at, at + MAX_ENDED_AT_ONCE);
      // What was denied when we looked may be allowed by now, and new connections of that kind be under way, or be so as soon
      // as the next pass is done: by what is known now, and in this very tick, so that this pass waits for us or was first.
      const denied = some.filter(judgeOf(localIps, graph.snapshot()));
      if (denied.length === 0) continue;
      const done = conntrack.end(denied);
      ending = done.catch(() => undefined);
      const { ended: count, problem: refused } = await done;
      ended += count;
      trouble ??= refused;
    }
    if (ended > 0)
      log.info(
        { connections: ended },
        "ended established connections that policy denies now (--policy-established=keep lets them go on)",
      );
    if (trouble !== undefined && trouble !== problem) log.warn({}, trouble);
    problem = trouble;
  }

  async function checkAll(): Promise<void> {
    while (waiting !== undefined) {
      const change = waiting;
      waiting = undefined;
      await check(change).catch((error: unknown) =>
        log.error({ err: error }, "established connections cannot be compared with policy"),
      );
    }
    running = undefined;
  }

  return {
    problem: () => problem,
    settled: () => running ?? Promise.resolve(),
    ending: async () => {
      await ending;
    },
    afterPass(compiled, report) {
      if (last?.compiled === compiled) return;
      const before = last;
      last = { compiled, snapshot: graph.snapshot() };
      // What an earlier daemon has left needs no look if it was just as it should be.
      const mayDeny =
        before === undefined
          ? !isEverythingUnchanged(report)
          : canDenyMore(before.compiled, compiled, settings);
      if (!mayDeny || compiled.profiles.length === 0) return;
      // Of several changes that wait for a check, the first one's beginning counts.
      const beginning = waiting === undefined ? before?.snapshot : waiting.before;
      waiting = { ...(beginning && { before: beginning }), after: last };
      running ??= checkAll();
    },
  };
}

/** Of flows that are ended together, as they differ only in the port of the end that began, one. */
function distinct(flows: readonly Flow[]): readonly Flow[] {
  return [...new Map(flows.map((flow) => [deleteArguments(flow)?.join(" ") ?? flow, flow])).values()];
}

/** True unless all that has changed are peers that came, pods that are isolated no more, and pods that nothing isolates. */
export function canDenyMore(
  before: CompiledPolicy,
  after: CompiledPolicy,
  settings: Pick<PolicySettings, "prefix">,
): boolean {
  if (before.firewall !== after.firewall) return true;
  const sets = new Map(before.sets.map((set) => [set.name, set]));
  const isPlain = plainSetsOf(settings);
  return after.sets.some((set) => {
    const known = sets.get(set.name);
    if (known === set || known === undefined || isPlain(set)) return false;
    // Who may connect is in sets that have a description; the others are of pods that are isolated.
    return after.specs.has(set.name) ? hasMore(known, set) : hasMore(set, known);
  });
}

/** True if `a` has a member that `b` has not. */
function hasMore(a: IpsetRow, b: IpsetRow): boolean {
  return diffMembers(b.members, a.members).added.length > 0;
}

/** Sets of all pods, that of known ones and those that only count. */
function plainSetsOf({ prefix }: Pick<PolicySettings, "prefix">): (set: IpsetRow) => boolean {
  const names = policyNames(prefix);
  return ({ name, family }) =>
    name.startsWith(names.knownSet(family, "")) ||
    DIRECTIONS.some((direction) => name === names.deniedSet(direction, family));
}

function knownPods({ sets }: CompiledPolicy, { prefix }: PolicySettings): ReadonlySet<Ip> {
  const names = policyNames(prefix);
  const known = sets.filter(({ name, family }) => name.startsWith(names.knownSet(family, "")));
  // Members of these sets are addresses of pods, as the graph has parsed them.
  return new Set(known.flatMap(({ members }) => Array.from(members, (member) => member as Ip)));
}
