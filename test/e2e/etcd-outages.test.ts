// etcd stops answering, restarts, compacts its history and loses its data, under running pods; with each way of access.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { HEALTH_PORT, httpGet } from "../../lab/daemon-process.ts";
import { DAEMON_USER } from "../../lab/etcd.ts";
import type { EtcdOptions } from "../../lab/etcd.ts";
import type { LabNode } from "../../lab/node.ts";
import {
  rowsFor,
  showLogsOfFailures,
  startTestCluster,
  storedLeases,
  waitForVxlanRows,
} from "../support/cluster.ts";
import type { StoredLease } from "../support/cluster.ts";
import { freeze } from "../support/freeze.ts";
import { brokenCells, startPings } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

const ETCD_PORT = 2379;
/** A client whose server is silent notices by gRPC's keepalive, after 15 seconds at most. */
const NOTICE_TIMEOUT_MS = 40_000;

interface Access extends EtcdOptions {
  readonly name: string;
  /** How long it is away when it is killed. */
  readonly outageMs?: number;
  /** What else befalls it; that does not depend on the way of access. */
  readonly also?: "network" | "data";
}

const ACCESS: readonly Access[] = [
  { name: "plain", also: "network" },
  { name: "user and password", auth: true },
  { name: "client certificates", tls: true },
  // All intervals between attempts have grown to their largest after a minute.
  { name: "client certificates, user and password", tls: true, auth: true, outageMs: 60_000, also: "data" },
];

describe.each(ACCESS)("$name", ({ outageMs = 0, also, ...etcd }) => {
  let cluster: Cluster;
  showLogsOfFailures(() => cluster);
  beforeAll(async () => {
    cluster = await startTestCluster({ etcd, nodes: 2, pods: 1 });
  });
  afterAll(() => cluster.close());
  /** Declares a test only where it is wanted: one that is skipped everywhere else says nothing. */
  const testOf =
    (what: Access["also"]) =>
    (name: string, run: () => Promise<void>): void => {
      if (also === what) test(name, run);
    };

  test("killed, and back: nothing is lost, it is said, and who joined meanwhile is seen", async () => {
    const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
    const before = await storedLeases(cluster);
    const pings = await startPings(cluster.pod("n1-p1"), cluster.pod("n2-p1").ip);
    await cluster.etcd.stop("SIGKILL");
    const stoppedAt = Date.now();
    await waitForProblem(n1, /the watch of the leases is interrupted/);
    await n2.daemon.stop("SIGKILL");
    await n2.daemon.start({ waitReady: false });
    const joining = await cluster.addNode({ startDaemon: false });
    await joining.daemon.start({ waitReady: false });
    for (const node of [n2, joining]) {
      await waitFor(`${node.name} to say what it waits for`, async () => {
        const answer = await readyz(node);
        return answer?.status === 503 && answer.body.includes("connection refused; is etcd running there");
      });
    }
    await waitFor("the outage to be long enough", () => Date.now() - stoppedAt >= outageMs, {
      timeoutMs: outageMs + 1,
    });
    await pings.waitForMore();
    await cluster.etcd.start();
    await Promise.all([n2.daemon.waitReady(), joining.daemon.waitReady()]);
    await waitForVxlanRows(cluster);
    await waitForNoProblem(n1);
    expect(await pings.stop()).toEqual([]);
    expect(await storedLeases(cluster)).toEqual(expect.arrayContaining([...before]));
    await joining.addPod();
    expect(await brokenCells(cluster)).toEqual([]);
    await cluster.removeNode(joining.name);
  });

  testOf("network")("silent, though it holds its connections: the same", async () => {
    const n1 = cluster.node("n1");
    const pings = await startPings(cluster.pod("n1-p1"), cluster.pod("n2-p1").ip);
    const thaw = freeze(cluster.etcd.pid()!);
    try {
      await waitForProblem(n1, /the watch of the leases is interrupted/);
    } finally {
      thaw();
    }
    await waitForNoProblem(n1);
    const lease = await putLease(cluster, 201);
    await waitForRow(n1, lease);
    expect(await pings.stop()).toEqual([]);
    await deleteLease(cluster, lease);
  });

  testOf("network")("compacted while a daemon is cut off: it reads all leases anew", async () => {
    const n1 = cluster.node("n1");
    const leaves = await putLease(cluster, 202);
    await waitForRow(n1, leaves);
    const pings = await startPings(cluster.pod("n1-p1"), cluster.pod("n2-p1").ip);
    await cutOff(n1, "-I");
    await waitForProblem(n1, /the watch of the leases is interrupted/);
    await deleteLease(cluster, leaves);
    const joins = await putLease(cluster, 203);
    await cluster.etcd.compact();
    await cutOff(n1, "-D");
    await waitForVxlanRows(cluster, NOTICE_TIMEOUT_MS);
    expect(n1.daemon.log()).toContain("reading all leases anew");
    await waitForNoProblem(n1);
    expect(await pings.stop()).toEqual([]);
    await deleteLease(cluster, joins);
  });

  testOf("data")("restarted and compacted while a daemon sleeps", async () => {
    const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
    const leaves = await putLease(cluster, 204);
    await waitForRow(n1, leaves);
    const pings = await startPings(cluster.pod("n1-p1"), cluster.pod("n2-p1").ip);
    const thaw = freeze(n1.daemon.pid()!);
    await deleteLease(cluster, leaves);
    const joins = await putLease(cluster, 205);
    await cluster.etcd.compact();
    await cluster.etcd.stop("SIGKILL");
    await cluster.etcd.start();
    thaw();
    await waitForVxlanRows(cluster, NOTICE_TIMEOUT_MS);
    await waitForNoProblem(n1);
    await waitForNoProblem(n2);
    expect(await pings.stop()).toEqual([]);
    await deleteLease(cluster, joins);
  });

  testOf("data")("comes back empty: every node puts back its own lease", async () => {
    const addresses = new Set([...cluster.nodes.values()].map(({ address }) => address));
    const ofNodes = async (): Promise<readonly StoredLease[]> =>
      (await storedLeases(cluster)).filter(({ publicIp }) => addresses.has(publicIp));
    const before = await ofNodes();
    const pings = await startPings(cluster.pod("n1-p1"), cluster.pod("n2-p1").ip);
    await cluster.etcd.wipe();
    await waitFor("the leases to be back", async () => isDeepStrictEqual(await ofNodes(), before), {
      timeoutMs: NOTICE_TIMEOUT_MS,
    });
    for (const node of cluster.nodes.values()) await waitForNoProblem(node);
    expect(await pings.stop()).toEqual([]);
    await waitForVxlanRows(cluster);
    for (const node of cluster.nodes.values()) {
      expect(node.daemon.log()).toContain("took the same subnet again");
    }
    // The next daemon with --network creates the configuration anew.
    await cluster.addNode({ pods: 1 });
    await waitForVxlanRows(cluster);
    expect(await brokenCells(cluster)).toEqual([]);
  });

  test("no log and no process list has the password", () => {
    for (const file of readdirSync(cluster.directory)) {
      expect(readFileSync(path.join(cluster.directory, file), "utf8")).not.toContain(DAEMON_USER.password);
    }
    for (const node of cluster.nodes.values()) {
      expect(readFileSync(`/proc/${node.daemon.pid()}/cmdline`, "utf8")).not.toContain(DAEMON_USER.password);
    }
  });
});

