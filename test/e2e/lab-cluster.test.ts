// The lab as a library: what other end-to-end tests build on.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startCluster } from "../../lab/cluster.ts";
import type { Cluster, ClusterOptions } from "../../lab/cluster.ts";
import { DAEMON_USER, listKeys } from "../../lab/etcd.ts";
import { waitFor } from "../support/wait.ts";

let directory: string;
let cluster: Cluster | undefined;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "flanneld-ts-lab-"));
});
afterEach(async () => {
  await cluster?.close();
  cluster = undefined;
  rmSync(directory, { recursive: true, force: true });
});

async function start(options: Partial<ClusterOptions> = {}): Promise<Cluster> {
  cluster = await startCluster({ nodes: 2, pods: 1, ...options, directory });
  return cluster;
}

test("a broken path between two nodes fails exactly the cells that take it", async () => {
  const lab = await start({ nodes: 3 });
  expect((await lab.matrix()).ok).toBe(true);
  // vxlan from and to n2 is lost on the way; everything else stands.
  await lab.node("n2").exec("iptables", ["-I", "INPUT", "-p", "udp", "--dport", "8472", "-j", "DROP"]);
  const failed = (await lab.matrix()).cells.filter(({ ok }) => !ok);
  expect(failed.map(({ from, to }) => `${from} -> ${to}`).sort()).toEqual([
    "n1-p1 -> n2-p1",
    "n2-p1 -> n1-p1",
    "n2-p1 -> n3-p1",
    "n3-p1 -> n2-p1",
  ]);
  expect(failed[0]?.problem).toMatch(/^ping .* -M do -s 1422 10\..*: no answer, 2 tries$/);
});

test("without masquerade, outside never answers", async () => {
  const lab = await start({ nodes: 1, daemonFlags: ["--ip-masq=false"], netConf: "none", startDaemons: false });
  const node = lab.node("n1");
  await lab.etcd.ctl("put", `${lab.etcd.prefix}/config`, '{"Network":"10.7.0.0/16","Backend":{"Type":"host-gw"}}');
  await node.daemon.start();
  // With FLANNEL_IPMASQ=false the plugin lets the bridge masquerade; this conflist asks it not to.
  const conflist = { name: "n", cniVersion: "1.0.0", plugins: [{ type: "flannel", delegate: { ipMasq: false, isDefaultGateway: true } }] };
  await node.exec("sh", ["-c", 'cat >"$1"', "put", "/etc/cni/net.d/10-flannel.conflist"], { input: JSON.stringify(conflist) });
  await node.addPod();
  const { cells } = await lab.matrix();
  expect(cells.filter(({ ok }) => !ok).map(({ to }) => to)).toEqual(["outside"]);
}); // prettier-ignore

test("nodes come and go, pods come and go", async () => {
  const lab = await start({ nodes: 1 });
  const added = await lab.addNode({ pods: 2 });
  expect(added.name).toBe("n2");
  expect((await lab.matrix()).ok).toBe(true);
  const { ip } = lab.pod("n2-p1");
  await added.removePod("n2-p1");
  await expect(lab.pod("n1-p1").exec("ping", ["-c", "1", "-W", "1", ip])).rejects.toThrow(
    /^n1: ping .* exit 1/,
  );
  expect((await added.exec("ls", ["/var/lib/cni/networks/cbr0"])).stdout).not.toContain(`${ip}\n`);
  await lab.removeNode("n2");
  expect(lab.pods().map(({ name }) => name)).toEqual(["n1-p1"]);
  expect((await lab.matrix()).ok).toBe(true);
});

test("a daemon is stopped, killed and started again under its pods", async () => {
  const lab = await start();
  const { daemon } = lab.node("n1");
  const subnet = lab.node("n1").subnetEnv()["FLANNEL_SUBNET"];
  expect(await daemon.stop()).toEqual({ exitCode: 0, signal: undefined });
  expect((await lab.matrix()).ok).toBe(true);
  await daemon.start();
  await daemon.restart("SIGKILL");
  expect(lab.node("n1").subnetEnv()["FLANNEL_SUBNET"]).toBe(subnet);
  expect((await lab.matrix()).ok).toBe(true);
});

test("etcd with TLS and authentication; stopped, started and compacted", async () => {
  const lab = await start({ etcd: { tls: true, auth: true } });
  expect((await lab.matrix()).ok).toBe(true);
  const leases = await listKeys(lab.etcd);
  expect([...leases.keys()].filter((key) => key.includes("/subnets/"))).toHaveLength(2);
  await lab.etcd.stop("SIGKILL");
  expect(lab.etcd.isRunning()).toBe(false);
  await lab.etcd.start();
  expect(await listKeys(lab.etcd)).toEqual(leases);
  expect(await lab.etcd.compact()).toBeGreaterThan(1);
  // The daemons' user sees its prefix and nothing else.
  const outsider = lab.underlay.machine.exec("etcdctl", [
    `--endpoints=${lab.etcd.endpoints}`,
    "--cacert=/run/etcd/tls/ca.pem",
    "--cert=/run/etcd/tls/client.pem",
    "--key=/run/etcd/tls/client-key.pem",
    `--user=${DAEMON_USER.name}:${DAEMON_USER.password}`,
    "get",
    "/other",
  ]);
  await expect(outsider).rejects.toThrow("permission denied");
  await lab.addNode({ pods: 1 });
  expect((await lab.matrix()).ok).toBe(true);
});

test("closing twice, and aborting in the middle of a start, end every machine", async () => {
  const controller = new AbortController();
  const starting = startCluster({
    directory,
    nodes: 2,
    signal: controller.signal,
    onProgress: (line) => {
      if (line.includes("has subnet")) controller.abort(new Error("enough"));
    },
  });
  await expect(starting).rejects.toThrow("enough");
  const lab = await start();
  const machines = [
    lab.underlay.machine,
    lab.outside,
    ...[...lab.nodes.values()].map(({ machine }) => machine),
  ];
  await lab.close();
  await lab.close();
  await waitFor("all machines to end", () => machines.every((machine) => !machine.isRunning()));
});
