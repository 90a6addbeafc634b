// Manifests that people have, with nothing but the image name changed: flannel v0.11's and today's upstream one.
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DAEMON_COMMAND } from "../../lab/daemon-process.ts";
import { expectTransfer } from "../support/data-path.ts";
import { startRealCluster } from "../support/real-kube/cluster.ts";
import type { RealCluster } from "../support/real-kube/cluster.ts";
import {
  OUR_DAEMON_SET,
  overlayRows,
  showClusterOfFailures,
  waitForNetwork,
} from "../support/real-kube/network.ts";
import type { DaemonSet } from "../support/real-kube/network.ts";
import { startRealPod } from "../support/real-kube/pods.ts";
import type { RealPod } from "../support/real-kube/pods.ts";
import { PRODUCT_IMAGE, productImage } from "../support/real-kube/product-image.ts";
import { ping, startPings } from "../support/traffic.ts";

const MANIFESTS = path.resolve(import.meta.dirname, "../golden/deploy");
/** The Network of the v0.11 manifest, and so the cluster's. */
const POD_NETWORK = "10.20.0.0/16";
const V0_11: DaemonSet = { namespace: "kube-system", name: "kube-flannel-ds-amd64" };
const MIB = 1024 * 1024;

let cluster: RealCluster;
let here: RealPod;
let there: RealPod;
showClusterOfFailures(() => cluster);

beforeAll(async () => {
  cluster = await startRealCluster({
    nodes: 2,
    kubeProxy: true,
    podNetwork: POD_NETWORK,
    images: [await productImage()],
  });
});
afterAll(async () => {
  await cluster?.close();
});

/** A manifest as it is, but for the names of flannel's images. */
function withOurImage(file: string): string {
  const text = readFileSync(path.join(MANIFESTS, file), "utf8");
  return text.replaceAll(/image: \S*flannel\S*/g, `image: ${PRODUCT_IMAGE}`);
}

test("v0.11: nodes become Ready and pods talk, with 50 MiB, a tenth of a core, and one capability", async () => {
  // Nodes of those days had the flannel plugin from their distribution; Debian's package has none, so ours takes its place.
  for (const { exec } of cluster.nodes.values())
    await exec(DAEMON_COMMAND[0] ?? "", ["install-cni", "/opt/cni/bin"]);
  await cluster.apply(withOurImage("kube-flannel-v0.11.yml"));
  await waitForNetwork(cluster, V0_11);
  [here, there] = await Promise.all([
    startRealPod(cluster, "on-n1", "n1"),
    startRealPod(cluster, "on-n2", "n2"),
  ]);
  expect(here.ip).toMatch(/^10\.20\./);
  await expectTransfer(here, there, 16 * MIB);
  await expectTransfer(there, here, 16 * MIB);
  const logs = await cluster.kubectl("-n", V0_11.namespace, "logs", "-l", "app=flannel");
  expect(logs).toContain('"msg":"ready"');
  const { items } = await cluster.get<PodList>("pods", "-n", V0_11.namespace, "-l", "app=flannel");
  // None was killed for its memory.
  expect(items.map(({ status }) => status.containerStatuses[0]?.restartCount)).toEqual([0, 0]);
});

test("from there to today's upstream manifest: not a packet is lost, no device, route or entry changes", async () => {
  const before = await Promise.all([...cluster.nodes.values()].map(overlayRows));
  const pings = await startPings(here, there.ip);
  try {
    await cluster.kubectl("-n", V0_11.namespace, "delete", "daemonset", V0_11.name, "--timeout=110s");
    await pings.waitForMore(1000);
    // The network is the cluster's, as before; cp and install-conf are called by their own paths.
    const upstream = withOurImage("kube-flannel-upstream.yml").replace("10.244.0.0/16", POD_NETWORK);
    for (const called of [
      "args: [-f, /flannel, /opt/cni/bin/flannel]",
      "[/opt/bin/install-conf]",
      "[/opt/bin/flanneld]",
    ])
      expect(upstream).toContain(called);
    await cluster.apply(upstream);
    await waitForNetwork(cluster, OUR_DAEMON_SET);
    expect(await pings.stop()).toEqual([]);
  } finally {
    await pings.process.stop("SIGKILL");
  }
  expect(await Promise.all([...cluster.nodes.values()].map(overlayRows))).toEqual(before);
  const late = await startRealPod(cluster, "late-on-n2", "n2");
  expect(await ping(here, late.ip)).toBe("ok");
  expect(await ping(late, here.ip)).toBe("ok");
});

interface PodList {
  readonly items: readonly {
    readonly status: { readonly containerStatuses: readonly { readonly restartCount: number }[] };
  }[];
}
