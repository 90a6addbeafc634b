// The real daemon with --kube-subnet-mgr in a machine of its own, against the fake API server.
import { afterEach, beforeEach, expect, test } from "vitest";
import { startFakeKube } from "../support/fake-kube/fake-kube.ts";
import type { FakeKube } from "../support/fake-kube/fake-kube.ts";
import { bareNode, nodeObject } from "../support/kube-nodes.ts";
import type { NodeOptions } from "../support/kube-nodes.ts";
import { startKubeNode } from "../support/kube-node.ts";
import type { KubeNode } from "../support/kube-node.ts";
import { waitFor } from "../support/wait.ts";

const NET_CONF = { Network: "10.244.0.0/16", Backend: { Type: "vxlan" } };
const PREFIX = "flannel.alpha.coreos.com";

let fake: FakeKube;
let node: KubeNode;
beforeEach(async () => {
  fake = await startFakeKube();
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") process.stderr.write(node.daemon.log());
  await node.close();
  await fake.close();
});

function annotations(name: string): Readonly<Record<string, string>> {
  return fake.get("nodes", name)?.metadata.annotations ?? {};
}

function putPeer(index: number, annotations: NodeOptions["annotations"] = {}): void {
  fake.put("nodes", nodeObject(`peer${index}`, { index, annotations }));
}

async function macOf(device: string): Promise<string | undefined> {
  return /link\/ether (\S+)/.exec(await node.run(`ip link show ${device}`))?.[1];
}

async function routes(): Promise<readonly string[]> {
  const text = await node.run("ip -4 route show dev flannel.1");
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .toSorted();
}

async function forwarding(): Promise<readonly string[]> {
  const text = await node.run("bridge fdb show dev flannel.1");
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line.includes("dst"))
    .toSorted();
}

test("publishes flannel's annotations, becomes ready and programs its peers", async () => {
  putPeer(1);
  putPeer(2);
  fake.put("nodes", bareNode("stranger", "10.244.9.0/24"));
  fake.put("nodes", bareNode("n7", "10.244.7.0/24"));
  node = await startKubeNode(fake, { nodeName: "n7", netConf: NET_CONF });
  await node.daemon.start();
  const mac = await macOf("flannel.1");
  expect(annotations("n7")).toEqual({
    [`${PREFIX}/kube-subnet-manager`]: "true",
    [`${PREFIX}/backend-type`]: "vxlan",
    [`${PREFIX}/backend-data`]: `{"VNI":1,"VtepMAC":"${mac}"}`,
    [`${PREFIX}/public-ip`]: "192.0.2.11",
  });
  expect(await routes()).toEqual([
    "10.244.1.0/24 via 10.244.1.0 proto 250 onlink",
    "10.244.2.0/24 via 10.244.2.0 proto 250 onlink",
  ]);
  expect(await forwarding()).toEqual([
    "0a:00:00:00:00:01 dst 192.0.2.101 self permanent",
    "0a:00:00:00:00:02 dst 192.0.2.102 self permanent",
  ]);
  expect(await node.run("cat /run/flannel/subnet.env")).toContain("FLANNEL_SUBNET=10.244.7.1/24");
  await waitFor("the condition", () => JSON.stringify(fake.get("nodes", "n7")).includes("FlannelIsUp"));
  expect((await node.daemon.status()).store).toEqual({ kind: "kubernetes", connected: true });
});

