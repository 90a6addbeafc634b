// A whole cluster on one machine: underlay, etcd, nodes with daemons, pods, and somebody outside.
import { mkdirSync } from "node:fs";
import path from "node:path";
import { startEtcd } from "./etcd.ts";
import type { EtcdOptions, LabEtcd } from "./etcd.ts";
import { joinExistingEtcd } from "./existing-etcd.ts";
import type { ExistingEtcd } from "./existing-etcd.ts";
import { startMachine } from "./machine.ts";
import type { Machine } from "./machine.ts";
import { measureMatrix, TELL_SOURCE_PORT } from "./matrix.ts";
import { createNode } from "./node.ts";
import type { LabNode, LabPod, PodExtra } from "./node.ts";
import { planCells } from "./plan-matrix.ts";
import type { CellResult, Matrix } from "./plan-matrix.ts";
import {
  OUTSIDE_ATTACHMENT,
  planNodeAttachment,
  SEGMENTS,
  UNDERLAY_ADDRESS,
  UNDERLAY_ADDRESS6,
} from "./plan-topology.ts";
import type { Topology } from "./plan-topology.ts";
import { enableForwarding, startUnderlay } from "./underlay.ts";
import type { Underlay } from "./underlay.ts";

export interface ClusterOptions {
  /** Nodes n1..nN. Default 3. */
  readonly nodes?: number;
  /** Pods per node. Default 2. */
  readonly pods?: number;
  /** What the runtime tells of each pod that is made with its node. */
  readonly podExtra?: (name: string) => PodExtra;
  readonly topology?: Topology;
  /** No node has an IPv4 address, and etcd is reached by IPv6; `netConf` must say the same. */
  readonly ipv6Only?: boolean;
  /** Default vxlan. */
  readonly backend?: string;
  /** Pod network of the default configuration. Default 10.244.0.0/16. */
  readonly network?: string;
  /**
   * The cluster's configuration, stored with `config set` before the first daemon starts. Default: none, and each daemon
   * gets --backend and --network, which create it. "none": neither; the test stores what it wants.
   */
  readonly netConf?: Readonly<Record<string, unknown>> | "none";
  /** More flags for each daemon. */
  readonly daemonFlags?: readonly string[];
  readonly daemonEnv?: Readonly<Record<string, string>>;
  /** Program and first arguments of the daemon. Default: the build. */
  readonly daemonCommand?: readonly string[];
  readonly pluginDirectories?: readonly string[];
  /** An etcd of our own (default), or one that exists. */
  readonly etcd?: EtcdOptions | ExistingEtcd;
  /** Leave the daemons for the test to start; then no pods are made either. */
  readonly startDaemons?: boolean;
  /** Directory for logs; made when absent, never removed. */
  readonly directory: string;
  readonly onProgress?: (line: string) => void;
  /** Aborting closes the cluster, also in the middle of its start. */
  readonly signal?: AbortSignal;
}

export interface Cluster {
  readonly directory: string;
  readonly topology: Topology;
  readonly underlay: Underlay;
  readonly etcd: LabEtcd;
  /** Reaches the underlay, has no route to any pod. */
  readonly outside: Machine;
  readonly outsideAddress: string;
  /** By name, in the order they were added. */
  readonly nodes: ReadonlyMap<string, LabNode>;
  /** @throws {Error} naming those that exist */
  node(name: string): LabNode;
  /** Of all nodes. */
  pods(): readonly LabPod[];
  pod(name: string): LabPod;
  /** Adds the next node, with its daemon unless `startDaemon` is false. */
  addNode(options?: { readonly startDaemon?: boolean; readonly pods?: number }): Promise<LabNode>;
  /** Switches a node off: no daemon says goodbye. Its lease stays in etcd. */
  removeNode(name: string): Promise<void>;
  /** Pod to pod, node and outside, at the full MTU. */
  matrix(onCell?: (result: CellResult) => void): Promise<Matrix>;
  /** Ends everything, in order. Idempotent. */
  close(): Promise<void>;
}

