// What becomes of leases: lost and taken again, lost to another node, reserved, none left.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { HEALTH_PORT, httpGet } from "../../lab/daemon-process.ts";
import {
  leaseOf,
  showLogsOfFailures,
  startTestCluster,
  storedLeases,
  waitForVxlanRows,
} from "../support/cluster.ts";
import { freeze } from "../support/freeze.ts";
import { brokenCells, startPings, startTcpStream } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
showLogsOfFailures(() => cluster);
afterAll(() => cluster.close());

/** ID of the etcd lease of a key, as etcdctl takes it (hexadecimal); "0" for none. */
async function etcdLeaseOf(key: string): Promise<string> {
  const text = await cluster.etcd.ctl("get", "--write-out=json", key);
  if (!text.includes('"kvs"')) throw new Error(`no key ${key}`);
  // Too large for a JavaScript number.
  return BigInt(/"lease":(\d+)/.exec(text)?.[1] ?? 0).toString(16);
}

async function remainingTtl(id: string): Promise<number> {
  const text = await cluster.etcd.ctl("lease", "timetolive", "--write-out=json", id);
  return Number(/"ttl":(-?\d+)/.exec(text)?.[1]);
}

describe("a lease that is gone", () => {
  beforeAll(async () => {
    cluster = await startTestCluster({ nodes: 2, pods: 1 });
  });

  test("has flannel's 24 hours, and more than 23 after a restart", async () => {
    const n1 = cluster.node("n1");
    const { key } = await leaseOf(cluster, n1);
    expect(await remainingTtl(await etcdLeaseOf(key))).toBeGreaterThan(86_300);
    await n1.daemon.restart();
    expect(await remainingTtl(await etcdLeaseOf(key))).toBeGreaterThan(86_300);
    const { lease } = await n1.daemon.status();
    expect(Date.parse(lease?.expiresAt ?? "")).toBeGreaterThan(Date.now() + 86_300_000);
  });

  test.each([
    {
      how: "expired",
      end: async (key: string) => cluster.etcd.ctl("lease", "revoke", await etcdLeaseOf(key)),
    },
    { how: "deleted by hand", end: (key: string) => cluster.etcd.ctl("del", key) },
  ])("$how: the same subnet is taken again, connections go on", async ({ end }) => {
    const n1 = cluster.node("n1");
    const before = await leaseOf(cluster, n1);
    const leaseId = await etcdLeaseOf(before.key);
    const pid = n1.daemon.pid();
    const stream = await startTcpStream(cluster.pod("n2-p1"), cluster.pod("n1-p1"), { pauseMs: 1 });
    const pings = await startPings(cluster.pod("n2-p1"), cluster.pod("n1-p1").ip);
    await end(before.key);
    await waitFor("the lease to be back", async () => (await storedLeases(cluster)).length === 2);
    expect(await leaseOf(cluster, n1)).toEqual(before);
    expect(await etcdLeaseOf(before.key)).not.toBe(leaseId);
    await waitForVxlanRows(cluster);
    await pings.waitForMore();
    // Peers drop the routes between the two events, for some tens of milliseconds.
    await pings.stop();
    const { sent, received } = await stream.finish();
    expect(received).toMatchObject({ bytes: sent.bytes, sha256: sent.sha256 });
    expect(await brokenCells(cluster)).toEqual([]);
    expect(n1.daemon.pid()).toBe(pid);
    expect(n1.daemon.log()).toContain("took the same subnet again");
  });

  test.each([
    {
      how: "by its key",
      give: async (key: string) => {
        await cluster.etcd.ctl("put", key, goLease("192.0.2.77"));
        return key;
      },
    },
    {
      how: "by a larger subnet that holds it",
      give: async (key: string) => {
        const larger = key.replace(/(\d+)\.0-24$/, (_, third: string) => `${Number(third) & ~1}.0-23`);
        await cluster.etcd.ctl("put", larger, goLease("192.0.2.77"));
        await cluster.etcd.ctl("del", key);
        return larger;
      },
    },
  ])("given to another node meanwhile, $how: exit 3, and how to go on", async ({ give }) => {
    const n1 = cluster.node("n1");
    const { key, subnet } = await leaseOf(cluster, n1);
    const thaw = freeze(n1.daemon.pid()!);
    const taken = await give(key);
    thaw();
    expect(await n1.daemon.ended()).toEqual({ exitCode: 3, signal: undefined });
    const last = n1.daemon
      .log()
      .trimEnd()
      .split("\n")
      .findLast((line) => line.includes('"error"'));
    expect(last).toContain(`subnet ${subnet} belongs to 192.0.2.77 now (${taken})`);
    expect(last).toContain(
      "start the daemon again to take another subnet, and recreate the pods of this node",
    );
    // The data path stays for those who do not talk to the other node.
    expect((await n1.exec("ip", ["link", "show", "flannel.1"])).stdout).toContain("flannel.1");
    await n1.daemon.start();
    expect((await leaseOf(cluster, n1)).subnet).not.toBe(subnet);
    expect((await cluster.etcd.ctl("get", "--print-value-only", taken)).trim()).toBe(goLease("192.0.2.77"));
    await n1.removePod([...n1.pods.keys()][0]!);
    // The bridge has the gateway's address of the lost subnet; the CNI executable names this cure.
    await expect(n1.addPod("n1-early")).rejects.toThrow("ip link delete cni0");
    await n1.exec("ip", ["link", "delete", "cni0"]);
    await n1.addPod();
    await cluster.etcd.ctl("del", taken);
    await waitForVxlanRows(cluster);
    expect(await brokenCells(cluster)).toEqual([]);
  });
});

