// The text of `status`, for a person. Pure: the time is passed in.
import type { PeerStatus, PolicyStatus, StatusReport } from "../daemon/status-report.ts";
import { printable } from "../net/printable.ts";
import { describeProbes, PROBE_HEADS, probeCells, probeProblems } from "./probe-render.ts";

/** @param nowMs milliseconds since the epoch, for "how long ago" */
export function renderStatus(report: StatusReport, nowMs: number): string {
  const lines = [
    `flanneld-ts ${report.version}, pid ${report.pid}, up ${formatDuration(nowMs - Date.parse(report.startedAt))}`,
    report.ready ? "READY" : `NOT READY: ${report.notReadyReason ?? "no reason was given"}`,
    "",
    ...renderFacts(report, nowMs),
    ...renderPeers(report.peers),
    ...renderFailures(report),
    ...renderSkipped(report),
    ...renderUnexplained(report),
    ...renderRepairs(report, nowMs),
    ...renderPolicyTroubles(report),
  ];
  return `${lines.map((line) => printable(line).trimEnd()).join("\n")}\n`;
}

function renderFacts(report: StatusReport, nowMs: number): readonly string[] {
  const { network, lease, uplink, podMtu, store, lastPass } = report;
  const facts: readonly (readonly [string, string])[] = [
    [
      "Network",
      network ? `${joined(network.ipv4, network.ipv6)}, backend ${network.backend}` : "not known yet",
    ],
    ["Lease", lease ? describeLease(lease, store.kind, nowMs) : "none yet"],
    [
      "Uplink",
      uplink ? `${uplink.name}, ${uplink.addresses.join(" and ")}, MTU ${uplink.mtu}` : "not chosen yet",
    ],
    ...(podMtu === undefined ? [] : [["Pod MTU", String(podMtu)] as const]),
    ["Store", `${store.kind}, ${store.connected ? "connected" : "NOT CONNECTED"}${suffix(store.problem)}`],
    ...(report.probes === undefined
      ? []
      : [["Probes", describeProbes(report.probes, report.peers)] as const]),
    ...(report.iptables === undefined ? [] : [["Firewall", `iptables, ${report.iptables}`] as const]),
    ...(report.policy === undefined ? [] : [["Policy", describePolicy(report.policy)] as const]),
    [
      "Host rows",
      report.tables.length === 0
        ? "none yet"
        : report.tables.map(({ table, desired }) => `${table} ${desired}`).join(", "),
    ],
    [
      "Last pass",
      lastPass
        ? `${formatDuration(nowMs - Date.parse(lastPass.at))} ago, took ${lastPass.durationMs} ms, ` +
          `${lastPass.changed} changed, ${lastPass.failed} failed`
        : "none yet",
    ],
    ["Processes", `${report.processesStarted} started so far`],
  ];
  return facts.map(([name, value]) => `${name.padEnd(FACT_WIDTH)}${value}`);
}

function describePolicy({
  enforced,
  policies,
  pods,
  attachments,
  isolatedPods,
  waiting,
  rows,
  repairsTotal,
}: PolicyStatus): string {
  const parts = [
    enforced ? "in force" : "NOT IN FORCE",
    `policies ${policies}, pods ${pods}`,
    `here: announced ${attachments}, isolated ${isolatedPods}`,
    ...(waiting === 0 ? [] : [`waiting ${waiting}`]),
    `rows ${rows.chainsAndJumps}, sets ${rows.sets}, members ${rows.members}`,
    ...(repairsTotal === 0 ? [] : [`put back ${repairsTotal}`]),
  ];
  return parts.join("; ");
}

const FACT_WIDTH = 11;

function describeLease(
  lease: NonNullable<StatusReport["lease"]>,
  store: StatusReport["store"]["kind"],
  nowMs: number,
): string {
  if (store === "kubernetes") {
    return `${joined(lease.subnet, lease.subnet6)} for ${lease.publicIp}, the podCIDR of this Node`;
  }
  const left = lease.expiresAt === undefined ? undefined : Date.parse(lease.expiresAt) - nowMs;
  const end =
    left === undefined
      ? "does not expire (a reservation)"
      : left >= 0
        ? `expires in ${formatDuration(left)} if not renewed`
        : `EXPIRED ${formatDuration(-left)} ago`;
  return `${joined(lease.subnet, lease.subnet6)} for ${lease.publicIp}, ${end}`;
}

const PEER_HEADS = ["SUBNET", "NODE", "PUBLIC IP", "REACHED BY", ...PROBE_HEADS] as const;
/** Columns without the probes' own. */
const COLUMNS_WITHOUT_PROBES = PEER_HEADS.length - PROBE_HEADS.length;

