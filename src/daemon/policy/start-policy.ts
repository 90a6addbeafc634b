// Builds the policy engine from the options and what the daemon has, and connects its loop, its source and its timers.
import { dirname, join } from "node:path";
import { createPolicyApplier } from "../../host/policy-applier.ts";
import { createConntrackTable } from "../../kernel/conntrack.ts";
import { exec, spawnBytes, spawnLines } from "../../kernel/exec.ts";
import { createSetTable } from "../../kernel/ipset/set-table.ts";
import { createFirewallTable } from "../../kernel/iptables/firewall-table.ts";
import type { IptablesVariant } from "../../kernel/iptables/variant.ts";
import type { KernelEvent } from "../../kernel/monitor-codec.ts";
import type { NflogWatch } from "../../kernel/nflog/watch-nflog.ts";
import { cidrContainsIp } from "../../net/cidr.ts";
import type { Cidr } from "../../net/cidr.ts";
import type { Family } from "../../net/ip.ts";
import type { Logger } from "../../net/logger.ts";
import { createPolicyGraph } from "../../policy/graph.ts";
import type { PolicyGraph } from "../../policy/graph.ts";
import { createInForceBook } from "../../policy/in-force-book.ts";
import type { PodRegistry } from "../../policy/pod-registry.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../policy/settings.ts";
import type { PolicySettings } from "../../policy/settings.ts";
import type { PolicySource } from "../../policy/source.ts";
import { createBoundedLoop } from "../bounded-loop.ts";
import type { BoundedLoop } from "../bounded-loop.ts";
import type { Notice } from "../connect-store.ts";
import type { Metrics } from "../metrics.ts";
import type { Options } from "../options.ts";
import { createAttachmentDesk } from "./attachment-desk.ts";
import type { AttachmentDesk } from "./attachment-desk.ts";
import type { AttachmentService } from "./attachment-routes.ts";
import { attachmentDirectory, createAttachmentStore } from "./attachment-store.ts";
import { createBridgeSwitches } from "./bridge-switches.ts";
import { chooseFamilies, chooseSettings } from "./choose-settings.ts";
import { createDeniedCounts } from "./denied-counts.ts";
import { createEstablishedCheck } from "./established.ts";
import { createHostAddresses } from "./host-addresses.ts";
import { createPodWiring } from "./pod-wiring.ts";
import type { PodWiring } from "./pod-wiring.ts";
import { PolicyAgent } from "./policy-agent.ts";
import { registerPolicyMetrics } from "./policy-metrics.ts";
import type { PolicyAgentState, PolicyReadSource } from "./read-source.ts";

/** A burst of events is a few passes; a single one hardly waits. */
const MIN_PASS_INTERVAL_MS = 5;
const RETRY_INTERVAL_MS = 200;
const MAX_RETRY_INTERVAL_MS = 30_000;

export interface PolicyParts {
  readonly nodeName: string;
  readonly source: PolicySource;
  readonly registry?: PodRegistry;
  readonly variant: IptablesVariant;
  /** Families of the cluster's network. */
  readonly networks: readonly Family[];
  /** Subnets of our pods. */
  readonly podCidrs: readonly Cidr[];
  /** The backend's, which are no pods' though they have addresses of our subnet. */
  readonly ownDevices: readonly string[];
}

export interface PolicyStartModules {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly notify: (notice: Notice) => void;
}

export interface RunningPolicy extends AttachmentService {
  readonly read: PolicyReadSource;
  readonly agent: PolicyAgent;
  onKernelEvent(event: KernelEvent): void;
  setPodCidrs(podCidrs: readonly Cidr[]): void;
  /** Settles when the signal was given and all parts have ended. Never rejects. */
  readonly stopped: Promise<void>;
}

