// The cluster of the manifest's tests: three nodes with kube-proxy, our manifest applied by kubectl, and a pod on each.
import path from "node:path";
import type { RealNode } from "../../support/real-kube/node.ts";
import { startRealCluster } from "../../support/real-kube/cluster.ts";
import type { RealCluster } from "../../support/real-kube/cluster.ts";
import { waitForNetwork } from "../../support/real-kube/network.ts";
import { startRealPod } from "../../support/real-kube/pods.ts";
import type { RealPod } from "../../support/real-kube/pods.ts";
import { productImage } from "../../support/real-kube/product-image.ts";

const ROOT = path.resolve(import.meta.dirname, "../../..");

export interface ManifestSuite {
  readonly cluster: RealCluster;
  /** Names of the nodes that were Ready before anything was applied. */
  readonly readyBefore: readonly string[];
  /** pod-n1 on n1 and so on; replaced when a test makes one anew. */
  readonly pods: Map<string, RealPod>;
}

export type SuiteOf = () => ManifestSuite;

/** Path of a file in deploy/. */
export function deployFile(name: string): string {
  return path.join(ROOT, "deploy", name);
}

/** Takes a minute or so. The caller closes the cluster; `onCluster` gets it while the rest is still being done. */
export async function startManifestSuite(onCluster: (cluster: RealCluster) => void): Promise<ManifestSuite> {
  const image = await productImage();
  const cluster = await startRealCluster({ nodes: 3, kubeProxy: true, images: [image] });
  onCluster(cluster);
  const readyBefore = await cluster.readyNodes();
  await cluster.kubectl("apply", "-f", deployFile("kube-flannel.yml"));
  await waitForNetwork(cluster);
  const pods = new Map<string, RealPod>();
  const suite = { cluster, readyBefore, pods };
  await Promise.all([...cluster.nodes.keys()].map((name) => replacePod(suite, name)));
  return suite;
}

/** Starts the pod of a node; its labels make it an endpoint of the suite's Services. */
export async function replacePod({ cluster, pods }: ManifestSuite, nodeName: string): Promise<RealPod> {
  const name = `pod-${nodeName}`;
  const pod = await startRealPod(cluster, name, nodeName, { labels: { app: name } });
  pods.set(nodeName, pod);
  return pod;
}

/** @throws {Error} when the node has none */
export function podOn({ pods }: ManifestSuite, nodeName: string): RealPod {
  const pod = pods.get(nodeName);
  if (pod === undefined) throw new Error(`there is no pod on ${nodeName}`);
  return pod;
}

/** The process of the daemon on a node, in the node's own count. @throws {Error} unless there is one */
export async function daemonPid({ exec, name }: RealNode): Promise<number> {
  const { stdout } = await exec("pgrep", ["-f", "flanneld.mjs.*--kube-subnet-mgr"], { allowFailure: true });
  const pids = stdout.trim().split("\n").filter(Boolean);
  if (pids.length !== 1) throw new Error(`${name}: ${pids.length} daemons run`);
  return Number(pids[0]);
}
