// A cluster in which no machine has an IPv4 address: leases, pods, masquerade, policy, restart and cleanup, all by IPv6.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { CONFLIST_FILE, DAEMON_COMMAND, SUBNET_FILE } from "../../lab/daemon-process.ts";
import { listKeys } from "../../lab/etcd.ts";
import type { LabNode, LabPod } from "../../lab/node.ts";
import { hostDump, showLogsOfFailures, startTestCluster } from "../support/cluster.ts";
import { expectFullConnectivity, expectMtu, expectTransfer } from "../support/data-path.ts";
import { addPod, policyCommand, serve, SERVER_PORT, waitUntilReaches } from "../support/policy-lab.ts";
import { restartUnderTraffic } from "../support/restart.ts";
import { ping } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

const NETWORK = "fd00:10:244::/56";
const LEASE_KEY = /\/subnets\/0\.0\.0\.0-0&(fd00:10:244:[\da-f]{0,2}::)-64$/;

let cluster: Cluster;
let n1: LabNode;
let n2: LabNode;
let server: LabPod;
let stranger: LabPod;
let friend: LabPod;
/** Of n1, before its daemon was there. */
let untouched: string;

showLogsOfFailures(() => cluster);
beforeAll(async () => {
  const netConf = { EnableIPv4: false, EnableIPv6: true, IPv6Network: NETWORK, Backend: { Type: "vxlan" } };
  const daemonFlags = ["--network-policy", "--policy-add-wait=5"];
  cluster = await startTestCluster({ nodes: 2, ipv6Only: true, netConf, daemonFlags, startDaemons: false });
  [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
  untouched = await hostDump(n1);
  await Promise.all([n1, n2].map((node) => node.daemon.start()));
  [server, friend, stranger] = await Promise.all([
    addPod(n1, { name: "n1-p1", labels: { app: "server" } }),
    addPod(n2, { name: "n2-p1", labels: { role: "friend" } }),
    addPod(n2, { name: "n2-p2", labels: { role: "stranger" } }),
  ]);
  // The kernel looks for duplicates of an address before it answers for it: of the bridge's, made with the first pod, too.
  await waitFor("IPv6 addresses to be usable", async () => {
    const answers = await Promise.all([friend, stranger].map((pod) => ping(pod, server.ip)));
    return answers.every((answer) => answer === "ok");
  });
  await serve(server);
});
afterAll(async () => {
  await cluster.close();
});

interface Lease6 {
  /** "fd00:10:244:7::" */
  readonly base: string;
  readonly value: { readonly PublicIPv6: string; readonly BackendV6Data: { readonly VtepMAC: string } };
}

async function leaseOf(node: LabNode): Promise<Lease6> {
  for (const [key, text] of await listKeys(cluster.etcd)) {
    const base = LEASE_KEY.exec(key)?.[1];
    if (base === undefined) continue;
    const value = JSON.parse(text) as Lease6["value"];
    if (value.PublicIPv6 === node.address6) return { base, value };
  }
  throw new Error(`${node.name} has no lease`);
}

test("leases and subnet.env are as flannel writes them, and no pod has an IPv4 address", async () => {
  for (const [key, value] of await listKeys(cluster.etcd)) {
    if (!key.includes("/subnets/")) continue;
    expect(key).toMatch(LEASE_KEY);
    expect(value).toMatch(
      /^\{"PublicIP":"0\.0\.0\.0","PublicIPv6":"2001:db8:1::[bc]","BackendType":"vxlan","BackendV6Data":\{"VNI":1,"VtepMAC":"[\da-f:]{17}"\}\}$/,
    );
  }
  const { base } = await leaseOf(n1);
  expect(readFileSync(n1.machine.hostPath(SUBNET_FILE), "utf8")).toBe(
    `FLANNEL_IPV6_NETWORK=${NETWORK}\nFLANNEL_IPV6_SUBNET=${base}1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n`,
  );
  expect(server.result["ips"]).toEqual([expect.objectContaining({ gateway: `${base}1` })]);
  const { stdout } = await server.exec("ip", ["-4", "-o", "address", "show", "dev", "eth0"]);
  expect(stdout).toBe("");
});

test("each node holds flannel's rows for its peer; status tells of it", async () => {
  const peer = await leaseOf(n2);
  const show = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await n1.exec(args[0] ?? "", args.slice(1));
    return stdout.trim().replaceAll(/ +/g, " ");
  };
  const mac = peer.value.BackendV6Data.VtepMAC;
  expect(await show("ip", "-6", "route", "show", `${peer.base}/64`)).toContain(
    `via ${peer.base} dev flannel-v6.1 proto 250`,
  );
  expect(await show("ip", "-6", "neigh", "show", peer.base, "dev", "flannel-v6.1")).toBe(
    `${peer.base} lladdr ${mac} PERMANENT`,
  );
  expect(await show("bridge", "fdb", "show", "dev", "flannel-v6.1")).toContain(
    `${mac} dst ${n2.address6} self permanent`,
  );
  expect(await n1.daemon.status()).toMatchObject({
    ready: true,
    network: { ipv6: NETWORK },
    lease: { publicIp: n1.address6 },
    peers: [{ publicIp: n2.address6, subnet: `${peer.base}/64`, how: "vxlan" }],
  });
});

