// The udp backend on a real cluster: what it carries, and what a restart, a deleted device and nodes that come and go leave of it.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import type { LabNode } from "../../lab/node.ts";
import { leaseOf, showLogsOfFailures, startTestCluster, storedLeases } from "../support/cluster.ts";
import { expectFullConnectivity, expectMtu, expectTransfer, packetsSent } from "../support/data-path.ts";
import { ping, startPings, startTcpStream } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
showLogsOfFailures(() => cluster);

describe("dual stack on another port", () => {
  beforeAll(async () => {
    const families = { Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:10:244::/48" };
    const netConf = { ...families, IPv6SubnetLen: 64, Backend: { Type: "udp", Port: 9285 } };
    cluster = await startTestCluster({ nodes: 2, pods: 1, netConf });
  });
  afterAll(async () => {
    await cluster.close();
  });

  test("both families pass at the full MTU, each through sockets of its own family", async () => {
    const [here, there] = [cluster.pod("n1-p1"), cluster.pod("n2-p1")];
    expect(here.mtu).toBe(1452);
    await waitFor("IPv6 addresses to be usable", async () => (await ping(here, there.ip6 ?? "")) === "ok");
    expect(await ping(here, there.ip, 1452 - 28)).toBe("ok");
    expect(await ping(here, there.ip6 ?? "", 1452 - 48)).toBe("ok");
    const node = cluster.node("n1");
    const { stdout } = await node.exec("ss", ["-uln"]);
    expect(stdout).toContain(`${node.address}:9285`);
    expect(stdout).toContain(`[${node.address6}]:9285`);
  });
});

describe("IPv4", () => {
  beforeAll(async () => {
    cluster = await startTestCluster({ nodes: 3, pods: 1, backend: "udp" });
  });
  afterAll(async () => {
    await cluster.close();
  });

  test("pods reach pods, nodes and outside; outside sees the node", async () => {
    await expectFullConnectivity(cluster);
  });

  test("the pod MTU is the uplink's less 28 bytes, exactly", async () => {
    await expectMtu(cluster.pod("n1-p1"), cluster.pod("n2-p1"), 1472);
  });

  test("100 MB of TCP arrive intact, from the pod's own address, through the TUN device", async () => {
    const packets = await packetsSent(cluster.node("n1"), "flannel0", () =>
      expectTransfer(cluster.pod("n1-p1"), cluster.pod("n2-p1")),
    );
    expect(packets).toBeGreaterThan(1000);
  });

  test("each node holds the device, the address and the one route that flannel's has", async () => {
    const leases = await storedLeases(cluster);
    expect(leases).toHaveLength(3);
    for (const node of cluster.nodes.values()) {
      const { base } = await leaseOf(cluster, node);
      const { stdout: addresses } = await node.exec("ip", ["-o", "-4", "address", "show", "dev", "flannel0"]);
      expect(addresses).toContain(`inet ${base}/32 scope global flannel0`);
      const { stdout: routes } = await node.exec("ip", ["route", "show", "dev", "flannel0"]);
      expect(routes.trim()).toBe("10.244.0.0/16 proto 250 scope link");
      const { peers, dataPath } = await node.daemon.status();
      expect(peers.map(({ how }) => how)).toEqual(["udp", "udp"]);
      expect(dataPath).toMatchObject({ foreignSource: 0, malformed: 0, writeErrors: 0 });
      expect(dataPath?.["sentPackets"]).toBeGreaterThan(0);
    }
  });

  const deviceIndex = async (node: LabNode): Promise<string> =>
    (await node.exec("cat", ["/sys/class/net/flannel0/ifindex"])).stdout;

  test.each(["SIGKILL", "SIGTERM"] as const)(
    "%s and restart: device and route stay, a TCP stream goes on",
    async (signal) => {
      const node = cluster.node("n1");
      const before = await deviceIndex(node);
      const stream = await startTcpStream(cluster.pod("n1-p1"), cluster.pod("n2-p1"), { pauseMs: 5 });
      try {
        await node.daemon.stop(signal);
        expect((await node.exec("ip", ["route", "show", "dev", "flannel0"])).stdout).toContain(
          "10.244.0.0/16",
        );
        await node.daemon.start();
        expect(await deviceIndex(node)).toBe(before);
        const { sent, received } = await stream.finish();
        expect(received).toMatchObject({ bytes: sent.bytes, sha256: sent.sha256 });
        expect(await node.daemon.status()).toMatchObject({ lastPass: { failed: 0 }, repairsTotal: 0 });
      } finally {
        await stream.abort();
      }
    },
  );

  test("a device that somebody deletes is made and taken up again", async () => {
    const node = cluster.node("n1");
    const before = await deviceIndex(node);
    await node.exec("ip", ["link", "del", "flannel0"]);
    await waitFor("another device", async () => (await deviceIndex(node)) !== before);
    await waitFor("the way to be whole", async () => {
      await expectFullConnectivity(cluster);
      return true;
    });
  });

  test("a node that leaves and one that comes do not cost others a packet", async () => {
    const pings = await startPings(cluster.pod("n1-p1"), cluster.pod("n2-p1").ip);
    try {
      const lease = await leaseOf(cluster, cluster.node("n3"));
      await cluster.removeNode("n3");
      await cluster.etcd.ctl("del", lease.key);
      const { name } = await cluster.addNode({ pods: 1 });
      await waitFor("the new node", async () => {
        const { peers } = await cluster.node("n1").daemon.status();
        return peers.some(({ publicIp }) => publicIp === cluster.node(name).address);
      });
      expect(await pings.stop()).toEqual([]);
    } finally {
      await pings.process.stop("SIGKILL");
    }
    await expectFullConnectivity(cluster);
  });

  test("cleanup takes the device away with its route", async () => {
    const node = cluster.node("n1");
    await node.daemon.stop();
    await node.daemon.command("cleanup");
    expect((await node.exec("ip", ["-o", "link"])).stdout).not.toContain("flannel0");
    await node.daemon.start();
    await waitFor("the way to be whole", async () => {
      await expectFullConnectivity(cluster);
      return true;
    });
  });
});
