// The running part of the daemon: connects sources, loop and agent, and ends them together.
import type { Backend, LocalNode } from "../backends/backend.ts";
import { familiesOf, networksOf, subnetOf } from "../backends/peers.ts";
import { createHostApplier } from "../host/apply.ts";
import type { DataPath } from "../host/data-path.ts";
import type { KernelTables } from "../host/kernel-table.ts";
import type { Ownership } from "../host/ownership.ts";
import type { HostFacts } from "../host/uplink.ts";
import { subnetKeyOf } from "../ipam/lease.ts";
import type { Lease } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import type { PublicIpWish } from "../ipam/subnet-manager.ts";
import { exec, spawnLines } from "../kernel/exec.ts";
import { readHostFacts } from "../kernel/host-facts.ts";
import type { IptablesVariant } from "../kernel/iptables/variant.ts";
import type { KernelEvent } from "../kernel/monitor-codec.ts";
import { startMonitor } from "../kernel/monitor.ts";
import type { Cidr } from "../net/cidr.ts";
import { FAMILIES } from "../net/ip.ts";
import type { Logger } from "../net/logger.ts";
import { createBoundedLoop } from "./bounded-loop.ts";
import type { BoundedLoop } from "./bounded-loop.ts";
import type { Store } from "./connect-store.ts";
import type { DaemonState } from "./daemon-state.ts";
import type { Metrics } from "./metrics.ts";
import type { NodeMetrics } from "./node-metrics.ts";
import { NodeAgent } from "./node-agent.ts";
import { NoticeBoard } from "./notice-board.ts";
import type { Options } from "./options.ts";
import type { RunningPolicy } from "./policy/start-policy.ts";
import { publishNode } from "./publish-node.ts";
import { createSdNotifier } from "./sd-notify.ts";
import type { SdNotifier } from "./sd-notify.ts";
import { uplinkWish } from "./start-node.ts";
import { runProber } from "./start-prober.ts";

/** At least this long between two passes: a burst of events is one pass. */
const MIN_PASS_INTERVAL_MS = 100;
const RETRY_INTERVAL_MS = 1_000;
const MAX_RETRY_INTERVAL_MS = 30_000;
/** A deleted device takes its rows along in many events; the pass waits for the last of them. Well under a second. */
const DRIFT_SETTLE_MS = 50;
const HOST_CHECK_INTERVAL_MS = 5 * 60_000;

/** The cluster as its store describes it, and the store. */
export interface Cluster {
  readonly store: Store;
  readonly config: NetworkConfig;
  readonly backend: Backend;
}

/** The host's tables and what is fixed about them while the daemon runs. */
export interface Host {
  readonly ownership: Ownership;
  readonly tables: KernelTables;
  /** Absent where there is none and none is needed. */
  readonly iptables?: IptablesVariant;
  /** iptables knows --random-fully and the user wants it. */
  readonly randomFully: boolean;
  /** Of a backend whose packets pass through this program. */
  readonly dataPath?: DataPath | undefined;
}

/** Our place in the cluster at start. */
export interface Joined {
  readonly self: Lease;
  readonly node: LocalNode;
  readonly facts: HostFacts;
  /** Set in the store by an administrator. */
  readonly publicIps: PublicIpWish;
}

export interface DaemonModules {
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly env: NodeJS.ProcessEnv;
}

export interface ServeModules extends DaemonModules {
  readonly metrics: Metrics;
  readonly nodeMetrics: NodeMetrics;
}

