// vxlan with DirectRouting where some peers are on the link and others behind a router.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { peerRows, rowsFor, showLogsOfFailures, startTestCluster, storedLeases } from "../support/cluster.ts";
import { expectFullConnectivity, expectMtu, expectTransfer, packetsSent } from "../support/data-path.ts";

let cluster: Cluster;
beforeAll(async () => {
  const netConf = { Network: "10.244.0.0/16", Backend: { Type: "vxlan", DirectRouting: true } };
  cluster = await startTestCluster({ nodes: 4, pods: 1, topology: "routed", netConf });
});
afterAll(async () => {
  await cluster.close();
});
showLogsOfFailures(() => cluster);

test("pods reach pods, nodes and outside; outside sees the node", async () => {
  await expectFullConnectivity(cluster);
});

test("peers on the link have a plain route, the others a vxlan one", async () => {
  const leases = await storedLeases(cluster);
  for (const node of cluster.nodes.values()) {
    const segment = node.address.replace(/\d+$/, "");
    const peers = leases.filter(({ publicIp }) => publicIp !== node.address);
    const near = peers.filter(({ publicIp }) => publicIp.startsWith(segment));
    const far = peers.filter(({ publicIp }) => !publicIp.startsWith(segment));
    expect([near.length, far.length]).toEqual([1, 2]);
    expect(await peerRows(node)).toEqual(rowsFor(far, near));
  }
});

test("100 MB to a peer on the link do not touch the vxlan device", async () => {
  const packets = await packetsSent(cluster.node("n1"), "flannel.1", () =>
    expectTransfer(cluster.pod("n1-p1"), cluster.pod("n3-p1")),
  );
  expect(packets).toBe(0);
});

test("100 MB to a peer behind the router go through it", async () => {
  const packets = await packetsSent(cluster.node("n1"), "flannel.1", () =>
    expectTransfer(cluster.pod("n1-p1"), cluster.pod("n2-p1")),
  );
  expect(packets).toBeGreaterThan(1000);
});

test("the pod MTU leaves room for vxlan, to either", async () => {
  await expectMtu(cluster.pod("n1-p1"), cluster.pod("n3-p1"), 1450);
  await expectMtu(cluster.pod("n1-p1"), cluster.pod("n2-p1"), 1450);
});
