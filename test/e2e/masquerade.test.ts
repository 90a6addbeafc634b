// Masquerade and forward rules: both iptables modes, switched off, and the blackhole of the own subnet.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import type { LabNode, LabPod } from "../../lab/node.ts";
import { showLogsOfFailures, startTestCluster, waitForVxlanRows } from "../support/cluster.ts";
import { expectFullConnectivity, expectTransfer } from "../support/data-path.ts";
import { ping } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
showLogsOfFailures(() => cluster);

async function chains(node: LabNode, mode: "nft" | "legacy"): Promise<readonly string[]> {
  const { stdout } = await node.exec(`iptables-${mode}-save`, []);
  return stdout
    .split("\n")
    .filter((line) => line.startsWith(":FLANNEL"))
    .map((line) => line.split(" ")[0] ?? "")
    .toSorted();
}

describe("a host that uses legacy iptables, with a FORWARD policy of DROP", () => {
  beforeAll(async () => {
    cluster = await startTestCluster({ nodes: 2, startDaemons: false });
    for (const node of cluster.nodes.values()) {
      await node.exec("iptables-legacy", ["-A", "INPUT", "-i", "lo", "-j", "ACCEPT"]);
      await node.exec("iptables-legacy", ["-P", "FORWARD", "DROP"]);
    }
    await Promise.all([...cluster.nodes.values()].map((node) => node.daemon.start()));
    await waitForVxlanRows(cluster);
    await Promise.all([...cluster.nodes.values()].map((node) => node.addPod()));
  });
  afterAll(async () => {
    await cluster.close();
  });

  test("our rules are in the mode that the host uses, and only there", async () => {
    for (const node of cluster.nodes.values()) {
      expect(await chains(node, "legacy")).toEqual([":FLANNEL-FWD", ":FLANNEL-POSTRTG"]);
      expect(await chains(node, "nft")).toEqual([]);
      expect((await node.daemon.status()).iptables).toMatch(/^legacy /);
    }
  });

  test("pods reach pods, nodes and outside, masqueraded; pod to pod keeps its source", async () => {
    await expectFullConnectivity(cluster);
    await expectTransfer(cluster.pod("n1-p1"), cluster.pod("n2-p1"), 1024 * 1024);
  });
});

describe("a host that uses nft", () => {
  let node: LabNode;
  let pod: LabPod;
  beforeAll(async () => {
    cluster = await startTestCluster({ nodes: 2, pods: 1, backend: "vxlan" });
    await waitForVxlanRows(cluster);
    node = cluster.node("n1");
    pod = cluster.pod("n1-p1");
  });
  afterAll(async () => {
    await cluster.close();
  });

  async function restartWith(...flags: readonly string[]): Promise<void> {
    await node.daemon.stop();
    await node.daemon.start({ flags });
  }

  test("our rules are in nft, and only there", async () => {
    expect(await chains(node, "nft")).toEqual([":FLANNEL-FWD", ":FLANNEL-POSTRTG"]);
    expect(await chains(node, "legacy")).toEqual([]);
  });

  test("somebody outside who has a route to a pod is seen with their own address; a node's own traffic too", async () => {
    const { subnet } = (await node.daemon.status()).lease!;
    await cluster.outside.exec("ip", ["route", "add", subnet, "via", "203.0.113.1"]);
    await cluster.underlay.machine.exec("ip", ["route", "add", subnet, "via", node.address]);
    const capture = await pod.spawn(
      "stdbuf",
      ["-oL", "tcpdump", "-lni", "eth0", "icmp[icmptype] == icmp-echo"],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    let seen = "";
    capture.child.stdout?.on("data", (chunk: Buffer) => (seen += chunk.toString()));
    try {
      await waitFor("the capture to see a ping", async () => {
        await cluster.outside.exec("ping", ["-c1", "-W1", pod.ip], { allowFailure: true });
        return seen.includes("echo request");
      });
      expect(seen).toContain(`IP 203.0.113.2 > ${pod.ip}`);
      expect(seen).not.toMatch(new RegExp(`IP (?!203\\.0\\.113\\.2 )\\S+ > ${pod.ip}`));
    } finally {
      await capture.stop();
      await cluster.underlay.machine.exec("ip", ["route", "del", subnet]);
      await cluster.outside.exec("ip", ["route", "del", subnet]);
    }
  });

  test.each([
    { flags: ["--ip-masq=false"], expected: [":FLANNEL-FWD"] },
    { flags: ["--iptables-forward-rules=false"], expected: [":FLANNEL-POSTRTG"] },
    { flags: ["--ip-masq=false", "--iptables-forward-rules=false"], expected: [] },
    { flags: [], expected: [":FLANNEL-FWD", ":FLANNEL-POSTRTG"] },
  ])("$flags: chains $expected", async ({ flags, expected }) => {
    await restartWith(...flags);
    expect(await chains(node, "nft")).toEqual(expected);
    expect(node.subnetEnv()["FLANNEL_IPMASQ"]).toBe(String(!flags.includes("--ip-masq=false")));
    expect(await ping(pod, cluster.pod("n2-p1").ip)).toBe("ok");
  });

  test("--ip-blackhole-route: no packet to a pod that is not there leaves the node, those that are there are reached", async () => {
    const base = pod.ip.replace(/\.\d+$/, "");
    const stranger = `${base}.200`;
    // Without the bridge, as before the first pod, the default route would take it.
    const routeTo = async (): Promise<string> =>
      (await node.exec("ip", ["route", "get", stranger], { allowFailure: true })).stdout;
    await restartWith("--ip-blackhole-route");
    const { stdout } = await node.exec("ip", ["route", "show", "type", "blackhole"]);
    expect(stdout.trim()).toBe(`blackhole ${base}.0/24 proto 250 metric 4294967295`);
    await expectFullConnectivity(cluster);
    await node.exec("ip", ["link", "set", "cni0", "down"]);
    expect(await routeTo()).not.toContain("dev eth0");
    await node.exec("ip", ["link", "set", "cni0", "up"]);
    expect(await routeTo()).toContain("dev cni0");
    await expectFullConnectivity(cluster);

    await restartWith();
    expect((await node.exec("ip", ["route", "show", "type", "blackhole"])).stdout).toBe("");
    await node.exec("ip", ["link", "set", "cni0", "down"]);
    expect(await routeTo()).toContain("dev eth0");
    await node.exec("ip", ["link", "set", "cni0", "up"]);
  });
});
