// What others do to our rows is put back and counted, and all peers are reached again; what is theirs stays.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import type { LabNode } from "../../lab/node.ts";
import { planNodeAttachment } from "../../lab/plan-topology.ts";
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
import type { PeerRows, StoredLease } from "../support/cluster.ts";
import { expectFullConnectivity } from "../support/data-path.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
let node: LabNode;
let peer: StoredLease;
let rows: PeerRows;
beforeAll(async () => {
  cluster = await startTestCluster({
    nodes: 3,
    pods: 1,
    backend: "vxlan",
    daemonFlags: ["--iptables-resync=300"],
  });
  await waitForVxlanRows(cluster);
  node = cluster.node("n1");
});
afterAll(async () => {
  await cluster.close();
});
showLogsOfFailures(() => cluster);

beforeEach(async () => {
  peer = await leaseOf(cluster, cluster.node("n2"));
  rows = await peerRows(node);
});

async function shell(script: string): Promise<string> {
  return (await node.exec("sh", ["-ec", script])).stdout;
}

async function repairsTotal(): Promise<number> {
  return (await node.daemon.status()).repairsTotal;
}

/** The device as it must be: everything that we set, and its address. */
async function deviceText(): Promise<string> {
  const text = await shell("ip -d -o link show flannel.1; ip -4 -o address show flannel.1");
  return text.replaceAll(/^\d+: /gm, "").replaceAll(/state \w+|valid_lft.*|promiscuity.*/g, "");
}

/** Daemons follow events; the machine of the test may be busy. */
const REPAIR_TIMEOUT_MS = 30_000;

describe("links, routes, neighbors, forwarding entries", () => {
  const deeds: { name: string; deed: () => string; counted: boolean }[] = [
    { name: "a route deleted", deed: () => `ip route del ${peer.subnet}`, counted: true },
    { name: "a route led elsewhere", deed: () => `ip route replace ${peer.subnet} via 192.0.2.1 dev eth0`, counted: true },
    { name: "a neighbor deleted", deed: () => `ip neigh del ${peer.base} dev flannel.1`, counted: true },
    { name: "a neighbor with another MAC", deed: () => `ip neigh replace ${peer.base} lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent`, counted: true },
    { name: "a forwarding entry deleted", deed: () => `bridge fdb del ${peer.mac} dev flannel.1 dst ${peer.publicIp}`, counted: true },
    { name: "a forwarding entry led elsewhere", deed: () => `bridge fdb replace ${peer.mac} dev flannel.1 dst 192.0.2.99`, counted: true },
    { name: "rows of nobody's", deed: () => "ip neigh add 10.244.251.0 lladdr 02:00:00:00:00:98 dev flannel.1 nud permanent; bridge fdb add 02:00:00:00:00:98 dev flannel.1 dst 192.0.2.98; ip route add 10.244.251.0/24 via 10.244.251.0 dev flannel.1 onlink proto 250", counted: true },
    { name: "all routes flushed", deed: () => "ip route flush proto 250", counted: true },
    { name: "all neighbors flushed", deed: () => "ip neigh flush dev flannel.1 nud permanent", counted: true },
    { name: "the device deleted", deed: () => "ip link del flannel.1", counted: true },
    { name: "the device set down", deed: () => "ip link set flannel.1 down", counted: true },
    { name: "the device down and up at once", deed: () => "ip link set flannel.1 down; ip link set flannel.1 up", counted: true },
    { name: "the device's MAC changed", deed: () => "ip link set flannel.1 address 02:00:00:00:00:97", counted: true },
    { name: "the device's MTU changed", deed: () => "ip link set flannel.1 mtu 1280", counted: true },
    { name: "the device's address deleted", deed: () => "ip -4 address flush dev flannel.1", counted: true },
    { name: "the device made anew by somebody else, without our options", deed: () => "ip link del flannel.1; ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472; ip link set flannel.1 up", counted: true },
    { name: "the uplink down and up", deed: () => "ip link set eth0 down; ip link set eth0 up; ip route replace default via 192.0.2.1", counted: false },
  ]; // prettier-ignore

  test.each(deeds)("$name: put back and counted", async ({ deed, counted }) => {
    const device = await deviceText();
    const before = await repairsTotal();
    await shell(deed());
    const isRepaired = async (): Promise<boolean> => (await deviceText()) === device;
    await waitFor("the device to be right", isRepaired, { timeoutMs: REPAIR_TIMEOUT_MS }).catch(
      async (error: unknown) => {
        throw new Error(`wanted ${device}, found ${await deviceText()}`, { cause: error });
      },
    );
    await waitForRows(node, rows, REPAIR_TIMEOUT_MS);
    if (counted) await waitFor("the repair to be counted", async () => (await repairsTotal()) > before);
    await expectFullConnectivity(cluster);
  });

  test("the MAC that is advertised is the device's, after all of that", async () => {
    const mac = (await shell("cat /sys/class/net/flannel.1/address")).trim();
    expect((await leaseOf(cluster, node)).mac).toBe(mac);
  });
});

