// The way out, and back in with the chart: nodes are clean after cleanup, and running pods survive the change.
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { exec } from "../../../src/kernel/exec.ts";
import { waitForEvent, waitForNetwork, waitForRollout } from "../../support/real-kube/network.ts";
import type { RealNode } from "../../support/real-kube/node.ts";
import { ping } from "../../support/traffic.ts";
import { waitFor } from "../../support/wait.ts";
import { withStranger } from "./events.ts";
import { deployFile, podOn } from "./suite.ts";
import type { SuiteOf } from "./suite.ts";

const SLOW = { timeoutMs: 120_000, intervalMs: 200 };
const CLEANUP = { namespace: "kube-system", name: "flannel-cleanup" };

/** What a person finds of ours on a node; pods with their bridge and its subnet are the CNI plugin's. */
async function tracesOf({ exec: run }: RealNode): Promise<readonly string[]> {
  const script = [
    "ip -o link | grep -o 'flannel[^:]*'",
    "ip route show table all proto 250",
    "for mode in nft legacy; do iptables-$mode-save; ip6tables-$mode-save; done 2>/dev/null | grep -i -e flannel -e FTSP",
    "ipset list -n 2>/dev/null | grep FTSP",
    "find /run/flannel /etc/cni/net.d -type f -o -type s",
  ].join("; ");
  return (await run("sh", ["-c", script], { allowFailure: true })).stdout.split("\n").filter(Boolean);
}

async function findHelm(): Promise<string | undefined> {
  for (const program of ["helm", "/root/go/bin/helm"]) {
    const found = await exec(program, ["version", "--short"], { allowFailure: true }).catch(() => undefined);
    if (found?.exitCode === 0) return program;
  }
  return undefined;
}

export async function describeLeaving(suiteOf: SuiteOf): Promise<void> {
  const helm = await findHelm();

  describe("the way out", () => {
    test("after kubectl delete and cleanup.yml nothing of ours is left on any node", async () => {
      const { cluster } = suiteOf();
      const nodes = [...cluster.nodes.values()];
      await cluster.kubectl("delete", "-f", deployFile("kube-flannel.yml"), "--wait=true", "--timeout=110s");
      for (const node of nodes) expect(await tracesOf(node)).toContain("flannel.1");
      await cluster.kubectl("apply", "-f", deployFile("cleanup.yml"));
      await waitForRollout(cluster, CLEANUP);
      const logs = ["logs", "-l", "app=flannel-cleanup", "-c", "cleanup"] as const;
      const said = await cluster.kubectl("-n", CLEANUP.namespace, ...logs);
      expect(said.match(/removed 1 devices/g)).toHaveLength(nodes.length);
      await cluster.kubectl("delete", "-f", deployFile("cleanup.yml"), "--wait=false");
      for (const node of nodes) expect(await tracesOf(node), node.name).toEqual([]);
      await waitFor(
        "the nodes to be without a network",
        async () => (await cluster.readyNodes()).length === 0,
        SLOW,
      );
    });
  });

  // Helm is no part of the set-up; its rendering is the manifest in substance, which a unit test shows without it.
  describe.skipIf(helm === undefined)(
    `the chart${helm === undefined ? " (helm is not installed)" : ""}`,
    () => {
      const render = async (...settings: readonly string[]): Promise<string> => {
        const values = settings.flatMap((setting) => ["--set", setting]);
        const chart = deployFile("chart/flannel");
        return (
          await exec(helm ?? "", ["template", "flannel", chart, "--namespace", "kube-flannel", ...values])
        ).stdout;
      };

      test("a network that is not the cluster's: nodes wait, and an Event says what differs", async () => {
        const { cluster } = suiteOf();
        await cluster.kubectl("create", "namespace", "kube-flannel");
        await cluster.apply(await render("podCidr=10.99.0.0/16"));
        const message = await waitForEvent(cluster, "n1", "PodCIDROutsideNetwork");
        expect(message).toMatch(
          /"10\.99\.0\.0\/16".*"10\.244\.\d+\.0\/24" PodCIDR of the "n1" node: make Network/,
        );
        const daemonSet = ["-n", "kube-flannel", "daemonset", "kube-flannel-ds"] as const;
        const { status } = await cluster.get<{ status: { numberReady: number } }>(...daemonSet);
        expect(status.numberReady).toBe(0);
      });

      test("with the right network and host-gw the old pods talk again; a missing CNI plugin is told", async () => {
        const suite = suiteOf();
        const { cluster } = suite;
        const portmap = cluster.node("n2").machine.hostPath("/opt/cni/bin/portmap");
        expect(existsSync(portmap)).toBe(true);
        await cluster.node("n2").exec("mv", ["/opt/cni/bin/portmap", "/opt/cni/portmap"]);
        await cluster.apply(await render("flannel.backend=host-gw"));
        await waitForNetwork(cluster);
        const [here, there] = [podOn(suite, "n1"), podOn(suite, "n2")];
        await waitFor("the route", async () => (await ping(here, there.ip)) === "ok", SLOW);
        expect((await here.node.exec("ip", ["route"])).stdout).toMatch(
          new RegExp(`via ${there.node.address.replaceAll(".", "\\.")} dev eth0 proto 250`),
        );
        const message = await waitForEvent(cluster, "n2", "CNIPluginMissing");
        expect(message).toMatch(/has no portmap: .*install the reference CNI plugins/);
        await cluster.node("n2").exec("mv", ["/opt/cni/portmap", "/opt/cni/bin/portmap"]);
      });

      test("a host-gw peer that is not on the link: an Event says so, with the cure", async () => {
        const suite = suiteOf();
        const far = { podCidr: "10.244.201.0/24", publicIp: "203.0.113.2", backendType: "host-gw" };
        await withStranger(suite, far, async () => {
          const message = await waitForEvent(suite.cluster, "n1", "PeerUnreachable", /stranger/);
          expect(message).toContain("203.0.113.2 is not on the link of eth0");
          expect(message).toContain('use {"Type":"vxlan","DirectRouting":true}');
        });
      });
    },
  );
}
