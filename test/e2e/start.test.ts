// How a daemon starts, refuses to start, and says what it waits for.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { DAEMON_COMMAND, HEALTH_PORT, httpGet, SUBNET_FILE } from "../../lab/daemon-process.ts";
import type { LabNode } from "../../lab/node.ts";
import { showLogsOfFailures, startTestCluster } from "../support/cluster.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
let node: LabNode;
beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 1, startDaemons: false, netConf: "none" });
  node = cluster.node("n1");
});
afterAll(async () => {
  await cluster.close();
});
showLogsOfFailures(() => cluster);

/** Runs the daemon with exactly these flags to its end. */
async function runToEnd(...flags: readonly string[]): Promise<{ exitCode: number; said: string }> {
  const [program = "", ...first] = DAEMON_COMMAND;
  const args = [...first, ...cluster.etcd.daemonFlags, ...flags];
  const { exitCode, stdout, stderr } = await node.exec(program, args, { allowFailure: true });
  return { exitCode, said: stdout + stderr };
}

async function readyz(): Promise<string> {
  const answer = await httpGet(node.machine, HEALTH_PORT, "/readyz");
  return answer === undefined ? "" : `${answer.status} ${answer.body}`;
}

test("an unknown flag: exit 2, the nearest known one", async () => {
  const { exitCode, said } = await runToEnd("--ip-mask");
  expect(said).toMatch(/unknown flag --ip-mask.*--ip-masq/);
  expect(exitCode).toBe(2);
});

test("an interface that is not there: exit 1, those that are", async () => {
  await cluster.etcd.ctl(
    "put",
    `${cluster.etcd.prefix}/config`,
    '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}',
  );
  const { exitCode, said } = await runToEnd("--iface=eth7");
  await cluster.etcd.ctl("del", `${cluster.etcd.prefix}/config`);
  expect(said).toMatch(/eth7/);
  expect(exitCode).not.toBe(0);
});

test("without a config it waits and says how to make one; with one it becomes ready; SIGTERM: exit 0, the data path stays", async () => {
  await node.daemon.start({ waitReady: false });
  await waitFor("the reason", async () => (await readyz()).includes("/coreos.com/network/config"));
  expect(await readyz()).toMatch(/^503 /);
  const text = await node.exec(
    DAEMON_COMMAND[0]!,
    [...DAEMON_COMMAND.slice(1), "status", `--subnet-file=${SUBNET_FILE}`],
    { allowFailure: true },
  );
  expect(text).toMatchObject({
    exitCode: 1,
    stdout: expect.stringContaining("/coreos.com/network/config") as string,
  });

  await node.daemon.command(
    "config",
    "set",
    ...cluster.etcd.daemonFlags,
    '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}',
  );
  await node.daemon.waitReady();
  expect(node.subnetEnv()).toMatchObject({
    FLANNEL_NETWORK: "10.244.0.0/16",
    FLANNEL_MTU: "1450",
    FLANNEL_IPMASQ: "true",
  });

  expect(await node.daemon.stop("SIGTERM")).toEqual({ exitCode: 0, signal: undefined });
  expect((await node.exec("ip", ["-br", "link", "show", "flannel.1"])).stdout).toContain("UP");
  expect((await node.exec("iptables-save", [])).stdout).toContain("FLANNEL-POSTRTG");
  expect(node.subnetEnv()).not.toEqual({});
});

test("flags that contradict the cluster's config: exit 2, both values and the way to change it", async () => {
  const { exitCode, said } = await runToEnd("--backend=host-gw", "--network=10.9.0.0/16");
  for (const word of ["host-gw", "vxlan", "10.9.0.0/16", "10.244.0.0/16", "config set"])
    expect(said).toContain(word);
  expect(exitCode).toBe(2);
});

test("a config that is not JSON, or of a backend that there is not: named, and no subnet.env is touched", async () => {
  const before = node.subnetEnv();
  for (const [config, says] of [
    ["{", "JSON"],
    ['{"Network":"10.244.0.0/16","Backend":{"Type":"vxlam"}}', "vxlam"],
  ] as const) {
    await cluster.etcd.ctl("put", `${cluster.etcd.prefix}/config`, config);
    await node.daemon.start({ waitReady: false });
    const told = async (): Promise<boolean> => {
      return (
        node.daemon.log().includes(says) && (!node.daemon.isRunning() || (await readyz()).startsWith("503"))
      );
    };
    await waitFor(`the log to name ${says}`, told);
    await node.daemon.stop();
  }
  expect(node.subnetEnv()).toEqual(before);
});
