// A node that is taken out of the cluster and comes back: its peers forget it, and learn it anew.
import { expect, test } from "vitest";
import { getNode, waitForEvent, waitForNetwork, waitForPeers } from "../../support/real-kube/network.ts";
import { removePods } from "../../support/real-kube/pods.ts";
import { ping } from "../../support/traffic.ts";
import { waitFor } from "../../support/wait.ts";
import { podOn, replacePod } from "./suite.ts";
import type { SuiteOf } from "./suite.ts";

const SLOW = { timeoutMs: 120_000, intervalMs: 200 };

export function describeNodes(suiteOf: SuiteOf): void {
  test("a node that is deleted is forgotten by its peers; added again, with another podCIDR, it is followed", async () => {
    const suite = suiteOf();
    const { cluster } = suite;
    const { kubelet, exec } = cluster.node("n3");
    const before = (await getNode(cluster, "n3")).spec.podCIDR;
    await removePods(cluster, "pod-n3");
    await waitFor("the pod's end", async () => !(await exec("ip", ["netns"])).stdout.includes("cni-"), SLOW);
    await kubelet.stop();
    await cluster.kubectl("delete", "node", "n3");
    await waitForPeers(cluster, "n1", ["n2"]);
    await waitForPeers(cluster, "n2", ["n1"]);
    expect(await ping(podOn(suite, "n1"), podOn(suite, "n2").ip)).toBe("ok");

    await kubelet.start();
    const subnet = await waitFor("a podCIDR", async () => (await getNode(cluster, "n3")).spec.podCIDR, SLOW);
    // As the error of such a pod says: the bridge is the old subnet's, and no pod uses it.
    expect(subnet).not.toBe(before);
    await exec("ip", ["link", "delete", "cni0"]);
    await waitForEvent(cluster, "n3", "PodCIDRChanged", /delete them so that they are made anew/);
    await waitForNetwork(cluster);
    await waitForPeers(cluster, "n1", ["n2", "n3"]);
    await waitForPeers(cluster, "n3", ["n1", "n2"]);
    const pod = await replacePod(suite, "n3");
    expect(pod.ip.startsWith(subnet.replace(/\.0\/24$/, "."))).toBe(true);
    for (const peer of ["n1", "n2"]) expect(await ping(podOn(suite, peer), pod.ip)).toBe("ok");
  });
}