test("waits for a podCIDR and says so; then follows a change of it", async () => {
  fake.put("nodes", bareNode("n7"));
  putPeer(1);
  node = await startKubeNode(fake, { nodeName: "n7", netConf: NET_CONF });
  await node.daemon.start({ waitReady: false });
  await waitFor("the reason", async () => (await node.readyz()).includes("pod cidr not assigned"));
  await waitFor("the Event", () => fake.list("events").some(({ reason }) => reason === "PodCIDRNotAssigned"));
  expect(node.daemon.isRunning()).toBe(true);

  fake.put("nodes", bareNode("n7", "10.244.7.0/24"));
  await node.daemon.waitReady();
  expect(await node.run("cat /run/flannel/subnet.env")).toContain("FLANNEL_SUBNET=10.244.7.1/24");
  const mac = await macOf("flannel.1");

  const present = fake.get("nodes", "n7");
  fake.put("nodes", { ...present!, spec: { podCIDR: "10.244.8.0/24", podCIDRs: ["10.244.8.0/24"] } });
  await waitFor("the files", async () =>
    (await node.run("cat /run/flannel/subnet.env")).includes("FLANNEL_SUBNET=10.244.8.1/24"),
  );
  await node.daemon.waitReady();
  expect(await node.run("ip -4 -o addr show dev flannel.1")).toMatch(/ 10\.244\.8\.0\/32 /);
  expect(await node.run("ip -4 -o addr show dev flannel.1")).not.toContain("10.244.7.0");
  expect(await node.run("iptables-save -t nat")).toContain("-s 10.244.0.0/16 -d 10.244.8.0/24");
  expect(await macOf("flannel.1")).toBe(mac);
  expect(await routes()).toEqual(["10.244.1.0/24 via 10.244.1.0 proto 250 onlink"]);
});

test("follows peers, puts back our annotations, and stands while the API is away", async () => {
  fake.put("nodes", bareNode("n7", "10.244.7.0/24"));
  putPeer(1);
  putPeer(2);
  putPeer(3);
  node = await startKubeNode(fake, { nodeName: "n7", netConf: NET_CONF });
  await node.daemon.start();
  const before = await routes();
  expect(before).toHaveLength(3);

  // A peer moves to another machine, one is reinstalled, one goes.
  putPeer(1, { "public-ip": "192.0.2.201" });
  putPeer(2, { "backend-data": '{"VNI":1,"VtepMAC":"0a:00:00:00:00:99"}' });
  fake.delete("nodes", "peer3");
  await waitFor(
    "the peers",
    async () =>
      JSON.stringify(await forwarding()) ===
      JSON.stringify([
        "0a:00:00:00:00:01 dst 192.0.2.201 self permanent",
        "0a:00:00:00:00:99 dst 192.0.2.102 self permanent",
      ]),
  );
  expect(await routes()).toEqual(before.slice(0, 2));

  const ours = annotations("n7");
  fake.put("nodes", { ...fake.get("nodes", "n7")!, metadata: { name: "n7", annotations: {} } });
  await waitFor("our annotations", () =>
    Object.entries(ours).every(([name, value]) => annotations("n7")[name] === value),
  );

  await fake.faults.down();
  await waitFor("the problem", async () => (await node.daemon.status()).store.problem !== undefined);
  expect(await node.readyz()).toMatch(/^flanneld is ready\n(list|watch) nodes: /);
  putPeer(4);
  expect(await routes()).toEqual(before.slice(0, 2));
  // The data path is still kept as it should be.
  await node.run("ip route del 10.244.1.0/24");
  await waitFor("the route", async () => (await routes()).length === 2);
  // A restart without the API leaves all of it as it is.
  await node.daemon.stop();
  await node.daemon.start({ waitReady: false });
  await waitFor("the reason", async () => (await node.readyz()).includes("list nodes"));
  expect(await routes()).toEqual(before.slice(0, 2));
  await fake.faults.up();
  await node.daemon.waitReady();
  await waitFor("the new peer", async () => (await routes()).length === 3);
  expect(annotations("n7")).toEqual(ours);
});

