// A node of a lab cluster: a machine on the underlay with a daemon and pods.
import { randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import type { Exec } from "../src/kernel/exec.ts";
import { parseConflist } from "./conflist.ts";
import type { CniResult, Conflist } from "./conflist.ts";
import { CONFLIST_FILE, SUBNET_FILE, createDaemon } from "./daemon-process.ts";
import type { Daemon, DaemonOptions } from "./daemon-process.ts";
import type { Machine, MachineProcess, SpawnOptions } from "./machine.ts";
import { createCniRuntime, LOOPBACK_CONFLIST } from "./runtime.ts";
import type { CniAttachment, CniRuntime } from "./runtime.ts";

const ROOT = path.resolve(import.meta.dirname, "..");

/** Ours first, then a node's own, then Debian's containernetworking-plugins. */
export const PLUGIN_DIRECTORIES: readonly string[] = [
  path.join(ROOT, "dist"),
  "/opt/cni/bin",
  "/usr/lib/cni",
];

/** Used when the daemon has written none: flannel's own, without portmap. */
export const DEFAULT_CONFLIST: Conflist = {
  cniVersion: "1.0.0",
  name: "cbr0",
  disableCheck: false,
  plugins: [{ type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } }],
};

export interface LabPod {
  readonly name: string;
  readonly node: LabNode;
  /** First IPv4 address, without length; in a network that has only IPv6, the IPv6 one. */
  readonly ip: string;
  /** First IPv6 address, where the network has one. */
  readonly ip6: string | undefined;
  /** Bytes, as the kernel says of its eth0. */
  readonly mtu: number;
  readonly attachment: CniAttachment;
  /** What ADD gave. */
  readonly result: CniResult;
  /** Runs a program in the pod's network namespace, with the node's files. */
  readonly exec: Exec;
  spawn(command: string, args: readonly string[], options?: SpawnOptions): Promise<MachineProcess>;
}

export interface LabNode {
  readonly name: string;
  readonly index: number;
  readonly machine: Machine;
  /** On the underlay: the lease's public IP. In a cluster without IPv4 both are the IPv6 one. */
  readonly address: string;
  readonly address6: string;
  readonly exec: Exec;
  readonly spawn: Machine["spawn"];
  readonly daemon: Daemon;
  readonly cni: CniRuntime;
  /** Pods by name. */
  readonly pods: ReadonlyMap<string, LabPod>;
  /** Parsed subnet.env; empty when there is none yet. */
  subnetEnv(): Readonly<Record<string, string>>;
  /** The conflist in force. */
  conflist(): Conflist;
  /** Makes a network namespace and runs ADD, as a runtime does. Default name: NODE-pN. @throws {CniError} */
  addPod(name?: string, extra?: PodExtra): Promise<LabPod>;
  /** Runs DEL (twice, as containerd does) and removes the namespace. */
  removePod(name: string): Promise<void>;
}

export interface PodExtra extends Pick<CniAttachment, "args" | "capabilityArgs"> {
  /** Called when the network namespace is there, before ADD. */
  readonly beforeAdd?: () => Promise<void>;
}

export interface NodeOptions {
  readonly index: number;
  readonly address: string;
  readonly address6: string;
  readonly daemon: DaemonOptions;
  readonly pluginDirectories?: readonly string[];
}

/** Makes a node out of a machine that is attached to the underlay. The daemon is not started. */
export function createNode(machine: Machine, options: NodeOptions): LabNode {
  const pods = new Map<string, LabPod>();
  const cni = createCniRuntime(
    {
      pluginDirectories: options.pluginDirectories ?? PLUGIN_DIRECTORIES,
      rootDirectory: machine.hostPath(""),
    },
    { exec: machine.exec },
  );
  let podsMade = 0;
  const conflist = (): Conflist => readConflist(machine);
  const node: LabNode = {
    name: machine.name,
    index: options.index,
    machine,
    address: options.address,
    address6: options.address6,
    exec: machine.exec,
    spawn: machine.spawn,
    daemon: createDaemon(machine, options.daemon),
    cni,
    pods,
    subnetEnv: () => readSubnetEnv(machine.hostPath(SUBNET_FILE)),
    conflist,
    addPod: async (name = `${machine.name}-p${(podsMade += 1)}`, extra = {}) => {
      if (pods.has(name)) throw new Error(`${machine.name} already has a pod ${name}`);
      const pod = await attachPod(node, name, extra);
      pods.set(name, pod);
      return pod;
    },
    removePod: async (name) => {
      const pod = pods.get(name);
      if (pod === undefined) throw new Error(`${machine.name} has no pod ${name}`);
      await cni.del(conflist(), pod.attachment, pod.result);
      await machine.exec("ip", ["netns", "del", name]);
      // containerd calls DEL again when it removes the sandbox, then without namespace and without result.
      await cni.del(conflist(), { ...pod.attachment, netns: "" });
      pods.delete(name);
    },
  };
  return node;
}

async function attachPod(node: LabNode, name: string, { beforeAdd, ...extra }: PodExtra): Promise<LabPod> {
  const { machine, cni } = node;
  const netns = `/run/netns/${name}`;
  await machine.exec("ip", ["netns", "add", name]);
  // A container ID is 64 hex digits in containerd; the arguments are those that a kubelet's pod gives.
  const attachment: CniAttachment = {
    containerId: randomBytes(32).toString("hex"),
    netns,
    ifName: "eth0",
    args: [
      ["IgnoreUnknown", "1"],
      ["K8S_POD_NAMESPACE", "default"],
      ["K8S_POD_NAME", name],
      ["K8S_POD_UID", randomUUID()],
    ],
    ...extra,
  };
  try {
    await beforeAdd?.();
    await cni.add(LOOPBACK_CONFLIST, { ...attachment, ifName: "lo" });
    const result = await cni.add(node.conflist(), attachment);
    const exec = machine.execIn(netns);
    const addresses = addressesOf(result);
    const ip6 = addresses.find((address) => address.includes(":"));
    const ip = addresses.find((address) => !address.includes(":")) ?? ip6;
    if (ip === undefined)
      throw new Error(`pod ${name}: the result of ADD has no address: ${JSON.stringify(result)}`);
    return {
      name,
      node,
      ip,
      ip6,
      mtu: await mtuOf(exec),
      attachment,
      result,
      exec,
      spawn: (command, args, options) => machine.spawn(command, args, { ...options, netns }),
    };
  } catch (error) {
    await machine.exec("ip", ["netns", "del", name], { allowFailure: true });
    throw error;
  }
}

async function mtuOf(exec: Exec): Promise<number> {
  const { stdout } = await exec("ip", ["-json", "link", "show", "dev", "eth0"]);
  const [link] = JSON.parse(stdout) as readonly { readonly mtu: number }[];
  return link?.mtu ?? 0;
}

/** Addresses of a CNI result, without lengths (`ips[].address` since 0.3.0). */
function addressesOf(result: CniResult): string[] {
  const ips = (result["ips"] ?? []) as readonly { readonly address: string }[];
  return ips.map(({ address }) => address.replace(/\/\d+$/, ""));
}

function readConflist(machine: Machine): Conflist {
  let text: string;
  try {
    text = readFileSync(machine.hostPath(CONFLIST_FILE), "utf8");
  } catch {
    return DEFAULT_CONFLIST;
  }
  return parseConflist(text, `${machine.name}:${CONFLIST_FILE}`);
}

function readSubnetEnv(file: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return {};
  }
  const pairs = text.split("\n").filter((line) => line.includes("="));
  return Object.fromEntries(
    pairs.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}
