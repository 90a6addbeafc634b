// The composition root: builds every part from the options, connects them, and runs until a signal or the end of the lease.
import { setTimeout as delay } from "node:timers/promises";
import type { LocalNode } from "../backends/backend.ts";
import { familiesOf, networksOf } from "../backends/peers.ts";
import { createBackend } from "../backends/registry.ts";
import { createAbsentTable } from "../host/absent-table.ts";
import { chooseUplink } from "../host/choose-uplink.ts";
import { ownershipOf } from "../host/ownership.ts";
import { instanceOf } from "../host/status-socket-path.ts";
import { isBackendDefaulted } from "../ipam/parse-network-config.ts";
import { readPreviousSubnetFile } from "../ipam/subnet-file.ts";
import { exec } from "../kernel/exec.ts";
import { readHostFacts } from "../kernel/host-facts.ts";
import { createFirewallTable } from "../kernel/iptables/firewall-table.ts";
import { detectIptablesVariant, IptablesMissingError } from "../kernel/iptables/variant.ts";
import type { IptablesVariant } from "../kernel/iptables/variant.ts";
import { loadMemoryAddon, readResidentFileBytes } from "../kernel/memory/addon.ts";
import { createNetTables } from "../kernel/tables.ts";
import type { Logger } from "../net/logger.ts";
import { connectStore } from "./connect-store.ts";
import type { Store } from "./connect-store.ts";
import { registerDataPathMetrics } from "./data-path-metrics.ts";
import { DaemonState } from "./daemon-state.ts";
import { healthRoutes, statusRoutes } from "./health-router.ts";
import type { Routes } from "./health-router.ts";
import { startHealthServer } from "./health-server.ts";
import { keepMemorySmall } from "./memory-keeper.ts";
import { createMetrics, metricsRoutes } from "./metrics.ts";
import { registerNodeMetrics } from "./node-metrics.ts";
import { registerSourceMetrics } from "./source-metrics.ts";
import type { Options } from "./options.ts";
import { openDataPath } from "./open-data-path.ts";
import { acquireRequest, uplinkWish } from "./start-node.ts";
import { serve } from "./serve.ts";
import type { Cluster, DaemonModules, Host, Joined } from "./serve.ts";
import { startStatusSocket } from "./status-socket.ts";

/** Between attempts while the store is away at start. */
const STORE_RETRY_MS = 1_000;

/**
 * Runs the daemon until the signal. The data path stays as it is afterwards.
 * @throws {LeaseLostError} when the subnet went to somebody else
 * @throws {ConfigConflictError} when flags contradict the cluster's configuration
 */
export async function runDaemon(options: Options, modules: DaemonModules): Promise<void> {
  const { log, signal } = modules;
  keepMemorySmall({ addon: loadMemoryAddon(), residentFileBytes: readResidentFileBytes, log }, signal);
  const state = new DaemonState();
  const health = healthRoutes(
    () => state.notReadyReason(),
    () => state.trouble(),
  );
  state.wantsPolicy = options.networkPolicy;
  const metrics = createMetrics({ log });
  const nodeMetrics = registerNodeMetrics(metrics, state);
  await startHealthServer(
    { ip: options.healthzIp, port: options.healthzPort, routes: { ...health, ...metricsRoutes(metrics) } },
    { log },
    signal,
  );
  const routes = {
    ...health,
    ...metricsRoutes(metrics),
    ...statusRoutes(() => state.report()),
    ...(options.networkPolicy && (await loadPolicyRoutes(state))),
  };
  await startStatusSocket({ path: options.statusSocket, routes }, { log }, signal);

  const store = await connectStore(options, { ...modules, tally: registerSourceMetrics(metrics) });
  state.store = store.kind;
  state.manager = store.manager;
  try {
    const cluster = await readCluster(store, state, modules);
    const dataPath = await openDataPath(cluster.backend, log);
    state.dataPath = dataPath;
    if (dataPath) registerDataPathMetrics(metrics, () => dataPath.counters());
    const host = { ...(await prepareHost(options, cluster, state, log)), dataPath };
    const joined = await joinCluster(options, cluster, host, state, signal);
    await serve(options, { cluster, host, joined }, state, { ...modules, metrics, nodeMetrics });
  } catch (error) {
    // Whatever was waiting when the signal came ends with an error; that is no failure.
    if (!signal.aborted) throw error;
  } finally {
    await store.manager.close();
  }
}