function renderPeers(peers: readonly PeerStatus[]): readonly string[] {
  if (peers.length === 0) return ["", "Peers: none"];
  // In etcd a node has no name of its own.
  const hasNames = peers.some(({ nodeName, publicIp }) => nodeName !== publicIp);
  const rows = peers.map((peer) => [
    ...[joined(peer.subnet, peer.subnet6), peer.nodeName, peer.publicIp, peer.how].map(printable),
    ...probeCells(peer),
  ]);
  const hasProbes = peers.some(({ probes }) => probes !== undefined);
  const columns = PEER_HEADS.map((_, i) => i).filter(
    (i) => (hasNames || i !== 1) && (hasProbes || i < COLUMNS_WITHOUT_PROBES),
  );
  const widths = PEER_HEADS.map((head, i) =>
    rows.reduce((width, row) => Math.max(width, row[i]?.length ?? 0), head.length),
  );
  const format = (cells: readonly string[]): string =>
    `  ${columns.map((i) => (cells[i] ?? "").padEnd(widths[i] ?? 0)).join("  ")}`;
  const body = peers.flatMap((peer, i) => {
    const problems = [...(peer.problem === undefined ? [] : [peer.problem]), ...probeProblems(peer)];
    return [format(rows[i] ?? []), ...problems.map((problem) => `    ${problem}`)];
  });
  return ["", `Peers: ${peers.length} (${countByReach(peers)})`, format(PEER_HEADS), ...body];
}

function countByReach(peers: readonly PeerStatus[]): string {
  const counts = new Map<string, number>();
  for (const { how } of peers) counts.set(how, (counts.get(how) ?? 0) + 1);
  return [...counts].map(([how, count]) => `${count} ${how}`).join(", ");
}

function renderFailures({ tables }: StatusReport): readonly string[] {
  const failures = tables.flatMap(({ table, failed }) =>
    failed.map(({ key, reason }) => `  ${table} ${key}: ${reason}`),
  );
  return failures.length === 0 ? [] : ["", `Failures: ${failures.length}; they are tried again`, ...failures];
}

function renderPolicyTroubles({ policy }: StatusReport): readonly string[] {
  if (policy === undefined || policy.problems.length + policy.skipped.length === 0) return [];
  return [
    "",
    "Network policy:",
    ...policy.problems.map((problem) => `  ${problem}`),
    ...policy.skipped.map(({ key, reason }) => `  ${key}: ${reason}`),
  ];
}

function renderSkipped({ skippedLeases }: StatusReport): readonly string[] {
  if (skippedLeases.length === 0) return [];
  return [
    "",
    `Skipped leases: ${skippedLeases.length}; those nodes are not reached until they are mended`,
    ...skippedLeases.map(({ key, reason }) => `  ${key}: ${reason}`),
  ];
}

function renderUnexplained({ unexplainedRoutes: routes = [] }: StatusReport): readonly string[] {
  return routes.length === 0
    ? []
    : ["", "Routes that no lease explains:", ...routes.map((text) => `  ${text}`)];
}

function renderRepairs({ repairs, repairsTotal }: StatusReport, nowMs: number): readonly string[] {
  if (repairsTotal === 0) return ["", "Repairs: none"];
  return [
    "",
    `Repairs: ${repairsTotal}${repairs.length < repairsTotal ? `, the last ${repairs.length}` : ""}; another program changed what is ours, and it was put back`,
    ...repairs.map(({ at, table, created, replaced, removed }) => {
      const what = [
        created > 0 ? `${created} put back` : "",
        replaced > 0 ? `${replaced} corrected` : "",
        removed > 0 ? `${removed} removed` : "",
      ].filter((part) => part !== "");
      return `  ${formatDuration(nowMs - Date.parse(at))} ago: ${table}: ${what.join(", ")}`;
    }),
  ];
}

function joined(a: string | undefined, b: string | undefined): string {
  return [a, b].filter((text) => text !== undefined).join(" and ");
}

function suffix(problem: string | undefined): string {
  return problem === undefined ? "" : `: ${problem}`;
}

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
  ["s", 1],
] as const;

/** The two largest units: `3 h 12 min`. */
export function formatDuration(durationMs: number): string {
  let seconds = Math.max(0, Math.floor(durationMs / 1000));
  if (!Number.isFinite(seconds)) return "an unknown time";
  const first = UNITS.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  return UNITS.slice(first, first + 2)
    .map(([unit, size]) => {
      const count = Math.floor(seconds / size);
      seconds -= count * size;
      return count === 0 ? "" : `${count} ${unit}`;
    })
    .filter((part) => part !== "")
    .join(" ");
}
