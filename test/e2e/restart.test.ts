// Daemons that end and come back under traffic: nothing is lost, nothing right is written again, nothing stale stays.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { HEALTH_PORT, httpGet } from "../../lab/daemon-process.ts";
import type { LabNode } from "../../lab/node.ts";
import {
  leaseOf,
  peerRows,
  rowsFor,
  showLogsOfFailures,
  startTestCluster,
  waitForRows,
  waitForVxlanRows,
} from "../support/cluster.ts";
import { expectFullConnectivity } from "../support/data-path.ts";
import { restartUnderTraffic } from "../support/restart.ts";
import { startAskingOutside, startPings } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 3, pods: 1, backend: "vxlan" });
  await waitForVxlanRows(cluster);
});
afterAll(async () => {
  await cluster.close();
});
showLogsOfFailures(() => cluster);

/** Packets that each rule of our chains has counted. */
async function ruleCounters(node: LabNode): Promise<ReadonlyMap<string, number>> {
  const { stdout } = await node.exec("iptables-save", ["-c"]);
  const rules = stdout.matchAll(/^\[(\d+):\d+\] (-A .*FLANNEL-.*)$/gm);
  return new Map([...rules].map(([, packets, rule]) => [rule ?? "", Number(packets)]));
}

test.each(["SIGKILL", "SIGTERM"] as const)(
  "%s and restart: no ping lost, streams intact, nothing written",
  async (signal) => {
    const node = cluster.node("n1");
    const before = await ruleCounters(node);
    expect(before.size).toBe(10);
    const mac = await deviceMac(node);
    const written = await restartUnderTraffic(cluster, async () => {
      const outside = await startAskingOutside(cluster.pod("n1-p1"));
      const end = await node.daemon.stop(signal);
      expect(end).toEqual(
        signal === "SIGTERM"
          ? { exitCode: 0, signal: undefined }
          : { exitCode: undefined, signal: "SIGKILL" },
      );
      await node.daemon.start();
      // Each a new connection: there was no moment without masquerade.
      expect(new Set(await outside.stop())).toEqual(new Set([node.address]));
    });
    expect(written).toEqual([]);
    const after = await ruleCounters(node);
    expect([...after.keys()]).toEqual([...before.keys()]);
    for (const [rule, packets] of before) expect(after.get(rule), rule).toBeGreaterThanOrEqual(packets);
    expect(await deviceMac(node)).toBe(mac);
    expect((await leaseOf(cluster, node)).mac).toBe(mac);
    expect(await node.daemon.status()).toMatchObject({ lastPass: { failed: 0 }, repairsTotal: 0 });
  },
);

async function deviceMac(node: LabNode): Promise<string> {
  return (await node.exec("cat", ["/sys/class/net/flannel.1/address"])).stdout.trim();
}

test("a restart with other --ip-masq and forward flags changes the rules only, and nothing is lost", async () => {
  const written = await restartUnderTraffic(cluster, async (node) => {
    await node.daemon.stop();
    await node.daemon.start({ flags: ["--ip-masq=false", "--iptables-forward-rules=false"] });
    expect(await ruleCounters(node)).toEqual(new Map());
    await node.daemon.stop();
    await node.daemon.start({ flags: ["--ip-masq-fully-random-disable"] });
    const rules = [...(await ruleCounters(node)).keys()];
    expect(rules).toHaveLength(10);
    expect(rules.join("\n")).not.toContain("--random-fully");
    await node.daemon.restart();
  });
  expect(written).toEqual([]);
  await expectFullConnectivity(cluster);
});

test("while etcd is away a restarted daemon waits, says so, and sweeps nothing", async () => {
  const node = cluster.node("n1");
  const before = await peerRows(node);
  const pings = await startPings(cluster.pod("n1-p1"), cluster.pod("n2-p1").ip);
  await cluster.etcd.stop();
  await node.daemon.stop("SIGKILL");
  await node.daemon.start({ waitReady: false });
  const answer = await waitFor("a reason", async () => {
    const said = await httpGet(node.machine, HEALTH_PORT, "/readyz");
    return said?.body.includes("http://192.0.2.1:2379") ? said : undefined;
  });
  expect(answer.status).toBe(503);
  expect(answer.body).toMatch(/waiting for the network configuration in etcd/);
  expect(await httpGet(node.machine, HEALTH_PORT, "/healthz")).toMatchObject({ status: 200 });
  const { ready, notReadyReason } = await node.daemon.status();
  expect({ ready, answer: answer.body }).toEqual({
    ready: false,
    answer: expect.stringContaining(notReadyReason ?? "?") as string,
  });
  expect(await peerRows(node)).toEqual(before);
  await cluster.etcd.start();
  await node.daemon.waitReady();
  expect(await peerRows(node)).toEqual(before);
  expect(await pings.stop()).toEqual([]);
});

// flannel #2554
test("rows of a peer that left while the daemon was down, and others that nothing explains, go at restart", async () => {
  const [node, leaving] = [cluster.node("n1"), cluster.node("n3")];
  await node.daemon.stop("SIGKILL");
  const lease = await leaseOf(cluster, leaving);
  await cluster.removeNode("n3");
  await cluster.etcd.ctl("del", lease.key);
  for (const command of [
    "ip route add 10.244.254.0/24 via 10.244.254.0 dev flannel.1 onlink proto 250",
    "ip route add 10.244.253.0/24 via 192.0.2.12 dev eth0 proto 250",
    "ip neigh add 10.244.254.0 lladdr 02:00:00:00:fe:00 dev flannel.1 nud permanent",
    "bridge fdb add 02:00:00:00:fe:00 dev flannel.1 dst 192.0.2.12",
    // Not ours: another protocol, another network.
    "ip route add 10.99.0.0/24 via 192.0.2.12 dev eth0 proto 250",
    "ip route add 10.244.252.0/24 via 192.0.2.12 dev eth0 proto static",
  ]) await node.exec("sh", ["-c", command]); // prettier-ignore
  await node.daemon.start();
  const wanted = rowsFor([await leaseOf(cluster, cluster.node("n2"))]);
  const foreign = "10.244.252.0/24 via 192.0.2.12 dev eth0 proto static";
  await waitForRows(node, { ...wanted, routes: [foreign, ...wanted.routes].toSorted() });
  expect((await node.exec("ip", ["route"])).stdout).toContain("10.99.0.0/24");
  await expectFullConnectivity(cluster);
});
