// Pods of a real cluster that sleep, and a way into their network namespaces for programs of the test's own.
import type { LabPod } from "../../../lab/node.ts";
import { waitUntil } from "../../../lab/wait.ts";
import type { RealCluster } from "./cluster.ts";
import { BUSYBOX_IMAGE } from "./image.ts";
import type { RealNode } from "./node.ts";

/** What traffic needs to know of a pod: programs run in its network namespace, with the node's files. */
export interface RealPod extends Pick<LabPod, "name" | "ip" | "exec" | "spawn"> {
  readonly node: RealNode;
}

export interface RealPodOptions {
  readonly labels?: Readonly<Record<string, string>>;
}

/** A pod by hand on one node, whatever taints it has. It sleeps. */
export function podManifest(name: string, nodeName: string, { labels = {} }: RealPodOptions = {}): string {
  const container = { name: "main", image: BUSYBOX_IMAGE, imagePullPolicy: "Never" };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels },
    spec: {
      nodeName,
      containers: [container],
      tolerations: [{ operator: "Exists" }],
      terminationGracePeriodSeconds: 0,
    },
  });
}

/** Makes it and waits until it runs. @throws {Error} that names the pod */
export async function startRealPod(
  cluster: RealCluster,
  name: string,
  nodeName: string,
  options: RealPodOptions = {},
): Promise<RealPod> {
  await cluster.apply(podManifest(name, nodeName, options));
  return enterPod(cluster, name);
}

/** Waits until a pod that was made runs, and opens the way in. @throws {Error} that names the pod */
export async function enterPod(cluster: RealCluster, name: string): Promise<RealPod> {
  await cluster.kubectl("wait", "--for=condition=Ready", `pod/${name}`, "--timeout=100s");
  const { spec, status } = await cluster.get<PodObject>("pod", name);
  const node = cluster.node(spec.nodeName);
  const netns = await waitUntil(`the network namespace of ${name}`, () => findNetns(node, status.podIP), {
    timeoutMs: 10_000,
  });
  return {
    name,
    node,
    ip: status.podIP,
    exec: node.machine.execIn(netns),
    spawn: (command, args, spawnOptions) => node.machine.spawn(command, args, { ...spawnOptions, netns }),
  };
}

/** Removes pods at once, and their networks with them. */
export async function removePods(cluster: RealCluster, ...names: readonly string[]): Promise<void> {
  await cluster.kubectl("delete", "pod", ...names, "--force", "--grace-period=0", "--ignore-not-found");
}

interface PodObject {
  readonly spec: { readonly nodeName: string };
  readonly status: { readonly podIP: string };
}

/** containerd names them by chance; the address tells whose it is. */
async function findNetns({ exec }: RealNode, ip: string): Promise<string | undefined> {
  const { stdout } = await exec("ip", ["netns", "list"]);
  for (const line of stdout.split("\n")) {
    const [name = ""] = line.split(" ");
    if (!name.startsWith("cni-")) continue;
    const said = await exec("ip", ["-n", name, "-4", "-o", "address"], { allowFailure: true });
    if (said.stdout.includes(` ${ip}/`)) return `/run/netns/${name}`;
  }
  return undefined;
}
