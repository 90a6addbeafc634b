// Clusters for end-to-end tests, what their etcd says the hosts should hold, and what the hosts do hold.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach } from "vitest";
import { startCluster } from "../../lab/cluster.ts";
import type { Cluster, ClusterOptions } from "../../lab/cluster.ts";
import { lastLines, listKeys } from "../../lab/etcd.ts";
import type { LabNode } from "../../lab/node.ts";
import { waitFor } from "./wait.ts";

/** A cluster whose logs go when it is closed; the end of each daemon's log is printed when a test fails. */
export async function startTestCluster(options: Omit<ClusterOptions, "directory">): Promise<Cluster> {
  const directory = mkdtempSync(path.join(os.tmpdir(), "fts-e2e-"));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  try {
    const cluster = await startCluster({ ...options, directory });
    return {
      ...cluster,
      close: async () => {
        await cluster.close();
        remove();
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Prints the end of the daemons' logs after a test that failed. Call at the top of the file. */
export function showLogsOfFailures(clusterOf: () => Cluster | undefined): void {
  afterEach(({ task }) => {
    if (task.result?.state !== "fail") return;
    for (const node of clusterOf()?.nodes.values() ?? []) {
      process.stderr.write(`--- ${task.name}: log of ${node.name}\n${lastLines(node.daemon.logFile, 15)}\n`);
    }
  });
}

/** A lease as it lies in etcd. */
export interface StoredLease {
  readonly key: string;
  /** "10.244.7.0/24" */
  readonly subnet: string;
  /** "10.244.7.0" */
  readonly base: string;
  readonly publicIp: string;
  readonly mac: string | undefined;
}

export async function storedLeases(cluster: Cluster): Promise<readonly StoredLease[]> {
  const keys = await listKeys(cluster.etcd);
  return [...keys].flatMap(([key, text]) => {
    const subnet = /\/subnets\/([\d.]+-\d+)$/.exec(key)?.[1]?.replace("-", "/");
    if (subnet === undefined) return [];
    const value = JSON.parse(text) as { PublicIP: string; BackendData?: { VtepMAC?: string } };
    const mac = value.BackendData?.VtepMAC;
    return { key, subnet, base: subnet.replace(/\/\d+$/, ""), publicIp: value.PublicIP, mac };
  });
}

/** @throws {Error} when the node has none */
export async function leaseOf(cluster: Cluster, node: LabNode): Promise<StoredLease> {
  const lease = (await storedLeases(cluster)).find(({ publicIp }) => publicIp === node.address);
  if (lease === undefined) throw new Error(`${node.name} has no lease`);
  return lease;
}

/** The rows of a node that lead to its peers, as iproute2 prints them, sorted. */
export interface PeerRows {
  readonly routes: readonly string[];
  readonly neighbors: readonly string[];
  readonly fdb: readonly string[];
}

/** What flannel programs for these peers (reference: flannel 4.10). */
export function rowsFor(vxlan: readonly StoredLease[], direct: readonly StoredLease[] = []): PeerRows {
  return {
    routes: [
      ...vxlan.map(({ subnet, base }) => `${subnet} via ${base} dev flannel.1 proto 250 onlink`),
      ...direct.map(({ subnet, publicIp }) => `${subnet} via ${publicIp} dev eth0 proto 250`),
    ].toSorted(),
    neighbors: vxlan.map(({ base, mac }) => `${base} lladdr ${mac} PERMANENT`).toSorted(),
    fdb: vxlan.map(({ mac, publicIp }) => `${mac} dst ${publicIp} self permanent`).toSorted(),
  };
}

export async function peerRows(
  node: LabNode,
  network = "10.244.0.0/16",
  device = "flannel.1",
): Promise<PeerRows> {
  const list = async (program: string, ...args: readonly string[]): Promise<string[]> => {
    const { stdout } = await node.exec(program, args, { allowFailure: true });
    return stdout
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "")
      .toSorted();
  };
  const routes = await list("ip", "-4", "route", "show", "root", network);
  return {
    routes: routes.filter((line) => !line.includes(" dev cni0 ")),
    neighbors: await list("ip", "-4", "neigh", "show", "dev", device, "nud", "permanent"),
    fdb: await list("bridge", "fdb", "show", "dev", device),
  };
}

/** Waits until the node's rows are exactly these. */
export async function waitForRows(node: LabNode, wanted: PeerRows, timeoutMs = 10_000): Promise<void> {
  let found: PeerRows | undefined;
  try {
    await waitFor(
      `the rows of ${node.name}`,
      async () => JSON.stringify((found = await peerRows(node))) === JSON.stringify(wanted),
      { timeoutMs },
    );
  } catch (error) {
    const show = (rows: PeerRows | undefined): string => JSON.stringify(rows, undefined, 2);
    throw new Error(`rows of ${node.name}: wanted ${show(wanted)}, found ${show(found)}`, { cause: error });
  }
}

/** Waits until every node has the rows for all other leases in etcd, all over vxlan. */
export async function waitForVxlanRows(cluster: Cluster, timeoutMs = 10_000): Promise<void> {
  const leases = await storedLeases(cluster);
  for (const node of cluster.nodes.values()) {
    await waitForRows(node, rowsFor(leases.filter(({ publicIp }) => publicIp !== node.address)), timeoutMs);
  }
}

/** Everything of the network that a person could look at, without counters, timers and link-local addresses. */
export async function hostDump(node: LabNode): Promise<string> {
  const script = [
    "ip -o -d link | sed 's/[0-9]*: //'",
    "ip -o addr | sed 's/^[0-9]*: //; s/valid_lft.*//'",
    "ip route show table all; ip -6 route show table all; ip rule",
    "ip neigh show nud permanent | sort; bridge fdb | sort",
    ...["nft", "legacy"].flatMap((mode) => [`iptables-${mode}-save`, `ip6tables-${mode}-save`]),
    "find /run/flannel /etc/cni /var/lib/cni 2>/dev/null | sort",
  ].join("; ");
  const { stdout } = await node.exec("sh", ["-c", script]);
  return (
    stdout
      .split("\n")
      // The kernel makes link-local addresses in its own time.
      .filter((line) => !line.startsWith("#") && !/\bfe80:/.test(line))
      .map((line) =>
        line
          .replace(/\[\d+:\d+\]/, "")
          .replaceAll(/\w+_timer +[\d.]+/g, "")
          .trimEnd(),
      )
      .join("\n")
  );
}

/** rtnetlink events of a node that concern more than what the kernel resolves by itself. */
export interface KernelWatch {
  /** Lines of `ip monitor` that name our device, or a subnet of the network, since the start. */
  events(): readonly string[];
  stop(): Promise<void>;
}

export async function watchKernel(
  node: Pick<LabNode, "exec" | "spawn">,
  pattern: RegExp,
): Promise<KernelWatch> {
  const args = ["-N", "-o", "monitor", "link", "address", "route", "neigh"];
  const monitor = await node.spawn("stdbuf", ["-oL", "ip", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  monitor.child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  // It has begun when it tells of a change of our own making, on a device that nobody looks at.
  await node.exec("ip", ["link", "set", "lo", "mtu", "65535"]);
  let mtu = 65_535;
  await waitFor("ip monitor to listen", async () => {
    await node.exec("ip", ["link", "set", "lo", "mtu", String((mtu -= 1))]);
    return output.includes(": lo:");
  });
  await node.exec("ip", ["link", "set", "lo", "mtu", "65536"]);
  return {
    events: () => output.split("\n").filter((line) => pattern.test(line)),
    stop: async () => {
      await monitor.stop();
    },
  };
}
