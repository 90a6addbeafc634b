// What a network daemon has done to a real cluster: conditions, annotations, rows of nodes, Events, logs after a failure.
import { afterEach } from "vitest";
import { waitUntil } from "../../../lab/wait.ts";
import type { RealCluster } from "./cluster.ts";
import type { RealNode } from "./node.ts";

export const ANNOTATION_PREFIX = "flannel.alpha.coreos.com";
/** Machines may be many times slower than ours. */
const SLOW_MS = 120_000;
/** Kubelets of 1.20 take 10 to 20 s for each pod that they replace, one after the other. */
const ROLLOUT_MS = 280_000;

export interface NodeObject {
  readonly metadata: {
    readonly name: string;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly podCIDR: string };
  readonly status: {
    readonly conditions: readonly { type: string; status: string; reason: string; message: string }[];
  };
}

/** The workload that runs the daemon. */
export interface DaemonSet {
  readonly namespace: string;
  readonly name: string;
}

export const OUR_DAEMON_SET: DaemonSet = { namespace: "kube-flannel", name: "kube-flannel-ds" };

/** Waits until all of its pods are ready and, with them, all nodes. */
export async function waitForNetwork(cluster: RealCluster, daemonSet = OUR_DAEMON_SET): Promise<void> {
  await waitForRollout(cluster, daemonSet);
  await waitUntil(
    "all nodes to be Ready",
    async () => (await cluster.readyNodes()).length === cluster.nodes.size,
    { timeoutMs: SLOW_MS, intervalMs: 200 },
  );
}

/** Until every node runs the newest of it, and all are ready: what `kubectl rollout status` waits for. */
export async function waitForRollout(
  cluster: RealCluster,
  { namespace, name }: DaemonSet = OUR_DAEMON_SET,
): Promise<void> {
  const isDone = async (): Promise<boolean> => {
    const { metadata, status } = await cluster.get<DaemonSetObject>("-n", namespace, "daemonset", name);
    const { desiredNumberScheduled: desired, updatedNumberScheduled = 0, numberAvailable = 0 } = status;
    if (status.observedGeneration !== metadata.generation || desired === 0) return false;
    return updatedNumberScheduled === desired && numberAvailable === desired;
  };
  const wait = { timeoutMs: ROLLOUT_MS, intervalMs: 300 };
  await waitUntil(`the DaemonSet ${namespace}/${name} to be ready on all nodes`, isDone, wait);
}

interface DaemonSetObject {
  readonly metadata: { readonly generation: number };
  readonly status: {
    readonly observedGeneration?: number;
    readonly desiredNumberScheduled: number;
    /** Left out when 0, as the next one. */
    readonly updatedNumberScheduled?: number;
    readonly numberAvailable?: number;
  };
}

export function getNode(cluster: RealCluster, name: string): Promise<NodeObject> {
  return cluster.get<NodeObject>("node", name);
}

/** Rows by which a node reaches its peers over vxlan, as iproute2 prints them, sorted. */
export async function overlayRows({ exec }: RealNode): Promise<string> {
  const script = [
    "ip -o link show flannel.1 | sed 's/^[0-9]*: //'",
    "cat /sys/class/net/flannel.1/ifindex",
    "ip -4 route show dev flannel.1 | sort",
    "ip neigh show dev flannel.1 nud permanent | sort",
    "bridge fdb show dev flannel.1 | sort",
  ].join("; ");
  return (await exec("sh", ["-c", script])).stdout;
}

/** The rows that `node` must have for these others, of their annotations and podCIDRs: its routes and forwarding entries. */
export async function waitForPeers(
  cluster: RealCluster,
  nodeName: string,
  peers: readonly string[],
): Promise<void> {
  const { exec } = cluster.node(nodeName);
  const wanted = (
    await Promise.all(
      peers.map(async (peer) => {
        const { metadata, spec } = await getNode(cluster, peer);
        const mac = /"VtepMAC":"([^"]+)"/.exec(
          metadata.annotations[`${ANNOTATION_PREFIX}/backend-data`] ?? "",
        )?.[1];
        const base = spec.podCIDR.replace(/\/\d+$/, "");
        return [
          `${spec.podCIDR} via ${base} proto 250 onlink`,
          `${mac} dst ${metadata.annotations[`${ANNOTATION_PREFIX}/public-ip`]} self permanent`,
        ];
      }),
    )
  ).flat();
  let found: readonly string[] = [];
  const script = "ip -4 route show dev flannel.1; bridge fdb show dev flannel.1";
  const look = async (): Promise<boolean> => {
    const { stdout } = await exec("sh", ["-c", script]);
    found = stdout.split("\n").flatMap((line) => line.trim() || []);
    return found.toSorted().join("\n") === wanted.toSorted().join("\n");
  };
  await waitUntil(`the rows of ${nodeName}`, look, { timeoutMs: SLOW_MS }).catch((error: unknown) => {
    const rows = (lines: readonly string[]): string => lines.join("\n  ");
    throw new Error(`${nodeName}: wanted\n  ${rows(wanted)}\nfound\n  ${rows(found)}`, { cause: error });
  });
}

/** Waits for an Event about a node, as `kubectl get events` and `kubectl describe node` show it; gives its message. */
export async function waitForEvent(
  cluster: RealCluster,
  nodeName: string,
  reason: string,
  pattern = /./,
): Promise<string> {
  const selector = `involvedObject.kind=Node,involvedObject.name=${nodeName},reason=${reason}`;
  return waitUntil(
    `the Event ${reason} about ${nodeName}`,
    async () => {
      const { items } = await cluster.get<{ items: readonly { message: string }[] }>(
        "events",
        `--field-selector=${selector}`,
      );
      return items.find(({ message }) => pattern.test(message))?.message;
    },
    { timeoutMs: SLOW_MS, intervalMs: 300 },
  );
}

/** Prints what a person would ask for first after a test that failed. Call at the top of the file. */
export function showClusterOfFailures(clusterOf: () => RealCluster | undefined): void {
  afterEach(async ({ task }) => {
    const cluster = clusterOf();
    if (task.result?.state !== "fail" || cluster === undefined) return;
    const say = (text: string): boolean => process.stderr.write(`${text}\n`);
    say(`--- ${task.name}`);
    for (const question of [
      ["get", "pods,nodes,daemonsets", "-A", "-o", "wide"],
      ["get", "events", "-A", "--sort-by=.lastTimestamp"],
      ["logs", "-n", "kube-flannel", "-l", "app=flannel", "--tail=15", "--prefix"],
    ]) {
      say(await cluster.kubectl(...question).catch((error: unknown) => String(error)));
    }
  });
}