describe("firewall", () => {
  // Until here events alone had to be enough.
  beforeAll(async () => {
    await node.daemon.stop();
    await node.daemon.start({ flags: ["--iptables-resync=1"] });
  });

  const rules = (): Promise<string> =>
    shell("iptables-save | grep -v '^[#:]'; iptables-save | grep -c FLANNEL");
  const deeds = [
    { name: "the chain flushed", deed: "iptables -t nat -F FLANNEL-POSTRTG" },
    { name: "a rule deleted", deed: "iptables -t nat -D FLANNEL-POSTRTG 3" },
    { name: "a rule inserted", deed: "iptables -t nat -I FLANNEL-POSTRTG -j RETURN" },
    { name: "a rule doubled", deed: "iptables -A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT -m comment --comment 'flanneld forward'" },
    { name: "the jump deleted", deed: "iptables -t nat -D POSTROUTING -j FLANNEL-POSTRTG -m comment --comment 'flanneld masq'" },
    { name: "the jump doubled", deed: "iptables -A FORWARD -j FLANNEL-FWD -m comment --comment 'flanneld forward'" },
    { name: "chain and jump deleted", deed: "iptables -D FORWARD -j FLANNEL-FWD -m comment --comment 'flanneld forward'; iptables -F FLANNEL-FWD; iptables -X FLANNEL-FWD" },
    { name: "everything flushed", deed: "iptables -t nat -F; iptables -t nat -X; iptables -F; iptables -X" },
  ]; // prettier-ignore

  test.each(deeds)("$name: put back and counted", async ({ deed }) => {
    const wanted = (await rules()).split("\n").toSorted();
    const before = await repairsTotal();
    await shell(deed);
    await waitFor(
      "the rules",
      async () => expect((await rules()).split("\n").toSorted()).toEqual(wanted) ?? true,
    );
    await waitFor("the repair to be counted", async () => (await repairsTotal()) > before);
  });

  test("others' rules beside ours, before and after, stay as they are", async () => {
    await shell(
      "iptables -t nat -I POSTROUTING -s 10.99.0.0/16 -j ACCEPT; iptables -t nat -A POSTROUTING -s 10.98.0.0/16 -j ACCEPT; " +
        "iptables -N OTHER; iptables -I FORWARD -j OTHER; iptables -A FORWARD -s 10.97.0.0/16 -j ACCEPT; iptables -t mangle -A PREROUTING -j ACCEPT",
    );
    const wanted = await shell("iptables-save | grep -v '^[#:]'");
    const before = await repairsTotal();
    await shell("iptables -t nat -F FLANNEL-POSTRTG");
    await waitFor("the repair", async () => (await repairsTotal()) > before);
    expect(await shell("iptables-save | grep -v '^[#:]'")).toBe(wanted);
    await expectFullConnectivity(cluster);
  });
});

test("the uplink goes with all that hangs on it, and comes back: everything is programmed again for all peers", async () => {
  const mac = (await leaseOf(cluster, node)).mac;
  await shell("ip link del eth0");
  await waitFor("the daemon to say so", () => node.daemon.log().includes("the uplink is gone"));
  expect(await shell("ip -br link")).not.toContain("flannel.1");
  await cluster.underlay.attach(node.machine, planNodeAttachment("flat", node.index));
  await waitForRows(node, rows);
  expect((await shell("cat /sys/class/net/flannel.1/address")).trim()).toBe(mac);
  await expectFullConnectivity(cluster);
});

test("the uplink's address changes: the lease follows with the same subnet and MAC, and the peers with it", async () => {
  const lease = await leaseOf(cluster, node);
  await shell(
    "ip addr del 192.0.2.11/24 dev eth0; ip addr add 192.0.2.77/24 brd + dev eth0; ip route replace default via 192.0.2.1",
  );
  const moved = await waitFor(
    "the lease to follow",
    async () =>
      (await storedLeases(cluster)).find(
        ({ publicIp, subnet }) => publicIp === "192.0.2.77" && subnet === lease.subnet,
      ),
    // etcd's connection had the address that went: it must not take until a keepalive fails, 15 s later.
    { timeoutMs: 10_000 },
  );
  expect(moved.mac).toBe(lease.mac);
  const peers = (await storedLeases(cluster)).filter(({ subnet }) => subnet !== lease.subnet);
  expect(peers).toHaveLength(2);
  for (const other of [cluster.node("n2"), cluster.node("n3")]) {
    const leases = (await storedLeases(cluster)).filter(({ publicIp }) => publicIp !== other.address);
    await waitForRows(other, rowsFor(leases));
  }
  await waitForRows(node, rowsFor(peers));
  expect(await shell("ip -d link show flannel.1")).toContain("local 192.0.2.77");
  const pods = cluster.pods();
  for (const from of pods) {
    for (const to of pods) {
      if (from === to) continue;
      await waitFor(
        `${from.name} to reach ${to.name}`,
        async () => (await from.exec("ping", ["-c1", "-W1", to.ip], { allowFailure: true })).exitCode === 0,
      );
    }
  }
  // Masqueraded to the new address.
  const { stdout } = await cluster
    .pod("n1-p1")
    .exec("bash", ["-c", "exec 3<>/dev/tcp/203.0.113.2/8000 && cat <&3"]);
  expect(stdout).toContain("192.0.2.77");
});
