// Many daemons that start at one moment from nothing: one configuration, a subnet for each.
import { afterEach, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { listKeys } from "../../lab/etcd.ts";
import { showLogsOfFailures, startTestCluster, storedLeases, waitForVxlanRows } from "../support/cluster.ts";
import { brokenCells } from "../support/traffic.ts";

let cluster: Cluster;
showLogsOfFailures(() => cluster);
afterEach(() => cluster.close());

/** Starts all daemons at once, each with flags that create the configuration, and waits until all are ready. */
async function startTogether(): Promise<void> {
  const daemons = [...cluster.nodes.values()].map(({ daemon }) => daemon);
  await Promise.all(daemons.map((daemon) => daemon.start({ waitReady: false })));
  await Promise.all(daemons.map((daemon) => daemon.waitReady(60_000)));
}

test("20 daemons with --network and --backend=alloc", async () => {
  cluster = await startTestCluster({
    nodes: 20,
    startDaemons: false,
    backend: "alloc",
    network: "10.50.0.0/16",
  });
  await startTogether();
  const keys = await listKeys(cluster.etcd);
  expect(keys.get(`${cluster.etcd.prefix}/config`)).toBe(
    '{"Network":"10.50.0.0/16","SubnetLen":24,"Backend":{"Type":"alloc"}}',
  );
  const leases = await storedLeases(cluster);
  expect(keys.size).toBe(21);
  expect(new Set(leases.map(({ subnet }) => subnet)).size).toBe(20);
  const nodes = [...cluster.nodes.values()];
  expect(leases.map(({ publicIp }) => publicIp).toSorted()).toEqual(
    nodes.map(({ address }) => address).toSorted(),
  );
  for (const node of nodes) {
    const lease = leases.find(({ publicIp }) => publicIp === node.address);
    expect(node.subnetEnv()).toMatchObject({
      FLANNEL_NETWORK: "10.50.0.0/16",
      FLANNEL_SUBNET: lease?.subnet.replace(".0/", ".1/"),
    });
  }
  const created = nodes.filter(({ daemon }) =>
    daemon.log().includes("created the cluster's network configuration"),
  );
  expect(created).toHaveLength(1);
});

test("as many daemons as there are subnets: each race for the last ones is lost by one and repeated", async () => {
  const netConf = { Network: "10.51.0.0/24", SubnetLen: 27, Backend: { Type: "alloc" } };
  cluster = await startTestCluster({ nodes: 7, startDaemons: false, netConf });
  await startTogether();
  const leases = await storedLeases(cluster);
  expect(
    leases
      .map(({ base }) => base.split(".").at(-1))
      .map(Number)
      .toSorted((a, b) => a - b),
  ).toEqual([32, 64, 96, 128, 160, 192, 224]);
});

test("6 daemons with --network and vxlan: pods on all of them reach each other", async () => {
  cluster = await startTestCluster({ nodes: 6, startDaemons: false });
  await startTogether();
  await waitForVxlanRows(cluster);
  await Promise.all([...cluster.nodes.values()].map((node) => node.addPod()));
  expect(await brokenCells(cluster)).toEqual([]);
});
