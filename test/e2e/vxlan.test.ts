// The vxlan backend on a real cluster: what it carries, and how nodes that come, go or lie are taken.
import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import {
  leaseOf,
  peerRows,
  rowsFor,
  showLogsOfFailures,
  startTestCluster,
  storedLeases,
  waitForRows,
  waitForVxlanRows,
} from "../support/cluster.ts";
import { expectFullConnectivity, expectMtu, expectTransfer, packetsSent } from "../support/data-path.ts";
import { ping } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 3, pods: 1, backend: "vxlan" });
});
afterAll(async () => {
  await cluster.close();
});
showLogsOfFailures(() => cluster);

describe("traffic", () => {
  test("pods reach pods, nodes and outside; outside sees the node", async () => {
    await expectFullConnectivity(cluster);
  });

  test("the pod MTU is the uplink's less 50 bytes, exactly", async () => {
    await expectMtu(cluster.pod("n1-p1"), cluster.pod("n2-p1"), 1450);
  });

  test("100 MB of TCP arrive intact, from the pod's own address, through the vxlan device", async () => {
    const packets = await packetsSent(cluster.node("n1"), "flannel.1", () =>
      expectTransfer(cluster.pod("n1-p1"), cluster.pod("n2-p1")),
    );
    expect(packets).toBeGreaterThan(1000);
  });

  test("each node holds one route, neighbor and forwarding entry per peer, as flannel's", async () => {
    const leases = await storedLeases(cluster);
    expect(leases).toHaveLength(3);
    for (const node of cluster.nodes.values()) {
      const peers = leases.filter(({ publicIp }) => publicIp !== node.address);
      expect(await peerRows(node)).toEqual(rowsFor(peers));
      const own = await leaseOf(cluster, node);
      const { stdout } = await node.exec("ip", ["-o", "address", "show", "dev", "flannel.1"]);
      expect(stdout).toContain(`inet ${own.base}/32 scope global flannel.1`);
    }
  });
});

/** Leases that somebody with access to etcd could write. Subnets are chosen so that no node has them. */
function hostileLeases(own: {
  readonly base: string;
  readonly mac: string | undefined;
}): ReadonlyMap<string, string> {
  const vxlan = (VtepMAC: string, PublicIP = "192.0.2.66"): string =>
    JSON.stringify({ PublicIP, BackendType: "vxlan", BackendData: { VNI: 1, VtepMAC } });
  const thirdByte = Number(own.base.split(".")[2]);
  const around = `10.244.${thirdByte & 0xf0}.0-20`;
  return new Map([
    ["0.0.0.0-0", vxlan("02:00:00:00:00:66")],
    ["192.0.2.0-24", vxlan("02:00:00:00:00:67")],
    [around, vxlan("02:00:00:00:00:68")],
    ["10.244.255.0-24", vxlan("zz:zz")],
    ["10.244.0.0-24", vxlan("02:00:00:00:00:69; touch /run/pwned")],
    ["10.244.0.16-28", vxlan("$(touch /run/pwned)", "`touch /run/pwned`")],
    ["10.244.0.32-28", vxlan(own.mac ?? "")],
    ["10.244.0.48-28", vxlan("ff:ff:ff:ff:ff:ff")],
    ["10.244.0.64-28", JSON.stringify({ PublicIP: "192.0.2.66", BackendType: "extension", BackendData: "touch /run/pwned" })],
    ["10.244.0.80-28", "{"],
    ["$(touch /run/pwned)", vxlan("02:00:00:00:00:70")],
  ]); // prettier-ignore
}

