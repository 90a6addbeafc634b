// The host-gw backend on a real cluster, and over a router, where it cannot work.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { listKeys } from "../../lab/etcd.ts";
import {
  leaseOf,
  peerRows,
  rowsFor,
  showLogsOfFailures,
  startTestCluster,
  storedLeases,
  waitForRows,
} from "../support/cluster.ts";
import { expectFullConnectivity, expectMtu, expectTransfer } from "../support/data-path.ts";
import { restartUnderTraffic } from "../support/restart.ts";
import { ping, startPings } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
showLogsOfFailures(() => cluster);

describe("on one link", () => {
  beforeAll(async () => {
    cluster = await startTestCluster({ nodes: 3, pods: 1, backend: "host-gw" });
  });
  afterAll(async () => {
    await cluster.close();
  });

  test("pods reach pods, nodes and outside; outside sees the node", async () => {
    await expectFullConnectivity(cluster);
  });

  test("the pod MTU is the uplink's, exactly", async () => {
    await expectMtu(cluster.pod("n1-p1"), cluster.pod("n2-p1"), 1500);
  });

  test("100 MB of TCP arrive intact, from the pod's own address", async () => {
    await expectTransfer(cluster.pod("n1-p1"), cluster.pod("n2-p1"));
  });

  test("each node holds one route per peer and no device", async () => {
    const leases = await storedLeases(cluster);
    for (const node of cluster.nodes.values()) {
      const peers = leases.filter(({ publicIp }) => publicIp !== node.address);
      expect(await peerRows(node)).toEqual(rowsFor([], peers));
      expect((await node.exec("ip", ["-br", "link"])).stdout).not.toContain("flannel");
    }
  });

  test("kill -9 and restart: no ping lost, streams intact, nothing written", async () => {
    const written = await restartUnderTraffic(cluster, (node) => node.daemon.restart("SIGKILL"));
    expect(written).toEqual([]);
  });

  test("a route as Go flannel leaves behind is told of with its cure, until it has gone", async () => {
    const n1 = cluster.node("n1");
    const told = async () => (await n1.daemon.status()).unexplainedRoutes ?? [];
    expect(await told()).toEqual([]);
    await n1.exec("ip", ["route", "add", "10.244.250.0/24", "via", "192.0.2.99"]);
    await waitFor("the route to be told of", async () => (await told()).length === 1);
    expect(await told()).toEqual([expect.stringContaining("ip route del 10.244.250.0/24 via 192.0.2.99")]);
    expect(n1.daemon.log()).toContain("ip route del 10.244.250.0/24 via 192.0.2.99");
    await n1.exec("ip", ["route", "del", "10.244.250.0/24", "via", "192.0.2.99"]);
    await waitFor("nothing to tell", async () => (await told()).length === 0);
  });

  test("a node that left is forgotten", async () => {
    const lease = await leaseOf(cluster, cluster.node("n3"));
    await cluster.removeNode("n3");
    await cluster.etcd.ctl("del", lease.key);
    await waitForRows(cluster.node("n1"), rowsFor([], [await leaseOf(cluster, cluster.node("n2"))]));
  });
});

describe("over a router", () => {
  beforeAll(async () => {
    cluster = await startTestCluster({ nodes: 3, pods: 1, backend: "host-gw", topology: "routed" });
  });
  afterAll(async () => {
    await cluster.close();
  });

  test("the peer behind the router is named with its cure in log and status; the others work", async () => {
    const n1 = cluster.node("n1");
    const [far, near] = [
      await leaseOf(cluster, cluster.node("n2")),
      await leaseOf(cluster, cluster.node("n3")),
    ];
    await waitForRows(n1, rowsFor([], [near]));
    const { peers, ready } = await n1.daemon.status();
    const problem = expect.stringMatching(
      /198\.51\.100\.12 is not on the link of eth0.*"DirectRouting":true/,
    ) as string;
    expect(peers.find(({ subnet }) => subnet === far.subnet)).toMatchObject({ how: "unreachable", problem });
    expect(peers.find(({ subnet }) => subnet === near.subnet)).not.toHaveProperty("problem");
    expect(ready).toBe(true);
    await waitFor("the log line", () => /198\.51\.100\.12 is not on the link of eth0/.test(n1.daemon.log()));
    expect(await ping(cluster.pod("n1-p1"), cluster.pod("n3-p1").ip)).toBe("ok");
  });
});

describe("dual stack", () => {
  beforeAll(async () => {
    const families = { Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:10:244::/56" };
    cluster = await startTestCluster({
      nodes: 2,
      pods: 1,
      netConf: { ...families, Backend: { Type: "host-gw" } },
    });
  });
  afterAll(async () => {
    await cluster.close();
  });

  test("a peer that changes its IPv6 address alone is followed, and IPv4 does not notice", async () => {
    const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
    const [here, there] = [cluster.pod("n1-p1"), cluster.pod("n2-p1")];
    const { ip6 } = there;
    if (ip6 === undefined) throw new Error("the pod has no IPv6 address");
    const subnet6 = `${ip6.replace(/[^:]+$/, "")}/64`;
    const routes = async (...what: readonly string[]): Promise<string> =>
      (await n1.exec("ip", [...what, "route", "show", "proto", "250"])).stdout.replaceAll(/ +/g, " ").trim();
    const via = (gateway: string): string => `${subnet6} via ${gateway} dev eth0`;
    await waitFor("IPv6 addresses to be usable", async () => (await ping(here, ip6)) === "ok");
    expect(await routes("-6")).toContain(via(n2.address6));
    const ipv4 = await routes("-4");
    const pings = await startPings(here, there.ip);

    const moved = "2001:db8:1::cc";
    await n2.exec("ip", ["address", "add", `${moved}/64`, "dev", "eth0", "nodad"]);
    await n2.exec("ip", ["address", "del", `${n2.address6}/64`, "dev", "eth0"]);
    await waitFor("the route by the new address", async () => (await routes("-6")).includes(via(moved)));
    await waitFor("packets by the new address", async () => (await ping(here, ip6)) === "ok");
    expect(await ping(there, here.ip6 ?? "")).toBe("ok");

    expect(await routes("-4")).toBe(ipv4);
    expect(await pings.stop()).toEqual([]);
    const { lease } = await n2.daemon.status();
    expect(lease).toMatchObject({ publicIp: n2.address });
    expect([...(await listKeys(cluster.etcd)).values()].join("\n")).toContain(`"PublicIPv6":"${moved}"`);
  });
});