async function readyz(node: LabNode): ReturnType<typeof httpGet> {
  return await httpGet(node.machine, HEALTH_PORT, "/readyz");
}

/** Waits until status, log and /readyz tell of it, and the node is ready all the same. */
async function waitForProblem(node: LabNode, problem: RegExp): Promise<void> {
  await waitFor(
    `${node.name} to notice`,
    async () => problem.test((await node.daemon.status()).store.problem ?? ""),
    {
      timeoutMs: NOTICE_TIMEOUT_MS,
    },
  );
  expect(await node.daemon.status()).toMatchObject({ ready: true, store: { connected: false } });
  expect(node.daemon.log()).toMatch(problem);
  const answer = await readyz(node);
  expect(answer).toMatchObject({ status: 200, body: expect.stringMatching(/^flanneld is ready\n/) });
  expect(answer?.body).toMatch(problem);
}

/** An etcd that has lost its data is not believed for up to 20 seconds. */
async function waitForNoProblem(node: LabNode): Promise<void> {
  await waitFor(
    `${node.name} to be content`,
    async () => {
      const { store } = await node.daemon.status();
      return store.connected && store.problem === undefined;
    },
    { timeoutMs: NOTICE_TIMEOUT_MS },
  );
}

/** A lease as Go flannel writes it, of a node that is nowhere. */
async function putLease(cluster: Cluster, index: number): Promise<StoredLease> {
  const [base, publicIp, mac] = [
    `10.244.${index}.0`,
    `192.0.2.${index}`,
    `0a:1b:2c:3d:4e:${index.toString(16)}`,
  ];
  const key = `${cluster.etcd.prefix}/subnets/${base}-24`;
  const value = `{"PublicIP":"${publicIp}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${mac}"}}`;
  await cluster.etcd.ctl("put", key, value);
  return { key, subnet: `${base}/24`, base, publicIp, mac };
}

async function deleteLease(cluster: Cluster, lease: StoredLease): Promise<void> {
  await cluster.etcd.ctl("del", lease.key);
}

/** Waits until the node leads to this peer, whatever else it has. */
async function waitForRow(node: LabNode, lease: StoredLease): Promise<void> {
  const [row] = rowsFor([lease]).routes;
  await waitFor(
    `${node.name} to have a route to ${lease.subnet}`,
    async () => {
      const { stdout } = await node.exec("ip", ["route", "show", lease.subnet]);
      return stdout.trim() === row;
    },
    { timeoutMs: NOTICE_TIMEOUT_MS },
  );
}

/** Drops all packets between a node and etcd. */
async function cutOff(node: LabNode, verb: "-I" | "-D"): Promise<void> {
  const port = String(ETCD_PORT);
  await node.exec("iptables", [verb, "OUTPUT", "-p", "tcp", "--dport", port, "-j", "DROP"]);
  await node.exec("iptables", [verb, "INPUT", "-p", "tcp", "--sport", port, "-j", "DROP"]);
}