/** Served from the first moment on: a pod that is added while the daemon starts waits. */
async function loadPolicyRoutes(state: DaemonState): Promise<Routes> {
  const [{ attachmentRoutes }, { createPolicyReadRoutes }] = await Promise.all([
    import("./policy/attachment-routes.ts"),
    import("./policy/read-routes.ts"),
  ]);
  const attachments = attachmentRoutes(
    () => state.policy,
    () => state.notReadyReason(),
  );
  return { ...attachments, ...createPolicyReadRoutes(() => state.policy?.read) };
}

/** Switched off: whatever an earlier start has set up for policy would go on denying. */
async function removeEarlierPolicy(options: Options, variant: IptablesVariant, log: Logger): Promise<void> {
  // Policy is the host's: of several daemons the first one has it.
  if (instanceOf(options.subnetFile) !== "") return;
  const { removeEarlierPolicy: remove } = await import("./policy/remove-earlier.ts");
  await remove({ variant, subnetFile: options.subnetFile }, { exec, log });
}

async function readCluster(
  store: Store,
  state: DaemonState,
  { log, signal }: DaemonModules,
): Promise<Cluster> {
  state.waitingFor = `waiting for the network configuration in ${store.configPlace}`;
  await untilPrepared(store, state, { log, signal });
  const config = await store.manager.networkConfig(signal);
  if (isBackendDefaulted(config.backend)) {
    log.info(
      {},
      'the network configuration has no Backend: its type is "udp", as in flannel; set Backend.Type to choose',
    );
  }
  const backend = createBackend(config);
  state.config = config;
  state.backend = backend;
  return { store, config, backend };
}

/** Repeats while the store is away or holds a broken configuration; each new reason is logged once. */
async function untilPrepared(
  store: Store,
  state: DaemonState,
  { log, signal }: Pick<DaemonModules, "log" | "signal">,
): Promise<void> {
  for (;;) {
    try {
      await store.prepare();
      state.problem = undefined;
      return;
    } catch (error) {
      if (!(error instanceof Error && store.isPassing(error))) throw error;
      if (state.problem !== error.message) log.warn({}, `${error.message}; trying again each second`);
      state.problem = error.message;
    }
    await delay(STORE_RETRY_MS, undefined, { signal });
  }
}

async function prepareHost(
  options: Options,
  { config, backend }: Cluster,
  state: DaemonState,
  log: Logger,
): Promise<Host> {
  const networks = networksOf(config);
  const ownership = ownershipOf(networks, backend.devices, instanceOf(options.subnetFile));
  const net = createNetTables({ ownership, exec });
  const families = familiesOf(config);
  let variant: IptablesVariant;
  try {
    variant = await detectIptablesVariant({ families }, { exec });
  } catch (error) {
    // Nothing is wanted of iptables, so it need not be there; where it is, rules of an earlier start with other flags go.
    const isWanted = options.ipMasq || options.iptablesForwardRules || options.networkPolicy;
    if (isWanted || !(error instanceof IptablesMissingError)) throw error;
    return { ownership, tables: { ...net, firewall: createAbsentTable("firewall") }, randomFully: false };
  }
  if (variant.warning !== undefined) log.warn({}, variant.warning);
  state.iptables = `${variant.mode} ${variant.version}`;
  const { chainPrefix } = ownership;
  const firewall = createFirewallTable({ variant, families, chainPrefix }, { exec });
  if (!options.networkPolicy) await removeEarlierPolicy(options, variant, log);
  return {
    ownership,
    tables: { ...net, firewall },
    iptables: variant,
    randomFully: variant.randomFully && !options.ipMasqFullyRandomDisable,
  };
}

async function joinCluster(
  options: Options,
  { store, config, backend }: Cluster,
  { ownership, tables }: Host,
  state: DaemonState,
  signal: AbortSignal,
): Promise<Joined> {
  state.waitingFor = `waiting for what ${store.kind} says of this node`;
  const publicIps = await store.publicIps(signal);
  state.waitingFor = "waiting for an uplink";
  const facts = await readHostFacts({ ownership, exec });
  const place = chooseUplink(facts, uplinkWish(options, config, publicIps));
  const links = await tables.links.list();
  const previous = await readPreviousSubnetFile(options.subnetFile);
  state.waitingFor = "waiting for a lease";
  let node: LocalNode | undefined;
  const request = acquireRequest(backend, place, { links, previous }, (described) => {
    node = described;
  });
  const self = await store.manager.acquire(request, signal);
  return { self, node: node ?? { ...place, macs: backend.publishedMacs(self) }, facts, publicIps };
}
