// `cleanup` removes everything of ours and nothing else, and not under a running daemon.
import { existsSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { CONFLIST_FILE, DAEMON_COMMAND, SUBNET_FILE } from "../../lab/daemon-process.ts";
import type { LabNode } from "../../lab/node.ts";
import { hostDump, showLogsOfFailures, startTestCluster } from "../support/cluster.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
showLogsOfFailures(() => cluster);
afterEach(async () => {
  await cluster.close();
});

/** What an administrator and other programs have on the host, some of it much like ours. */
const FOREIGN = `
  ip link add vxlan9 type vxlan id 9 dev eth0 dstport 4789 && ip link set vxlan9 up
  ip route add 10.244.200.0/24 via 192.0.2.1 proto static
  ip route add 10.77.0.0/16 via 192.0.2.1 proto 80
  ip route add 10.78.0.0/16 via 192.0.2.1 table 100
  ip neigh add 192.0.2.200 lladdr 02:00:00:00:00:c8 dev eth0 nud permanent
  bridge fdb add 02:00:00:00:00:09 dev vxlan9 dst 192.0.2.9
  iptables -t nat -A POSTROUTING -s 10.99.0.0/16 -j MASQUERADE
  iptables -N KUBE-FORWARD && iptables -A FORWARD -j KUBE-FORWARD
  iptables-legacy -A INPUT -i lo -j ACCEPT
`;

async function startNode(backend: string): Promise<{ node: LabNode; before: string }> {
  cluster = await startTestCluster({
    nodes: 2,
    startDaemons: false,
    backend,
    daemonFlags: ["--ip-blackhole-route"],
  });
  const node = cluster.node("n1");
  await node.exec("sh", ["-ec", FOREIGN]);
  const before = await hostDump(node);
  await Promise.all([...cluster.nodes.values()].map((each) => each.daemon.start()));
  await waitForPeer(node);
  return { node, before };
}

async function waitForPeer(node: LabNode): Promise<void> {
  // The last of a peer's rows; our own blackhole route has the protocol, too.
  await waitFor("the route to the peer", async () =>
    / via \S+ dev \S+ proto 250/.test((await node.exec("ip", ["route"])).stdout),
  );
}

async function cleanup(node: LabNode): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const [program = "", ...first] = DAEMON_COMMAND;
  const flags = [`--subnet-file=${SUBNET_FILE}`, `--cni-conf-file=${CONFLIST_FILE}`];
  return node.exec(program, [...first, "cleanup", ...flags], { allowFailure: true });
}

describe.each(["vxlan", "host-gw"])("%s", (backend) => {
  test("after cleanup the host is as it was before the first start", async () => {
    const { node, before } = await startNode(backend);
    const running = await hostDump(node);
    expect(running).not.toBe(before);

    const refused = await cleanup(node);
    expect(refused.stderr).toMatch(
      new RegExp(`a daemon runs \\(PID \\d+, /run/flannel/flanneld.sock\\).*stop it first`),
    );
    expect(refused.exitCode).toBe(1);
    expect(await hostDump(node)).toBe(running);

    await node.daemon.stop("SIGKILL");
    const done = await cleanup(node);
    expect(done).toMatchObject({ exitCode: 0, stderr: "" });
    expect(done.stdout).toContain(`removed ${SUBNET_FILE}`);
    const strip = (dump: string): string => dump.replaceAll(/^\/run\/flannel$\n/gm, "");
    expect(strip(await hostDump(node))).toBe(strip(before));

    const again = await cleanup(node);
    expect(again).toMatchObject({ exitCode: 0, stderr: "" });
    expect(again.stdout).not.toContain("removed");

    // Nothing is missing for a fresh start.
    await node.daemon.start();
    await waitForPeer(node);
    expect(await hostDump(node)).toBe(running);
  });
});

test("pods, their bridge and their addresses stay, and work again after the next start", async () => {
  const { node } = await startNode("vxlan");
  const [here, there] = [await node.addPod(), await cluster.node("n2").addPod()];
  await node.daemon.stop();
  expect(await cleanup(node)).toMatchObject({ exitCode: 0 });
  expect((await node.exec("ip", ["-br", "link"])).stdout).toMatch(/cni0[\s\S]*veth/);
  expect(existsSync(node.machine.hostPath("/var/lib/cni/networks"))).toBe(true);
  await node.daemon.start();
  const { exitCode } = await here.exec("ping", ["-c1", "-W5", there.ip], { allowFailure: true });
  expect(exitCode).toBe(0);
});
