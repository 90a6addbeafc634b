// Two daemons on one host, with different networks: each reaches its peers, and neither touches what is the other's.
import { openSync, closeSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { DAEMON_COMMAND } from "../../lab/daemon-process.ts";
import type { MachineProcess } from "../../lab/machine.ts";
import type { LabNode } from "../../lab/node.ts";
import { hostDump, peerRows, showLogsOfFailures, startTestCluster, watchKernel } from "../support/cluster.ts";
import { expectFullConnectivity } from "../support/data-path.ts";
import { startPings } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

let cluster: Cluster;
let nodes: readonly LabNode[];
const second = new Map<string, MachineProcess>();
const SECOND_FILE = "/run/flannel/blue.env";

beforeAll(async () => {
  cluster = await startTestCluster({
    nodes: 2,
    pods: 1,
    backend: "vxlan",
    daemonFlags: ["--iptables-resync=1"],
  });
  nodes = [...cluster.nodes.values()];
  const config = JSON.stringify({
    Network: "10.99.0.0/16",
    Backend: { Type: "vxlan", VNI: 2, DirectRouting: false },
  });
  await cluster.etcd.ctl("put", "/blue/config", config);
  for (const node of nodes) await startSecond(node);
});
afterAll(async () => {
  await cluster.close();
});
showLogsOfFailures(() => cluster);

async function startSecond(node: LabNode): Promise<void> {
  const [program = "", ...first] = DAEMON_COMMAND;
  const flags = [
    `--etcd-endpoints=${cluster.etcd.endpoints}`,
    "--etcd-prefix=/blue",
    `--subnet-file=${SECOND_FILE}`,
    "--iface=eth0",
    "--ip-masq",
    "--iptables-resync=1",
  ];
  const log = openSync(secondLog(node), "a");
  second.set(node.name, await node.spawn(program, [...first, ...flags], { stdio: ["ignore", log, log] }));
  closeSync(log);
  await waitFor("the second daemon to be ready", async () => (await secondStatus(node)).ready);
}

function secondLog(node: LabNode): string {
  return path.join(cluster.directory, `${node.name}-blue.log`);
}

interface Status {
  readonly ready: boolean;
  readonly repairsTotal: number;
}

async function secondStatus(node: LabNode): Promise<Status> {
  const [program = "", ...first] = DAEMON_COMMAND;
  const { stdout } = await node.exec(
    program,
    [...first, "status", "--json", `--subnet-file=${SECOND_FILE}`],
    { allowFailure: true },
  );
  return JSON.parse(stdout) as Status;
}

/** The base address of a node's second subnet, which its own flannel.2 carries. */
function secondAddress(node: LabNode): string {
  const env = readFileSync(node.machine.hostPath(SECOND_FILE), "utf8");
  return /FLANNEL_SUBNET=([\d.]+)\.1\/24/.exec(env)?.[1] + ".0";
}

test("both networks carry packets", async () => {
  await expectFullConnectivity(cluster);
  const [n1, n2] = [nodes[0]!, nodes[1]!];
  await waitFor("n2's second subnet to be reached", async () => {
    const args = ["-c1", "-W1", "-I", secondAddress(n1), secondAddress(n2)];
    return (await n1.exec("ping", args, { allowFailure: true })).exitCode === 0;
  });
  for (const node of nodes) {
    expect(await peerRows(node)).toMatchObject({
      routes: { length: 1 },
      neighbors: { length: 1 },
      fdb: { length: 1 },
    });
    expect(await peerRows(node, "10.99.0.0/16", "flannel.2")).toMatchObject({
      routes: { length: 1 },
      fdb: { length: 1 },
    });
  }
});

test("each has chains of its own", async () => {
  const { stdout } = await nodes[0]!.exec("iptables-save", []);
  const chains = [...stdout.matchAll(/^:(FLANNEL\S+)/gm)].map(([, name]) => name);
  expect(chains.toSorted((a = "", b = "") => (a < b ? -1 : 1))).toEqual([
    "FLANNEL-FWD",
    "FLANNEL-POSTRTG",
    "FLANNEL_blue-FWD",
    "FLANNEL_blue-POSTRTG",
  ]);
});

describe("a restart of one writes nothing of the other's and loses no packet", () => {
  const cases = [
    { which: "the first", restart: (node: LabNode) => node.daemon.restart("SIGKILL") },
    {
      which: "the second",
      restart: async (node: LabNode) => {
        await second.get(node.name)?.stop("SIGKILL");
        await startSecond(node);
      },
    },
  ];
  test.each(cases)("$which", async ({ restart }) => {
    const node = nodes[0]!;
    const before = await hostDump(node);
    const kernel = await watchKernel(node, /^(?!.*\bfe80:).*(flannel\.[12]|10\.(244|99)\.[\d.]+\/\d+ via)/);
    const pings = await startPings(cluster.pod("n1-p1"), cluster.pod("n2-p1").ip);
    try {
      await restart(node);
      // Two rounds of both firewall resyncs.
      const passes = async (): Promise<string> => JSON.stringify((await node.daemon.status()).lastPass?.at);
      for (let i = 0; i < 2; i += 1) {
        const last = await passes();
        await waitFor("a resync", async () => (await passes()) !== last);
      }
      expect(await pings.stop()).toEqual([]);
    } finally {
      await Promise.all([kernel.stop(), pings.process.stop("SIGKILL")]);
    }
    expect(kernel.events()).toEqual([]);
    expect(await hostDump(node)).toBe(before);
    expect(await node.daemon.status()).toMatchObject({ repairsTotal: 0 });
    expect(await secondStatus(node)).toMatchObject({ repairsTotal: 0 });
  });
});

test("cleanup of one network, while the other's daemon runs, leaves the other alone", async () => {
  const node = nodes[0]!;
  const [program = "", ...first] = DAEMON_COMMAND;
  const clean = (...flags: readonly string[]) =>
    node.exec(program, [...first, "cleanup", ...flags], { allowFailure: true });
  await second.get(node.name)?.stop();
  // Without a network it would be everything of ours.
  expect(await clean(`--subnet-file=${SECOND_FILE}`)).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("/run/flannel/flanneld.sock") as string,
  });
  expect(await clean("--network=10.99.0.0/16", `--subnet-file=${SECOND_FILE}`)).toMatchObject({
    exitCode: 0,
    stderr: "",
  });
  const dump = await hostDump(node);
  expect(dump).not.toMatch(/flannel\.2|FLANNEL_blue|10\.99\.|blue/);
  expect(dump).toMatch(/flannel\.1[\s\S]*FLANNEL-POSTRTG/);
  await expectFullConnectivity(cluster);
  expect(await node.daemon.status()).toMatchObject({ repairsTotal: 0 });
});