/** Runs until the signal, or throws what ended one of its parts; by then all parts have ended. */
export async function serve(
  options: Options,
  parts: { readonly cluster: Cluster; readonly host: Host; readonly joined: Joined },
  state: DaemonState,
  { log, signal, env, metrics, nodeMetrics }: ServeModules,
): Promise<void> {
  const { manager } = parts.cluster.store;
  const notifier = createSdNotifier({ env, exec, log });
  // Ends with the signal, or with the first part that fails.
  const lifetime = new AbortController();
  const alive = AbortSignal.any([signal, lifetime.signal]);
  const policy = await beginPolicy(options, parts, { log, metrics }, alive);
  state.policy = policy;
  const agent: NodeAgent = createAgent(options, parts, { log, notifier, request: () => loop.request() });
  const notices = createNoticeBoard(parts.cluster, log);
  const loop: BoundedLoop = createBoundedLoop(
    {
      run: async (pass) => {
        const complete = await agent.pass(pass);
        nodeMetrics.pass(agent.lastPass, complete);
        notices.afterPass(agent, manager.health().skipped);
        return complete;
      },
      minIntervalMs: MIN_PASS_INTERVAL_MS,
      retryIntervalMs: RETRY_INTERVAL_MS,
      maxRetryIntervalMs: MAX_RETRY_INTERVAL_MS,
      maxIntervalMs: options.resync * 1_000,
      onError: (error) => log.error({ err: error }, "a pass failed; trying again"),
    },
    alive,
  );
  state.agent = agent;

  let settling: NodeJS.Timeout | undefined;
  const onEvent = (event: KernelEvent): void => {
    policy?.onKernelEvent(event);
    if (!agent.onKernelEvent(event)) return;
    settling ??= setTimeout(() => {
      settling = undefined;
      loop.request();
    }, DRIFT_SETTLE_MS);
  };
  const monitor = startMonitor({ signal: alive, onEvent }, { spawnLines, log });
  // iptables has no events that we could wait for.
  const firewallResync = setInterval(() => agent.recheck(["firewall"]), options.iptablesResync * 1_000);
  notices.lookAtHost();
  const hostChecks = setInterval(() => notices.lookAtHost(), HOST_CHECK_INTERVAL_MS);
  const probe = { interval: options.probeInterval, agent, backend: parts.cluster.backend };
  const probing = runProber(probe, { log, metrics, onStart: (prober) => (state.prober = prober) }, alive);
  try {
    await Promise.all([
      manager.watchLeases((event) => agent.onLeaseEvent(event), alive),
      manager.keepLease(parts.joined.self, alive, {
        onLease: (lease) => {
          agent.onOwnLease(lease);
          policy?.setPodCidrs(subnetsOf(lease));
        },
        onPublicIps: (wish) => agent.onWish(uplinkWish(options, parts.cluster.config, wish)),
      }),
      loop.stopped,
      monitor.ended,
      policy?.stopped,
      probing,
    ]);
  } finally {
    clearInterval(firewallResync);
    clearInterval(hostChecks);
    lifetime.abort();
    clearTimeout(settling);
    parts.host.dataPath?.stop();
    await Promise.all([loop.stopped, monitor.ended, policy?.stopped, probing, notifier.stopping()]);
  }
}

/** Undefined without --network-policy; then none of it is even loaded. */
async function beginPolicy(
  options: Options,
  { cluster, host, joined }: { readonly cluster: Cluster; readonly host: Host; readonly joined: Joined },
  modules: { readonly log: Logger; readonly metrics: Metrics },
  signal: AbortSignal,
): Promise<RunningPolicy | undefined> {
  if (!options.networkPolicy || host.iptables === undefined) return undefined;
  const { nodeName } = joined.self;
  const [{ startPolicy }, { source, registry }] = await Promise.all([
    import("./policy/start-policy.ts"),
    cluster.store.openPolicy(nodeName),
  ]);
  const parts = {
    nodeName,
    source,
    ...(registry && { registry }),
    variant: host.iptables,
    networks: familiesOf(cluster.config),
    podCidrs: subnetsOf(joined.self),
    ownDevices: host.ownership.devices,
  };
  const { store } = cluster;
  return startPolicy(options, parts, { ...modules, notify: (notice) => store.notify(notice) }, signal);
}

function subnetsOf(lease: Lease): readonly Cidr[] {
  return FAMILIES.flatMap((family) => subnetOf(lease, family) ?? []);
}

function createNoticeBoard({ store, config, backend }: Cluster, log: Logger): NoticeBoard {
  return new NoticeBoard(
    {
      families: familiesOf(config),
      hasDataPath: backend.type !== "alloc",
      backend,
      networks: networksOf(config),
    },
    { notify: (notice) => store.notify(notice), log, now: Date.now },
  );
}

function createAgent(
  options: Options,
  { cluster, host, joined }: { readonly cluster: Cluster; readonly host: Host; readonly joined: Joined },
  {
    log,
    notifier,
    request,
  }: { readonly log: Logger; readonly notifier: SdNotifier; readonly request: () => void },
): NodeAgent {
  const { store, config, backend } = cluster;
  const { ownership, tables, randomFully } = host;
  return new NodeAgent(
    {
      config,
      backend,
      ownership,
      wish: uplinkWish(options, config, joined.publicIps),
      plan: {
        ipMasq: options.ipMasq,
        forwardRules: options.iptablesForwardRules,
        randomFully,
        blackhole: options.ipBlackholeRoute,
        chainPrefix: ownership.chainPrefix,
      },
      ...joined,
    },
    {
      applier: createHostApplier(tables),
      dataPath: host.dataPath,
      readFacts: () => readHostFacts({ ownership, exec }),
      manager: store.manager,
      log,
      now: Date.now,
      request,
      becomeReady: async (self, node) => {
        publishNode(options, { config, backend, self, node }, log);
        const subnet = subnetKeyOf(self);
        log.info({ subnet, uplink: node.uplink.name, backend: backend.type }, "ready");
        store.markReady();
        await notifier.ready(`${backend.type} ${subnet} via ${node.uplink.name}`);
      },
    },
  );
}
