// Daemons and API servers that end and come back under traffic of which every packet and byte is accounted for.
import { describe, expect, test } from "vitest";
import { watchKernel } from "../../support/cluster.ts";
import { getNode, overlayRows, waitForRollout } from "../../support/real-kube/network.ts";
import { enterPod, podManifest, removePods } from "../../support/real-kube/pods.ts";
import { ping, startPings, startTcpStream } from "../../support/traffic.ts";
import { daemonPid, podOn } from "./suite.ts";
import type { ManifestSuite, SuiteOf } from "./suite.ts";

/** The overlay device and the rows on it; not its link-local address and multicast neighbors, with which the kernel is busy. */
const OURS = /^(?!.*\b(fe80|ff02):).*flannel\.1/;

export function describeOutages(suiteOf: SuiteOf): void {
  describe("under traffic", () => {
    test("a rolling restart of the DaemonSet loses no packet, keeps every subnet and writes no row", async () => {
      const suite = suiteOf();
      const { cluster } = suite;
      const before = await stateOf(suite);
      const monitors = await Promise.all(
        [...cluster.nodes.values()].map(({ machine }) => watchKernel(machine, OURS)),
      );
      try {
        await underTraffic(suite, async () => {
          await cluster.kubectl("-n", "kube-flannel", "rollout", "restart", "daemonset/kube-flannel-ds");
          await waitForRollout(cluster);
        });
        expect(monitors.flatMap((monitor) => monitor.events())).toEqual([]);
      } finally {
        await Promise.all(monitors.map((monitor) => monitor.stop()));
      }
      const after = await stateOf(suite);
      expect(after.rows).toEqual(before.rows);
      expect(after.subnets).toEqual(before.subnets);
      for (const [node, pid] of after.daemons) expect(pid, node).not.toBe(before.daemons.get(node));
    });

    test("an API server that is killed costs no packet, and a pod that was starting runs when it is back", async () => {
      const suite = suiteOf();
      const { cluster } = suite;
      const { apiServer } = cluster.controlPlane;
      const before = await stateOf(suite);
      await underTraffic(suite, async (waitForMore) => {
        await cluster.apply(podManifest("started-meanwhile", "n1"));
        await apiServer.stop("SIGKILL");
        await waitForMore();
        await apiServer.start();
        const pod = await enterPod(cluster, "started-meanwhile");
        expect(await ping(pod, podOn(suite, "n2").ip)).toBe("ok");
      });
      await removePods(cluster, "started-meanwhile");
      expect(await stateOf(suite)).toEqual(before);
    });
  });
}

async function stateOf({ cluster }: ManifestSuite) {
  const nodes = [...cluster.nodes.values()];
  const each = async <T>(read: (node: (typeof nodes)[number]) => Promise<T>): Promise<Map<string, T>> =>
    new Map(await Promise.all(nodes.map(async (node) => [node.name, await read(node)] as const)));
  return {
    rows: await each(overlayRows),
    subnets: await each(async ({ name }) => (await getNode(cluster, name)).spec.podCIDR),
    daemons: await each(daemonPid),
  };
}

/** A ping every millisecond from n1 to n2 and a TCP stream each way cross the nodes during `act`, and must be whole. */
async function underTraffic(
  suite: ManifestSuite,
  act: (waitForMore: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const [here, there] = [podOn(suite, "n1"), podOn(suite, "n2")];
  const pings = await startPings(here, there.ip);
  const streams = [
    await startTcpStream(here, there, { pauseMs: 5 }),
    await startTcpStream(there, here, { pauseMs: 5 }),
  ];
  try {
    await act(() => pings.waitForMore(500));
    expect(await pings.stop()).toEqual([]);
    for (const stream of streams) {
      const { sent, received } = await stream.finish();
      expect(received).toMatchObject({ bytes: sent.bytes, sha256: sent.sha256 });
      expect(sent.bytes).toBeGreaterThan(1_000_000);
    }
  } finally {
    await Promise.all([pings.process.stop("SIGKILL"), ...streams.map((stream) => stream.abort())]);
  }
}