/** Starts everything; returns before the first pass. */
export async function startPolicy(
  options: Options,
  parts: PolicyParts,
  { log, metrics, notify }: PolicyStartModules,
  signal: AbortSignal,
): Promise<RunningPolicy> {
  const { nodeName, source, registry, variant } = parts;
  const families = chooseFamilies(parts.networks, variant, log);
  const { prefix } = DEFAULT_POLICY_SETTINGS;
  const firewall = createFirewallTable({ variant, families, chainPrefix: prefix }, { exec });
  const settings = await chooseSettings(options.policy, families, { firewall, log });
  const graph = createPolicyGraph({ nodeName, settings });
  const inForce = createInForceBook();
  const denied = createDeniedCounts(settings, { exec });
  let loop: BoundedLoop | undefined;
  let agent: PolicyAgent;
  const deniedLog = await beginDeniedLog(settings, graph, log, signal);
  const read: PolicyReadSource = {
    settings, graph, book: inForce, firewall, denied, exec, state: () => withWarning(agent.state(), deniedLog?.problem()),
  }; // prettier-ignore
  const policyMetrics = registerPolicyMetrics(metrics, read);
  let { podCidrs } = parts;
  const wiring = createWiring(options, parts.ownDevices, {
    podCidrs: () => podCidrs,
    wires: () => agent.book.attachments.flatMap(({ hostIfName, detached }) => (detached ? [] : (hostIfName ?? []))),
  }, { log, notify }); // prettier-ignore
  agent = new PolicyAgent(nodeName, {
    source,
    graph,
    inForce,
    applier: createPolicyApplier({ sets: createSetTable({ prefix }, { exec }), firewall }),
    switches: createBridgeSwitches({ families }, { exec }),
    attachments: createAttachmentStore(attachmentDirectory(options.subnetFile), log),
    wiring,
    ...(registry && { registry }),
    ...(options.policy.established === "end" && {
      established: createEstablishedCheck(settings, {
        graph, conntrack: createConntrackTable({ exec, spawnLines }), log,
      }), // prettier-ignore
    }),
    metrics: policyMetrics,
    log,
    now: Date.now,
    notify,
    request: () => loop?.request(),
  });
  agent.ownNode.setPodCidrs(podCidrs);
  loop = startLoop(agent, options, log, signal);
  const desk = createAttachmentDesk({
    agent, source, ...(registry && { registry }), wiring, metrics: policyMetrics, log, now: Date.now,
  }); // prettier-ignore
  const host = followHost(agent, desk, { wiring, podCidrs: () => podCidrs }, log);
  const resync = setInterval(() => {
    agent.recheck();
    wiring.checkConflist();
    // Ports of a bridge come and go without an event that we listen to.
    if (wiring.problem !== undefined) host.readAll();
  }, options.iptablesResync * 1_000);
  const stopped = Promise.all([
    source.watch((event) => agent.onSourceEvent(event), signal),
    registry?.run(signal),
    loop.stopped,
    deniedLog?.ended,
  ])
    .finally(() => clearInterval(resync))
    .then(() => undefined);
  return {
    read,
    agent,
    desk,
    notReadyReason: () => agent.notReadyReason(),
    onKernelEvent: host.onKernelEvent,
    setPodCidrs: (changed) => {
      podCidrs = changed;
      agent.ownNode.setPodCidrs(changed);
    },
    stopped,
  };
}

function createWiring(
  { policy, cniConfFile, netConfigPath, kubeSubnetMgr }: Options,
  ownDevices: readonly string[],
  pods: Pick<Parameters<typeof createPodWiring>[0], "podCidrs" | "wires">,
  modules: Parameters<typeof createPodWiring>[1],
): PodWiring {
  const { podInterfaces } = policy;
  const places = {
    ...(cniConfFile !== undefined && { cniDirectory: dirname(cniConfFile) }),
    ...(kubeSubnetMgr && { cniTemplate: join(dirname(netConfigPath), "cni-conf.json") }),
  };
  return createPodWiring({ podInterfaces, ownDevices, ...pods, ...places }, modules);
}

/** Undefined if nobody asked for it; then none of it is loaded. */
async function beginDeniedLog(
  settings: PolicySettings,
  graph: PolicyGraph,
  log: Logger,
  signal: AbortSignal,
): Promise<NflogWatch | undefined> {
  const { logGroup } = settings;
  if (logGroup === undefined) return undefined;
  const { startDeniedLog } = await import("./denied-log.ts");
  return startDeniedLog(
    { group: logGroup, settings, snapshot: () => graph.snapshot(), signal },
    { spawnBytes, log },
  );
}

function withWarning(state: PolicyAgentState, warning: string | undefined): PolicyAgentState {
  return warning === undefined ? state : { ...state, warnings: [warning] };
}

function startLoop(agent: PolicyAgent, options: Options, log: Logger, signal: AbortSignal): BoundedLoop {
  const loop = createBoundedLoop(
    {
      run: (pass) => agent.pass(pass),
      minIntervalMs: MIN_PASS_INTERVAL_MS,
      retryIntervalMs: RETRY_INTERVAL_MS,
      maxRetryIntervalMs: MAX_RETRY_INTERVAL_MS,
      maxIntervalMs: options.resync * 1_000,
      onError: (error) => log.error({ err: error }, "a pass of network policy failed; trying again"),
    },
    signal,
  );
  // The switches of the bridge do not wait for a source.
  loop.request();
  return loop;
}

/** Follows the host's own addresses, and the wires of pods, as the kernel tells of both. */
function followHost(
  agent: PolicyAgent,
  desk: AttachmentDesk,
  { wiring, podCidrs }: { readonly wiring: PodWiring; readonly podCidrs: () => readonly Cidr[] },
  log: Logger,
): { readonly onKernelEvent: (event: KernelEvent) => void; readonly readAll: () => void } {
  const addresses = createHostAddresses({ exec });
  const readAll = (): void => {
    const seenAtMs = Date.now();
    addresses.read().then(
      (now) => {
        agent.ownNode.setAddresses(now.addresses);
        desk.endUnwired(new Set(now.interfaces.map(({ name }) => name)), seenAtMs);
        wiring.onInterfaces(now.interfaces);
      },
      (error: unknown) =>
        log.warn({ err: error }, "cannot read the interfaces of this node; trying again at the next change"),
    );
  };
  readAll();
  return {
    readAll,
    onKernelEvent(event) {
      const isWireGone = event.kind === "link" && event.deleted && isWire(agent, event.name);
      // A bridge for pods begins with its address.
      const isOfPods = event.kind === "address" && podCidrs().some((cidr) => cidrContainsIp(cidr, event.ip));
      if (event.kind === "everything" || isWireGone || isOfPods) readAll();
      const changed = addresses.onKernelEvent(event);
      if (changed !== undefined) agent.ownNode.setAddresses(changed);
    },
  };
}

function isWire({ book }: PolicyAgent, name: string): boolean {
  return book.attachments.some(({ hostIfName }) => hostIfName === name);
}
