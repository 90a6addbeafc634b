// A cluster in which one node still runs Go flannel; and that node when we take it over, and when Go takes it back.
import { readdirSync, rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import {
  rowsFor,
  showLogsOfFailures,
  startTestCluster,
  storedLeases,
  waitForRows,
} from "../support/cluster.ts";
import { addPeer, joinAsGoNode } from "../support/go-flannel.ts";
import type { GoBackend, GoNode } from "../support/go-flannel.ts";
import { brokenCells, ping, startPings, startTcpStream } from "../support/traffic.ts";

const CNI_STATE = "/var/lib/cni/flannel";

describe.each<{ readonly backend: GoBackend; readonly payload: number }>([
  { backend: "vxlan", payload: 1422 },
  { backend: "host-gw", payload: 1472 },
])("$backend", ({ backend, payload }) => {
  let cluster: Cluster;
  let go: GoNode;
  showLogsOfFailures(() => cluster);
  beforeAll(async () => {
    cluster = await startTestCluster({ nodes: 1, pods: 1, backend });
    go = await joinAsGoNode(cluster, await cluster.addNode({ startDaemon: false }), backend);
  });
  afterAll(() => cluster.close());

  const peersOf = async (address: string) => {
    const peers = (await storedLeases(cluster)).filter(({ publicIp }) => publicIp !== address);
    return backend === "vxlan" ? rowsFor(peers) : rowsFor([], peers);
  };

  /** A right route on our own device stays as Go wrote it: there it is ours whatever its protocol. */
  const adoptedRows = async (address: string) => {
    const rows = await peersOf(address);
    return backend === "vxlan"
      ? { ...rows, routes: rows.routes.map((route) => route.replace(" proto 250", "")) }
      : rows;
  };

  test("our node and the Go node know each other; their pods talk at the full MTU", async () => {
    const n1 = cluster.node("n1");
    await waitForRows(n1, await peersOf(n1.address));
    await go.followLeases();
    await go.node.addPod();
    const [ours, theirs] = [cluster.pod("n1-p1"), cluster.pod("n2-p1")];
    expect(await ping(ours, theirs.ip, payload)).toBe("ok");
    expect(await ping(theirs, ours.ip, payload)).toBe("ok");
    const { peers, skippedLeases } = await n1.daemon.status();
    expect(peers).toMatchObject([
      { publicIp: go.node.address, subnet: `${go.base}/24`, backendType: backend },
    ]);
    expect(peers[0]).not.toHaveProperty("problem");
    expect(skippedLeases).toEqual([]);
    // Its lease is its own: nobody but the Go node writes it.
    expect((await cluster.etcd.ctl("get", "--print-value-only", go.key)).trim()).toBe(go.value);
  });

  test("take-over of the Go node under traffic: subnet, MAC, device and rules are adopted, nothing is lost", async () => {
    const { node } = go;
    const stale = {
      base: "10.244.77.0",
      subnet: "10.244.77.0/24",
      publicIp: "192.0.2.77",
      mac: "0a:00:00:00:00:77",
    };
    if (backend === "vxlan") await addPeer(node, backend, stale);
    // Go's plugin has state files and nothing else.
    for (const name of readdirSync(node.machine.hostPath(CNI_STATE))) {
      if (name.startsWith(".")) rmSync(node.machine.hostPath(`${CNI_STATE}/${name}`), { recursive: true });
    }
    const device = async (): Promise<string> =>
      (await node.exec("ip", ["-o", "link", "show", "type", "vxlan"])).stdout.split(" state ")[0] ?? "";
    const rules = async (): Promise<string> => {
      const { stdout } = await node.exec("sh", ["-c", "iptables -t nat -S; iptables -S"]);
      return stdout
        .split("\n")
        .filter((line) => /flanneld|FLANNEL/.test(line))
        .toSorted()
        .join("\n");
    };
    const before = { device: await device(), rules: await rules(), env: node.subnetEnv() };
    const there = await startPings(cluster.pod("n1-p1"), cluster.pod("n2-p1").ip);
    const back = await startPings(cluster.pod("n2-p1"), cluster.pod("n1-p1").ip);
    const stream = await startTcpStream(cluster.pod("n1-p1"), cluster.pod("n2-p1"), { pauseMs: 1 });

    await node.daemon.start();

    await waitForRows(node, await adoptedRows(node.address));
    expect(await there.stop()).toEqual([]);
    expect(await back.stop()).toEqual([]);
    const { sent, received } = await stream.finish();
    expect(received).toMatchObject({ bytes: sent.bytes, sha256: sent.sha256 });
    expect({ device: await device(), rules: await rules(), env: node.subnetEnv() }).toEqual(before);
    expect((await cluster.etcd.ctl("get", "--print-value-only", go.key)).trim()).toBe(go.value);
    expect(node.daemon.log()).toContain("found the lease of this public IP");

    // The pod that Go's plugin made is deleted by ours.
    await node.removePod("n2-p1");
    expect(readdirSync(node.machine.hostPath(CNI_STATE)).filter((name) => !name.startsWith("."))).toEqual([]);
    await node.addPod();
    expect(await brokenCells(cluster)).toEqual([]);
  });

  test("Go takes the node back: what we leave is what it would have made", async () => {
    const { node } = go;
    const pings = await startPings(cluster.pod("n1-p1"), [...node.pods.values()][0]!.ip);
    await node.daemon.stop();
    await cluster.etcd.ctl("put", go.key, go.value);
    await go.followLeases();
    expect(await pings.stop()).toEqual([]);
    expect(await brokenCells(cluster)).toEqual([]);
    // And is ours once more, over the rows that Go has written meanwhile.
    await node.daemon.start();
    await waitForRows(node, await adoptedRows(node.address));
    expect(await brokenCells(cluster)).toEqual([]);
  });
});