test("pods reach pods and nodes at the full MTU, TCP both ways, and outside sees the node", async () => {
  await expectFullConnectivity(cluster);
  await expectMtu(server, friend, 1430);
  await expectTransfer(server, friend, 10_000_000);
  await expectTransfer(friend, server, 10_000_000);
});

const POLICY = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends-only, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]
`;

test("policy denies and allows, and explain agrees with the kernel", async () => {
  await waitUntilReaches(server.ip, new Map([[friend, true], [stranger, true]])); // prettier-ignore
  await policyCommand(cluster, "apply", POLICY);
  await waitUntilReaches(server.ip, new Map([[friend, true], [stranger, false]])); // prettier-ignore
  const explain = async (from: string): Promise<string> => {
    const [program = "", ...first] = DAEMON_COMMAND;
    const words = ["policy", "explain", from, `n1-p1:${SERVER_PORT}`, `--subnet-file=${SUBNET_FILE}`];
    return (await n1.exec(program, [...first, ...words], { allowFailure: true })).stdout;
  };
  for (const [from, verdict] of [
    ["n2-p1", "ALLOWED"],
    ["n2-p2", "DENIED"],
  ] as const) {
    // prettier-ignore
    const said = await explain(from);
    expect(said).toContain(verdict);
    expect(said).toContain(`Kernel of ${n1.address6}: agrees`);
  }
});

test("kill -9 and restart: no ping lost, streams intact, nothing written", async () => {
  const written = await restartUnderTraffic(cluster, (node) => node.daemon.restart("SIGKILL"));
  expect(written).toEqual([]);
});

test("a deleted lease is taken again with its subnet", async () => {
  const before = await leaseOf(n2);
  await cluster.etcd.ctl("del", `${cluster.etcd.prefix}/subnets/0.0.0.0-0&${before.base}-64`);
  await waitFor("the lease to be back", async () => (await leaseOf(n2).catch(() => undefined)) !== undefined);
  expect(await leaseOf(n2)).toEqual(before);
});

/** Directories, the CNI plugins' files, and tables that have been looked into: empty. */
function withoutRest(dump: string): string {
  const rest = /^(?:\/run\/flannel|\/var\/lib\/cni\/(?:flannel|networks|results)|\*|:[A-Z]+ ACCEPT|COMMIT)/;
  return dump.split("\n").filter((line) => !rest.test(line)).join("\n"); // prettier-ignore
}

test("cleanup leaves nothing of ours", async () => {
  await n1.removePod("n1-p1");
  await n1.daemon.stop();
  const [program = "", ...first] = DAEMON_COMMAND;
  const flags = [`--subnet-file=${SUBNET_FILE}`, `--cni-conf-file=${CONFLIST_FILE}`];
  expect(await n1.exec(program, [...first, "cleanup", ...flags])).toMatchObject({ exitCode: 0, stderr: "" });
  // The CNI plugins' own.
  await n1.exec("ip", ["link", "del", "cni0"]);
  expect(withoutRest(await hostDump(n1))).toBe(withoutRest(untouched));
});