/** As a Go flannel writes it (reference: flannel 2.1). */
function goLease(publicIp: string): string {
  return `{"PublicIP":"${publicIp}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"}}`;
}

test("a reservation, a key without an etcd lease: taken by the node with its public IP, and kept for ever", async () => {
  const node = await cluster.addNode({ startDaemon: false });
  const key = `${cluster.etcd.prefix}/subnets/10.244.222.0-24`;
  await cluster.etcd.ctl("put", key, `{"PublicIP":"${node.address}","PublicIPv6":null}`);
  await node.daemon.start();
  expect(node.subnetEnv()).toMatchObject({ FLANNEL_SUBNET: "10.244.222.1/24" });
  const written = (await leaseOf(cluster, node)).mac;
  expect(written).toMatch(/^[0-9a-f:]{17}$/);
  expect(await etcdLeaseOf(key)).toBe("0");
  expect((await node.daemon.status()).lease).not.toHaveProperty("expiresAt");

  await node.daemon.restart("SIGKILL");
  expect(await etcdLeaseOf(key)).toBe("0");
  expect((await leaseOf(cluster, node)).mac).toBe(written);

  // Whatever happens to the key is a reason to look at it, as the time of a renewal is.
  await cluster.etcd.ctl("put", key, `{"PublicIP":"${node.address}","PublicIPv6":null}`);
  await waitFor(
    "the node to write its own value again",
    async () => (await leaseOf(cluster, node)).mac === written,
  );
  expect(await etcdLeaseOf(key)).toBe("0");
  await node.addPod();
  await waitForVxlanRows(cluster);
  expect(await brokenCells(cluster)).toEqual([]);
});

describe("a network without a free subnet", () => {
  beforeAll(async () => {
    await cluster.close();
    cluster = await startTestCluster({
      nodes: 2,
      pods: 0,
      netConf: {
        Network: "10.244.0.0/16",
        SubnetMin: "10.244.8.0",
        SubnetMax: "10.244.9.0",
        Backend: { Type: "vxlan" },
      },
    });
  });

  test("the third node says so and waits; it gets the first subnet that is freed", async () => {
    const n2 = cluster.node("n2");
    const freed = await leaseOf(cluster, n2);
    const n3 = await cluster.addNode({ startDaemon: false });
    await n3.daemon.start({ waitReady: false });
    const answer = await waitFor("n3 to say what it waits for", async () => {
      const now = await httpGet(n3.machine, HEALTH_PORT, "/readyz");
      return now?.body.includes("out of subnets") ? now : undefined;
    });
    expect(answer.status).toBe(503);
    expect(answer.body).toContain(
      "none of the 2 /24 subnets from 10.244.8.0 to 10.244.9.0 is free (2 leases, 0 reservations)",
    );
    expect(answer.body).toContain("delete the keys of nodes that are gone or enlarge the network");
    expect((await n3.daemon.status()).notReadyReason).toContain("out of subnets");
    expect(
      n3.daemon
        .log()
        .split("\n")
        .filter((line) => line.includes("out of subnets")),
    ).toHaveLength(1);
    expect((await n3.exec("ip", ["link", "show", "type", "vxlan"])).stdout).toBe("");

    await cluster.removeNode("n2");
    await cluster.etcd.ctl("del", freed.key);
    await n3.daemon.waitReady();
    expect(await leaseOf(cluster, n3)).toMatchObject({ key: freed.key });
    await waitForVxlanRows(cluster);
  });
});
