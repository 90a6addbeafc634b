// The text of `policy status`, for a person. Pure: the time is passed in.
import { printable } from "../net/printable.ts";
import type { InForceReport, PolicyInForce } from "../policy/in-force-report.ts";
import { formatDuration } from "./status-render.ts";

/** @param nowMs milliseconds since the epoch, for "how long ago" */
export function renderInForce(report: InForceReport, nowMs: number): string {
  const lines = [
    headline(report),
    "",
    ...renderFacts(report, nowMs),
    ...renderPolicies(report, nowMs),
    ...renderDenied(report),
    ...renderTrouble(report),
  ];
  return `${lines.map((line) => printable(line).trimEnd()).join("\n")}\n`;
}

/** True if everything that was told is in the kernel, and nothing keeps it from being enforced. */
export function isInForce({ problems, lastPass, policies, pods }: InForceReport): boolean {
  return (
    problems.length === 0 &&
    lastPass !== undefined &&
    lastPass.failed.length === 0 &&
    pods.waiting === 0 &&
    policies.every(({ since }) => since !== undefined)
  );
}

function headline(report: InForceReport): string {
  return isInForce(report)
    ? `Network policy of ${report.node}: IN FORCE`
    : `Network policy of ${report.node}: NOT IN FORCE AS IT SHOULD BE`;
}

const FACT_WIDTH = 11;
const MAX_PODS_SHOWN = 8;
const MAX_LINES = 20;

function renderFacts(report: InForceReport, nowMs: number): readonly string[] {
  const { pods, kernel, lastPass, repairs, source } = report;
  const waiting = pods.waiting === 0 ? "" : `, ${pods.waiting} WAITING for their rules`;
  const facts: readonly (readonly [string, string])[] = [
    ["Pods", `${pods.known} on this node, ${pods.isolated} isolated${waiting}`],
    [
      "Kernel",
      `${counted(kernel.chains, "chain")}, ${counted(kernel.rules, "rule")}, ` +
        `${counted(kernel.sets, "set")}, ${counted(kernel.members, "member")}`,
    ],
    [
      "Last pass",
      lastPass
        ? `${formatDuration(nowMs - Date.parse(lastPass.at))} ago, took ${Math.round(lastPass.durationMs)} ms, ` +
          `${lastPass.failed.length} failed`
        : "none yet",
    ],
    [
      "Repairs",
      repairs === 0 ? "none" : `${repairs}; another program changed what is ours, and it was put back`,
    ],
    [
      "Source",
      `${source.connected ? "connected" : "NOT CONNECTED"}${source.problem === undefined ? "" : `: ${source.problem}`}`,
    ],
  ];
  return facts.map(([name, value]) => `${name.padEnd(FACT_WIDTH)}${value}`);
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function renderPolicies({ policies, elsewhere }: InForceReport, nowMs: number): readonly string[] {
  const others = elsewhere === 0 ? "" : `; ${counted(elsewhere, "other")} in the cluster select none`;
  if (policies.length === 0) return ["", `Policies that select pods of this node: none${others}`];
  const rows = policies.map((policy) => [
    policy.policy,
    policy.generation === undefined ? "-" : String(policy.generation),
    policy.since === undefined ? "NOT YET" : formatDuration(nowMs - Date.parse(policy.since)),
    describeRules(policy),
    describePods(policy.pods),
  ]);
  return [
    "",
    `Policies that select pods of this node: ${policies.length}${others}`,
    ...renderTable([["POLICY", "GENERATION", "IN FORCE FOR", "RULES", "PODS"], ...rows]),
  ];
}

function describeRules({ types, rules }: PolicyInForce): string {
  return types.map((type) => `${type} ${rules[type] === 0 ? "none" : rules[type]}`).join(", ");
}

function describePods(pods: readonly string[]): string {
  const rest = pods.length - MAX_PODS_SHOWN;
  const names = pods.slice(0, MAX_PODS_SHOWN).map((pod) => pod.replace(/^[^/]*\//, ""));
  return `${names.join(" ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

function renderTable(rows: readonly (readonly string[])[]): readonly string[] {
  const cells = rows.map((row) => row.map(printable));
  const widths = (cells[0] ?? []).map((_, i) =>
    cells.reduce((width, row) => Math.max(width, row[i]?.length ?? 0), 0),
  );
  return cells.map((row) => `  ${row.map((text, i) => text.padEnd(widths[i] ?? 0)).join("  ")}`);
}

function renderDenied({ denied }: InForceReport): readonly string[] {
  if (denied.length === 0) return ["", "Denied packets: none"];
  return [
    "",
    "Denied packets:",
    ...bounded(
      denied.map(
        ({ pod, direction, packets }) => `  ${direction === "egress" ? "from" : "to"} ${pod}: ${packets}`,
      ),
    ),
  ];
}

function renderTrouble({ problems, warnings, lastPass, skipped }: InForceReport): readonly string[] {
  const failed = lastPass?.failed ?? [];
  return [
    ...(problems.length === 0 ? [] : ["", "PROBLEMS:", ...problems.map((problem) => `  ${problem}`)]),
    ...(warnings.length === 0 ? [] : ["", "Warnings:", ...warnings.map((warning) => `  ${warning}`)]),
    ...(failed.length === 0
      ? []
      : [
          "",
          `Failures: ${failed.length}; they are tried again`,
          ...bounded(failed.map(({ key, reason }) => `  ${key}: ${reason}`)),
        ]),
    ...(skipped.length === 0
      ? []
      : [
          "",
          `Objects that cannot be used as they are: ${skipped.length}; what is wrong in a policy is closed`,
          ...bounded(skipped.map(({ kind, key, reason }) => `  ${kind} ${key}: ${reason}`)),
        ]),
  ];
}

function bounded(lines: readonly string[]): readonly string[] {
  const rest = lines.length - MAX_LINES;
  return rest > 0 ? [...lines.slice(0, MAX_LINES), `  and ${rest} more`] : lines;
}