test("hostile leases are skipped and named; nothing else is disturbed", async () => {
  const node = cluster.node("n1");
  const own = await leaseOf(cluster, node);
  const before = await peerRows(node);
  const hostile = hostileLeases(own);
  for (const [key, value] of hostile)
    await cluster.etcd.ctl("put", `${cluster.etcd.prefix}/subnets/${key}`, value);
  try {
    const unnamed = async (): Promise<readonly string[]> => {
      const { peers, skippedLeases } = await node.daemon.status();
      const named = new Set([
        ...peers.filter(({ problem }) => problem !== undefined).map(({ subnet }) => subnet.replace("/", "-")),
        ...skippedLeases.map(({ key }) => key.replace(/^.*\/subnets\//, "")),
      ]);
      return [...hostile.keys()].filter((key) => !named.has(key));
    };
    let missing: readonly string[] = [];
    await waitFor("all to be named", async () => (missing = await unnamed()).length === 0).catch(
      (error: unknown) => {
        throw new Error(`not named in status: ${missing.join(", ")}`, { cause: error });
      },
    );
    for (const key of ["0.0.0.0", "10.244.255.0", "10.244.0.80"]) expect(node.daemon.log()).toContain(key);
    expect(await peerRows(node)).toEqual(before);
    expect(existsSync(node.machine.hostPath("/run/pwned"))).toBe(false);
    await expectFullConnectivity(cluster);
  } finally {
    for (const key of hostile.keys()) await cluster.etcd.ctl("del", `${cluster.etcd.prefix}/subnets/${key}`);
  }
  await waitFor("the hostile leases to be forgotten", async () => {
    const { peers, skippedLeases } = await node.daemon.status();
    return peers.length === 2 && skippedLeases.length === 0;
  });
  expect(await peerRows(node)).toEqual(before);
});

describe("nodes that leave and come", () => {
  const leaveBy = {
    deletion: (key: string) => cluster.etcd.ctl("del", key),
    expiry: async (key: string) => {
      const ids = (await cluster.etcd.ctl("lease", "list"))
        .split("\n")
        .filter((line) => /^[0-9a-f]{16}$/.test(line));
      for (const id of ids) {
        const keys = await cluster.etcd.ctl("lease", "timetolive", id, "--keys");
        if (keys.includes(key)) await cluster.etcd.ctl("lease", "revoke", id);
      }
      return "";
    },
  };

  test.each(["deletion", "expiry"] as const)(
    "by %s of its lease: forgotten, and a new node is reached",
    async (how) => {
      const leaving = await cluster.addNode({ pods: 1 });
      await waitForVxlanRows(cluster);
      const lease = await leaseOf(cluster, leaving);
      const stays = cluster.pod("n1-p1");
      expect(await ping(stays, [...leaving.pods.values()][0]!.ip)).toBe("ok");

      await cluster.removeNode(leaving.name);
      await leaveBy[how](lease.key);
      await waitFor(
        "the lease to be gone",
        async () => !(await storedLeases(cluster)).some(({ key }) => key === lease.key),
      );
      await waitForVxlanRows(cluster);
      for (const node of cluster.nodes.values()) {
        expect(JSON.stringify(await peerRows(node))).not.toContain(lease.base);
        expect(JSON.stringify(await peerRows(node))).not.toContain(lease.mac);
      }
      await expectFullConnectivity(cluster);
    },
  );
});

test("a peer that is alive takes its deleted lease again, and is reached again", async () => {
  const lease = await leaseOf(cluster, cluster.node("n2"));
  await cluster.etcd.ctl("del", lease.key);
  await waitFor("the lease to be back", async () =>
    (await storedLeases(cluster)).some(({ key }) => key === lease.key),
  );
  expect((await leaseOf(cluster, cluster.node("n2"))).mac).toBe(lease.mac);
  const peers = (await storedLeases(cluster)).filter(
    ({ publicIp }) => publicIp !== cluster.node("n1").address,
  );
  await waitForRows(cluster.node("n1"), rowsFor(peers));
  await expectFullConnectivity(cluster);
});

test("a node whose subnet was given to somebody else ends with its own exit code, and gets it again once it is free", async () => {
  const node = cluster.node("n2");
  const lease = await leaseOf(cluster, node);
  const value = {
    PublicIP: "192.0.2.66",
    BackendType: "vxlan",
    BackendData: { VNI: 1, VtepMAC: "02:00:00:00:00:66" },
  };
  await cluster.etcd.ctl("put", lease.key, JSON.stringify(value));
  await waitFor("the daemon to end", () => !node.daemon.isRunning());
  expect(await node.daemon.ended()).toEqual({ exitCode: 3, signal: undefined });
  expect(node.daemon.log()).toContain(`subnet ${lease.subnet} belongs to 192.0.2.66 now`);
  await cluster.etcd.ctl("del", lease.key);
  await node.daemon.start();
  expect((await leaseOf(cluster, node)).subnet).toBe(lease.subnet);
  await waitForVxlanRows(cluster);
  await expectFullConnectivity(cluster);
});
