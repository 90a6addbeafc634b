// containerd's own `ctr run --cni` runs the CNI executable: addresses, traffic, deletion, and a second DEL.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { DAEMON_COMMAND } from "../../lab/daemon-process.ts";
import type { LabNode } from "../../lab/node.ts";
import { startTestCluster } from "../support/cluster.ts";
import { startContainerd } from "../support/containerd.ts";
import type { Containerd } from "../support/containerd.ts";
import { ping } from "../support/traffic.ts";

const STATE = "/var/lib/cni/flannel";
const ADDRESSES = "/var/lib/cni/networks/cbr0";

let cluster: Cluster;
let node: LabNode;
let containerd: Containerd;
beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 2, pods: 0 });
  node = cluster.node("n1");
  await cluster.node("n2").addPod();
  // As on any node: the standard plugins from the distribution, ours by its own command.
  await node.exec("sh", ["-ec", "mkdir -p /opt/cni/bin && cp /usr/lib/cni/* /opt/cni/bin"]);
  const [program = "", ...first] = DAEMON_COMMAND;
  await node.exec(program, [...first, "install-cni", "/opt/cni/bin"]);
  containerd = await startContainerd(node);
});
afterAll(async () => {
  await containerd?.stop();
  await cluster?.close();
});

async function addressOf(id: string): Promise<string> {
  const { stdout } = await containerd.exec(id, "ip", "-4", "-o", "addr", "show", "dev", "eth0");
  return /inet ([\d.]+)\/24/.exec(stdout)?.[1] ?? stdout;
}

/** Files below a directory, without locks. */
function filesIn(directory: string): string[] {
  const path = node.machine.hostPath(directory);
  if (!existsSync(path)) return [];
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files
    .map(({ name }) => name)
    .filter((name) => !/lock|^last_/.test(name))
    .toSorted();
}

/** Host ends of the pods' veth pairs. */
async function vethCount(): Promise<number> {
  const { stdout } = await node.exec("ip", ["-o", "link", "show", "master", "cni0"]);
  return stdout.split("\n").filter((line) => line !== "").length;
}

test("containers get addresses of the node's subnet and reach a pod on another node and each other", async () => {
  const base = node.subnetEnv()["FLANNEL_SUBNET"]?.replace(/\.1\/24$/, "") ?? "";
  const pod = cluster.pod("n2-p1");
  await containerd.run("web");
  await containerd.run("db");
  const [web, db] = [await addressOf("web"), await addressOf("db")];
  expect([web, db]).toEqual([`${base}.2`, `${base}.3`]);
  expect(filesIn(ADDRESSES)).toEqual([web, db].toSorted());
  expect(filesIn(STATE)).toEqual(expect.arrayContaining(["default-db", "default-web"]));
  for (const target of [pod.ip, db, `${base}.1`]) {
    expect((await containerd.exec("web", "ping", "-c", "1", "-W", "2", target)).stdout).toContain(
      " 0% packet loss",
    );
  }
  expect(await ping(pod, web)).toBe("ok");
  expect(await ping(pod, db)).toBe("ok");
  const { stdout: link } = await containerd.exec("web", "ip", "link", "show", "dev", "eth0");
  expect(link).toContain("mtu 1450");
  const { stdout: routes } = await containerd.exec("web", "ip", "route");
  expect(routes).toContain(`default via ${base}.1 dev eth0`);
  expect(routes).toContain(`10.244.0.0/16 via ${base}.1 dev eth0`);
});

test("deletion frees the address and leaves no state; the other container goes on", async () => {
  const config = readFileSync(node.machine.hostPath(`${STATE}/default-web`), "utf8");
  expect(JSON.parse(config)).toMatchObject({ name: "cbr0", type: "bridge", ipam: { type: "host-local" } });
  const db = await addressOf("db");
  await containerd.remove("web");
  expect(filesIn(ADDRESSES)).toEqual([db]);
  expect(filesIn(STATE).filter((name) => !name.includes("db"))).toEqual([]);
  expect(await vethCount()).toBe(1);
  expect(await ping(cluster.pod("n2-p1"), db)).toBe("ok");

  // The same DEL once and twice more, as a kubelet's sandbox removal does it: no namespace, no result.
  const attachment = { containerId: "default-web", netns: "", ifName: "eth0" };
  await node.cni.del(node.conflist(), attachment);
  await node.cni.del(node.conflist(), attachment);
  expect(filesIn(ADDRESSES)).toEqual([db]);
});

test("a container that ends by itself leaves nothing", async () => {
  const before = { addresses: filesIn(ADDRESSES), state: filesIn(STATE), veths: await vethCount() };
  const { stdout } = await containerd.runToEnd("job", "ping", "-c", "2", "-W", "2", cluster.pod("n2-p1").ip);
  expect(stdout).toContain(" 0% packet loss");
  expect({ addresses: filesIn(ADDRESSES), state: filesIn(STATE), veths: await vethCount() }).toEqual(before);
});

test("a stopped daemon does not matter to containers; without subnet.env ctr shows why", async () => {
  await node.daemon.stop();
  await containerd.run("late");
  expect(await ping(cluster.pod("n2-p1"), await addressOf("late"))).toBe("ok");
  await containerd.remove("late");
  const file = "/run/flannel/subnet.env";
  await node.exec("mv", [file, `${file}.away`]);
  const { exitCode, stderr } = await containerd.runToEnd("early", "/bin/sleep", "1");
  expect(stderr).toContain("/run/flannel/subnet.env");
  expect(exitCode).not.toBe(0);
  await node.exec("mv", [`${file}.away`, file]);
});