test("an administrator's addresses: published in place of ours, and followed when they change", async () => {
  fake.put("nodes", bareNode("n7", "10.244.7.0/24"));
  node = await startKubeNode(fake, {
    nodeName: "n7",
    netConf: NET_CONF,
    addresses: ["192.0.2.11/24", "198.51.100.11/24"],
  });
  await node.daemon.start();
  const annotate = (suffix: string, value: string): void => {
    const present = fake.get("nodes", "n7")!;
    const all = { ...present.metadata.annotations, [`${PREFIX}/${suffix}`]: value };
    fake.put("nodes", { ...present, metadata: { ...present.metadata, annotations: all } });
  };
  annotate("node-public-ip", "198.51.100.11");
  await waitFor("the address", () => annotations("n7")[`${PREFIX}/public-ip`] === "198.51.100.11");
  annotate("public-ip-overwrite", "203.0.113.5");
  await waitFor("the address", () => annotations("n7")[`${PREFIX}/public-ip`] === "203.0.113.5");
  await node.daemon.waitReady();
});

test("a network with IPv6 alone", async () => {
  fake.put("nodes", bareNode("n7", "fd00:10:244:7::/64"));
  fake.put(
    "nodes",
    nodeObject("peer1", {
      index: 1,
      dual: true,
      annotations: { "backend-data": undefined, "public-ip": undefined },
      podCidrs: ["fd00:10:244:1::/64"],
    }),
  );
  node = await startKubeNode(fake, {
    nodeName: "n7",
    netConf: {
      EnableIPv4: false,
      EnableIPv6: true,
      IPv6Network: "fd00:10:244::/56",
      Backend: { Type: "vxlan" },
    },
    addresses: ["2001:db8::11/64"],
  });
  await node.daemon.start();
  expect(annotations("n7")).toEqual({
    [`${PREFIX}/kube-subnet-manager`]: "true",
    [`${PREFIX}/backend-type`]: "vxlan",
    [`${PREFIX}/backend-v6-data`]: `{"VNI":1,"VtepMAC":"${await macOf("flannel-v6.1")}"}`,
    [`${PREFIX}/public-ipv6`]: "2001:db8::11",
  });
  expect(await node.run("ip -6 route show dev flannel-v6.1")).toContain(
    "fd00:10:244:1::/64 via fd00:10:244:1::",
  );
  const env = await node.run("cat /run/flannel/subnet.env");
  expect(env).toContain("FLANNEL_IPV6_SUBNET=fd00:10:244:7::1/64");
  expect(env).not.toContain("FLANNEL_SUBNET");
  expect((await node.daemon.status()).peers).toMatchObject([
    { nodeName: "peer1", subnet: "fd00:10:244:1::/64", publicIp: "2001:db8::1", how: "vxlan" },
  ]);
});

test("what only this node knows is told on its Node: an off-link gateway, a rule that others keep removing", async () => {
  fake.put("nodes", bareNode("n7", "10.244.7.0/24"));
  putPeer(1, { "backend-type": "host-gw", "backend-data": "null", "public-ip": "198.51.100.1" });
  node = await startKubeNode(fake, {
    nodeName: "n7",
    netConf: { Network: "10.244.0.0/16", Backend: { Type: "host-gw" } },
    flags: ["--iptables-resync=1"],
  });
  await node.daemon.start();
  const told = (reason: string): string | undefined =>
    fake.list("events").find((event) => event["reason"] === reason)?.["message"] as string | undefined;
  await waitFor("the Event", () => told("PeerUnreachable"));
  expect(told("PeerUnreachable")).toMatch(/node peer1 .*198\.51\.100\.1 is not on the link of eth0.*vxlan/);
  let removed = 0;
  await waitFor(
    "the second Event",
    async () => {
      const rules = await node.run("iptables -t nat -S POSTROUTING");
      if (rules.includes("FLANNEL-POSTRTG") && removed < 3) {
        await node.run("iptables -t nat -F POSTROUTING");
        removed += 1;
      }
      return told("HostStateReverted");
    },
    { timeoutMs: 20_000, intervalMs: 200 },
  );
  expect(told("HostStateReverted")).toMatch(/firewall rows/);
});
