// What the daemon can tell of itself at any moment, from its first line on: readiness and the status report.
import type { Backend } from "../backends/backend.ts";
import { networksOf } from "../backends/peers.ts";
import type { Lease } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import type { DataPath } from "../host/data-path.ts";
import type { SubnetManager } from "../ipam/subnet-manager.ts";
import { processesStarted } from "../kernel/exec.ts";
import type { ProbeReport } from "../prober/report.ts";
import type { NodeAgent } from "./node-agent.ts";
import { planLeftoverNotices } from "./plan-notices.ts";
import { describePolicy } from "./policy-status.ts";
import type { RunningPolicy } from "./policy/start-policy.ts";
import type { PeerStatus, StatusReport } from "./status-report.ts";
import { VERSION } from "./version.ts";

/** Filled in step by step while the daemon starts. */
export class DaemonState {
  /** What start-up is waiting for, in words; empty once the agent runs. */
  waitingFor = "starting";
  /** What went wrong in that step last time, with the cure. */
  problem: string | undefined;
  store: StatusReport["store"]["kind"] = "etcd";
  manager: SubnetManager | undefined;
  config: NetworkConfig | undefined;
  backend: Backend | undefined;
  agent: NodeAgent | undefined;
  dataPath: DataPath | undefined;
  iptables: string | undefined;
  /** --network-policy. */
  wantsPolicy = false;
  policy: RunningPolicy | undefined;
  /** With --probe-interval. */
  prober: { report(): ProbeReport } | undefined;
  readonly #startedAt = new Date();

  notReadyReason(): string | undefined {
    if (this.agent) return this.agent.notReadyReason() ?? this.#policyNotReadyReason();
    const problem = this.problem ?? this.manager?.health().problem;
    return problem === undefined ? this.waitingFor : `${this.waitingFor}: ${problem}`;
  }

  /** What a ready node cannot do at present. */
  trouble(): string | undefined {
    return this.manager?.health().problem ?? this.policy?.agent.problem();
  }

  #policyNotReadyReason(): string | undefined {
    if (!this.wantsPolicy) return undefined;
    return this.policy === undefined ? "network policy is starting" : this.policy.notReadyReason();
  }

  report(): StatusReport {
    const { agent, config, backend } = this;
    const health = this.manager?.health();
    const probed = this.prober?.report();
    const notReadyReason = this.notReadyReason();
    const { recent, total } = agent?.repairs ?? { recent: [], total: 0 };
    return {
      version: VERSION,
      pid: process.pid,
      startedAt: this.#startedAt.toISOString(),
      ready: notReadyReason === undefined,
      ...(notReadyReason !== undefined && { notReadyReason }),
      store: {
        kind: this.store,
        connected: health?.connected ?? false,
        ...(health?.problem !== undefined && { problem: health.problem }),
      },
      ...(config && { network: describeNetwork(config) }),
      ...(agent && { lease: describeLease(agent.self, this.manager?.ownLease?.()?.expiresAt) }),
      ...(agent && { uplink: describeUplink(agent) }),
      ...(agent && backend && { podMtu: backend.podMtu(agent.node.uplink) }),
      ...(this.iptables !== undefined && { iptables: this.iptables }),
      ...(this.policy && { policy: describePolicy(this.policy) }),
      peers: agent ? describePeers(agent, probed?.peers) : [],
      ...(probed && { probes: probed.summary }),
      skippedLeases: health?.skipped ?? [],
      ...(agent && config && backend && describeLeftovers(agent, config, backend)),
      tables:
        agent?.lastPass?.report.tables.map(({ table, desired, failed }) => ({ table, desired, failed })) ??
        [],
      ...(agent?.lastPass && { lastPass: describePass(agent.lastPass) }),
      repairs: recent,
      repairsTotal: total,
      processesStarted: processesStarted(),
      ...(this.dataPath && { dataPath: this.dataPath.counters() }),
    };
  }
}

function describeNetwork({ ipv4, ipv6, backend }: NetworkConfig): NonNullable<StatusReport["network"]> {
  return {
    ...(ipv4 && { ipv4: ipv4.network }),
    ...(ipv6 && { ipv6: ipv6.network }),
    backend: backend.type,
  };
}

function describeLeftovers(
  { node, facts, self, leases }: NodeAgent,
  config: NetworkConfig,
  { type }: Backend,
): Pick<StatusReport, "unexplainedRoutes"> {
  if (type === "alloc") return {};
  const { routes } = facts;
  const found = planLeftoverNotices({
    uplink: node.uplink,
    routes,
    self,
    leases,
    networks: networksOf(config),
  });
  return found.length === 0 ? {} : { unexplainedRoutes: found.map(({ message }) => message) };
}

/** @param expiresAt milliseconds since the epoch, as last renewed */
function describeLease(self: Lease, expiresAt: number | undefined): NonNullable<StatusReport["lease"]> {
  return {
    ...describeSubnets(self),
    ...(expiresAt !== undefined && { expiresAt: new Date(expiresAt).toISOString() }),
  };
}

function describeSubnets({
  subnet,
  subnet6,
  publicIp,
  publicIp6,
}: Lease): Pick<PeerStatus, "subnet" | "subnet6" | "publicIp"> {
  return {
    subnet: subnet ?? subnet6 ?? "",
    ...(subnet !== undefined && subnet6 !== undefined && { subnet6 }),
    publicIp: publicIp ?? publicIp6 ?? "",
  };
}

function describeUplink({ node: { uplink } }: NodeAgent): NonNullable<StatusReport["uplink"]> {
  return { name: uplink.name, mtu: uplink.mtu, addresses: Object.values(uplink.addresses) };
}

function describePeers(agent: NodeAgent, probed: ProbeReport["peers"] = new Map()): readonly PeerStatus[] {
  return agent.reach.flatMap(({ subnetKey, how, problem }) => {
    const lease = agent.leases.get(subnetKey);
    if (lease === undefined) return [];
    const probes = probed.get(subnetKey);
    return {
      nodeName: lease.nodeName,
      ...describeSubnets(lease),
      backendType: lease.backendType,
      how,
      ...(problem !== undefined && { problem }),
      ...(probes !== undefined && { probes }),
    };
  });
}

function describePass({
  at,
  durationMs,
  report,
}: NonNullable<NodeAgent["lastPass"]>): NonNullable<StatusReport["lastPass"]> {
  const sum = (count: (table: (typeof report.tables)[number]) => number) =>
    report.tables.reduce((total, table) => total + count(table), 0);
  return {
    at: new Date(at).toISOString(),
    durationMs: Math.round(durationMs),
    changed: sum(({ created, replaced, removed }) => created + replaced + removed),
    failed: sum(({ failed }) => failed.length),
  };
}
