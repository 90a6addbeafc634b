// Policy's own metrics.
import type { PolicySnapshot } from "../../policy/snapshot.ts";
import type { PolicyKind } from "../../policy/source.ts";
import type { MetricSample } from "../metrics-render.ts";
import type { Metrics } from "../metrics.ts";
import { localOwners } from "./denied-by-pod.ts";
import type { DeniedCount } from "./denied-counts.ts";
import type { PolicyReadSource } from "./read-source.ts";

/** What the agent records as it goes; everything else is read when somebody asks. */
export interface PolicyMetrics {
  event(kind: PolicyKind): void;
  /** From the first event of a pass until the kernel has all of it. */
  eventInKernel(seconds: number): void;
  /** A pass has ended. */
  pass(seconds: number, failedRows: number): void;
  /** A pod of this node was closed until its rules were in force. */
  attachment(seconds: number, result: "in-force" | "too-late" | "refused"): void;
}

type Source = Pick<PolicyReadSource, "graph" | "state" | "settings" | "denied">;

export function registerPolicyMetrics(metrics: Metrics, source: Source): PolicyMetrics {
  registerState(metrics, source);
  registerDenied(metrics, source);
  const events = metrics.counter({
    name: "flanneld_policy_events_total",
    help: "Changes of pods, namespaces, nodes and policies that were told to this node.",
    labels: ["kind"],
  });
  const inKernel = metrics.histogram({
    name: "flanneld_policy_event_to_kernel_seconds",
    help: "Time from an event to the moment when the kernel obeys it.",
  });
  const passes = metrics.histogram({
    name: "flanneld_policy_pass_duration_seconds",
    help: "Time of one pass over chains and sets.",
  });
  const failures = metrics.counter({
    name: "flanneld_policy_apply_failures_total",
    help: "Chains and sets that the kernel refused; they are tried again.",
  });
  const attachments = metrics.histogram({
    name: "flanneld_policy_attachment_duration_seconds",
    help: "Time that CNI ADD waited until the rules of its pod were in force.",
    labels: ["result"],
  });
  return {
    event: (kind) => events.inc({ kind }),
    eventInKernel: (seconds) => inKernel.observe(seconds),
    pass(seconds, failedRows) {
      passes.observe(seconds);
      failures.inc({}, failedRows);
    },
    attachment: (seconds, result) => attachments.observe(seconds, { result }),
  };
}

function registerState(metrics: Metrics, { graph, state }: Source): void {
  const gauge = (name: string, help: string, read: () => number): void =>
    metrics.collect({ name: `flanneld_policy_${name}`, help, type: "gauge" }, () => [{ value: read() }]);
  gauge("source_connected", "1 while all kinds of objects are watched.", () =>
    Number(state().source.connected),
  );
  gauge(
    "objects_skipped",
    "Objects that could not be used as they are.",
    () => state().source.skipped.length,
  );
  gauge("attachments_waiting", "Pods whose rules are not in the kernel yet.", () => state().waiting);
  gauge(
    "problems",
    "What keeps policy from being enforced; policy status names it.",
    () => state().problems.length,
  );
  gauge("rules", "Rules in the chains of this node.", () =>
    graph.compiled().firewall.reduce((sum, row) => sum + (row.kind === "chain" ? row.rules.length : 1), 0),
  );
  gauge("sets", "Sets of addresses of this node.", () => graph.compiled().sets.length);
  gauge("set_members", "Members of all sets.", () =>
    graph.compiled().sets.reduce((sum, { members }) => sum + members.length, 0),
  );
  gauge(
    "isolated_pods",
    "Pods of this node that any policy isolates.",
    () => new Set(graph.compiled().profiles.flatMap(({ pods }) => pods)).size,
  );
  metrics.collect(
    {
      name: "flanneld_policy_repairs_total",
      help: "Chains and sets that something else had changed and that were put back.",
      type: "counter",
    },
    () => [{ value: state().repairs }],
  );
}

/** As many pods as a node has, and their dead. */
const MAX_DENIED_SERIES = 500;

function registerDenied(metrics: Metrics, { graph, settings, denied }: Source): void {
  if (!settings.countDenied) return;
  metrics.collect(
    {
      name: "flanneld_policy_denied_packets_total",
      help: "Packets denied to (ingress) and from (egress) pods of this node.",
      type: "counter",
      labels: ["namespace", "pod", "direction"],
      maxSeries: MAX_DENIED_SERIES,
    },
    async () => {
      const counts = (await denied()).filter(({ packets }) => packets > 0);
      return counts.length === 0 ? [] : samplesOf(counts, graph.snapshot());
    },
  );
}

function samplesOf(counts: readonly DeniedCount[], snapshot: PolicySnapshot): readonly MetricSample[] {
  const owners = localOwners(snapshot);
  return counts.flatMap(({ direction, ip, packets }) => {
    const pod = owners.get(ip);
    return pod === undefined
      ? []
      : { labels: { namespace: pod.namespace, pod: pod.name, direction }, value: packets };
  });
}