/** Starts a cluster; what has started is ended again when a step fails. Needs root. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  mkdirSync(options.directory, { recursive: true });
  const machines = new Set<Machine>();
  const closeMachines = async (): Promise<void> => {
    await Promise.all([...machines].map((machine) => machine.close()));
  };
  const onAbort = (): void => void closeMachines(); // The failed start, or close(), waits for them.
  options.signal?.addEventListener("abort", onAbort);
  const own = async (machine: Machine): Promise<Machine> => {
    machines.add(machine);
    if (options.signal?.aborted) await machine.close();
    options.signal?.throwIfAborted();
    return machine;
  };
  try {
    const cluster = await assemble(options, { own, disown: (machine) => machines.delete(machine) });
    let closing: Promise<void> | undefined;
    const close = async (): Promise<void> => {
      options.signal?.removeEventListener("abort", onAbort);
      // Daemons first, while etcd and the wires still stand, so that none ends with an error in its log.
      await Promise.all([...cluster.nodes.values()].map((node) => node.daemon.stop()));
      await cluster.etcd.close();
      await closeMachines();
    };
    return { ...cluster, close: () => (closing ??= close()) };
  } catch (error) {
    await closeMachines();
    options.signal?.throwIfAborted();
    throw error;
  }
}

interface Ownership {
  readonly own: (machine: Machine) => Promise<Machine>;
  readonly disown: (machine: Machine) => void;
}

async function assemble(
  options: ClusterOptions,
  { own, disown }: Ownership,
): Promise<Omit<Cluster, "close">> {
  const { topology = "flat", ipv6Only = false, directory, onProgress = () => undefined } = options;
  const outsideAddress = ipv6Only ? OUTSIDE_ATTACHMENT.address6 : OUTSIDE_ATTACHMENT.address;
  const underlay = await startUnderlay(topology);
  await own(underlay.machine);
  const [outside, etcd] = await Promise.all([
    startOutside(underlay, outsideAddress, own),
    startStore(options, underlay),
  ]);
  onProgress(`etcd serves at ${etcd.endpoints}`);
  const nodes = new Map<string, LabNode>();
  let nodesMade = 0;

  const makeNode = async (): Promise<LabNode> => {
    const index = (nodesMade += 1);
    const attachment = planNodeAttachment(topology, index);
    const machine = await own(await startMachine(`n${index}`));
    await underlay.attach(machine, attachment, { ipv6Only });
    await enableForwarding(machine);
    await etcd.installInto(machine);
    const node = createNode(machine, {
      index,
      address: ipv6Only ? attachment.address6 : attachment.address,
      address6: attachment.address6,
      daemon: {
        flags: [...etcd.daemonFlags, ...clusterFlags(options), ...(options.daemonFlags ?? [])],
        env: { ...etcd.daemonEnv, ...options.daemonEnv },
        logFile: path.join(directory, `n${index}.log`),
        signal: options.signal,
        ...(options.daemonCommand === undefined ? {} : { command: options.daemonCommand }),
      },
      ...(options.pluginDirectories === undefined ? {} : { pluginDirectories: options.pluginDirectories }),
    });
    return node;
  };
  const startNode = async (node: LabNode): Promise<void> => {
    await node.daemon.start();
    const env = node.subnetEnv();
    onProgress(
      `${node.name} (${node.address}) has subnet ${env["FLANNEL_SUBNET"] ?? env["FLANNEL_IPV6_SUBNET"]}, MTU ${env["FLANNEL_MTU"]}`,
    );
  };
  const addPods = async (node: LabNode, count: number): Promise<void> => {
    for (let i = 0; i < count; i += 1) {
      const name = `${node.name}-p${node.pods.size + 1}`;
      const pod = await node.addPod(name, options.podExtra?.(name));
      onProgress(`pod ${pod.name} has ${pod.ip}`);
    }
  };
  const pods = (): LabPod[] => [...nodes.values()].flatMap((node) => Array.from(node.pods.values()));
  const find = <T>(kind: string, all: ReadonlyMap<string, T>, name: string): T => {
    const found = all.get(name);
    if (found === undefined)
      throw new Error(`no ${kind} ${name}; there are ${[...all.keys()].join(", ") || "none"}`);
    return found;
  };
  const podsByName = (): Map<string, LabPod> => new Map(pods().map((pod) => [pod.name, pod]));

  const first = await Promise.all(Array.from({ length: options.nodes ?? 3 }, makeNode));
  for (const node of first) nodes.set(node.name, node);
  onProgress(`${first.length} nodes are on the underlay (${topology})`);
  await storeConfig(options, first[0], etcd);
  if (options.startDaemons ?? true) {
    await Promise.all(first.map(startNode));
    await Promise.all(first.map((node) => addPods(node, options.pods ?? 2)));
  }

  return {
    directory,
    topology,
    underlay,
    etcd,
    outside,
    outsideAddress,
    nodes,
    node: (name) => find("node", nodes, name),
    pods,
    pod: (name) => find("pod", podsByName(), name),
    addNode: async ({ startDaemon = true, pods: count = 0 } = {}) => {
      const node = await makeNode();
      nodes.set(node.name, node);
      if (startDaemon) await startNode(node);
      await addPods(node, count);
      return node;
    },
    removeNode: async (name) => {
      const node = find("node", nodes, name);
      nodes.delete(name);
      await node.machine.close();
      disown(node.machine);
    },
    matrix: async (onCell) => {
      const cells = planCells(pods(), [...nodes.values()], outsideAddress);
      const byName = podsByName();
      const execOf = (pod: string): LabPod["exec"] => find("pod", byName, pod).exec;
      return measureMatrix(cells, { execOf, ...(onCell === undefined ? {} : { onCell }) });
    },
  };
}

function clusterFlags({ netConf, backend = "vxlan", network = "10.244.0.0/16" }: ClusterOptions): string[] {
  return netConf === undefined ? [`--backend=${backend}`, `--network=${network}`] : [];
}

async function storeConfig(options: ClusterOptions, node: LabNode | undefined, etcd: LabEtcd): Promise<void> {
  if (options.netConf === undefined || options.netConf === "none" || node === undefined) return;
  await node.daemon.command("config", "set", ...etcd.daemonFlags, JSON.stringify(options.netConf));
}

async function startStore(options: ClusterOptions, underlay: Underlay): Promise<LabEtcd> {
  const etcd = options.etcd ?? {};
  if ("endpoints" in etcd) return joinExistingEtcd(underlay.machine, UNDERLAY_ADDRESS, etcd);
  const address = options.ipv6Only ? UNDERLAY_ADDRESS6 : UNDERLAY_ADDRESS;
  return startEtcd(underlay.machine, address, path.join(options.directory, "etcd.log"), etcd);
}

/** Somebody whom pods can only reach through masquerade: routes to the nodes' segments, none to any pod. */
async function startOutside(underlay: Underlay, address: string, own: Ownership["own"]): Promise<Machine> {
  const machine = await own(await startMachine("outside"));
  await underlay.attach(machine, OUTSIDE_ATTACHMENT, { defaultRoute: false });
  const { router, router6 } = OUTSIDE_ATTACHMENT.segment;
  for (const { prefix, prefix6 } of [SEGMENTS.first, SEGMENTS.second]) {
    await machine.exec("ip", ["route", "add", prefix, "via", router]);
    await machine.exec("ip", ["route", "add", prefix6, "via", router6]);
  }
  const script = path.join(import.meta.dirname, "tell-source.ts");
  const args = [script, address, String(TELL_SOURCE_PORT)];
  const server = await machine.spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
  await new Promise<void>((resolve, reject) => {
    server.child.stdout?.once("data", () => resolve());
    void server.ended.then(() => reject(new Error("outside: its server ended")));
  });
  return machine;
}
