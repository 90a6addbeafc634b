// A node of Go flannel, played by the commands and texts that it would use (reference: flannel 2.1, 4.1, 4.2, 5.1, 6).
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Cluster } from "../../lab/cluster.ts";
import { SUBNET_FILE } from "../../lab/daemon-process.ts";
import type { LabNode } from "../../lab/node.ts";
import { storedLeases } from "./cluster.ts";

export type GoBackend = "vxlan" | "host-gw";

export interface GoNode {
  readonly node: LabNode;
  /** "10.244.99.0" */
  readonly base: string;
  readonly key: string;
  /** The lease, byte for byte. */
  readonly value: string;
  /** What it does for each lease of others that it sees. */
  followLeases(): Promise<void>;
}

const VTEP_MAC = "0a:1b:2c:3d:4e:5f";
const TTL_SECONDS = 86_400;

/** Joins the cluster with subnet 10.244.INDEX.0/24: lease, device, rules and subnet.env. */
export async function joinAsGoNode(
  cluster: Cluster,
  node: LabNode,
  backend: GoBackend,
  index = 99,
): Promise<GoNode> {
  const base = `10.244.${index}.0`;
  const key = `${cluster.etcd.prefix}/subnets/${base}-24`;
  const value =
    backend === "vxlan"
      ? `{"PublicIP":"${node.address}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${VTEP_MAC}"}}`
      : `{"PublicIP":"${node.address}","PublicIPv6":null,"BackendType":"host-gw"}`;
  const granted = await cluster.etcd.ctl("lease", "grant", String(TTL_SECONDS));
  const leaseId = /lease ([0-9a-f]+) granted/.exec(granted)?.[1] ?? granted;
  await cluster.etcd.ctl("put", `--lease=${leaseId}`, key, value);

  if (backend === "vxlan") await makeDevice(node, base);
  await addRules(node, base);
  const subnetFile = node.machine.hostPath(SUBNET_FILE);
  mkdirSync(path.dirname(subnetFile), { recursive: true });
  const mtu = backend === "vxlan" ? 1450 : 1500;
  writeFileSync(
    subnetFile,
    `FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=${base.replace(/0$/, "1")}/24\nFLANNEL_MTU=${mtu}\nFLANNEL_IPMASQ=true\n`,
  );
  return {
    node,
    base,
    key,
    value,
    followLeases: async () => {
      for (const peer of await storedLeases(cluster)) {
        if (peer.publicIp === node.address) continue;
        await addPeer(node, backend, peer);
      }
    },
  };
}

async function makeDevice({ exec, address }: LabNode, base: string): Promise<void> {
  const commands = [
    `link add flannel.1 address ${VTEP_MAC} mtu 1450 type vxlan id 1 dev eth0 local ${address} dstport 8472 nolearning`,
    `addr add ${base}/32 dev flannel.1`,
    "link set flannel.1 up",
  ];
  await exec("ip", ["-batch", "-"], { input: `${commands.join("\n")}\n` });
  await exec("sysctl", ["-qw", "net.ipv6.conf.flannel/1.accept_ra=0"], { allowFailure: true });
}

/** A peer as Go flannel programs it. */
export async function addPeer(
  { exec }: LabNode,
  backend: GoBackend,
  peer: {
    readonly base: string;
    readonly subnet: string;
    readonly publicIp: string;
    readonly mac?: string | undefined;
  },
): Promise<void> {
  if (backend === "host-gw") {
    await exec("ip", ["route", "replace", peer.subnet, "via", peer.publicIp, "dev", "eth0"]);
    return;
  }
  const { base, mac = VTEP_MAC } = peer;
  await exec("ip", ["neigh", "replace", base, "lladdr", mac, "dev", "flannel.1", "nud", "permanent"]);
  await exec("bridge", [
    "fdb",
    "replace",
    mac,
    "dev",
    "flannel.1",
    "dst",
    peer.publicIp,
    "self",
    "permanent",
  ]);
  await exec("ip", ["route", "replace", peer.subnet, "via", base, "dev", "flannel.1", "onlink"]);
}

/** --ip-masq and the forward rules, in Go flannel's order. */
async function addRules({ exec }: LabNode, base: string): Promise<void> {
  const [network, subnet] = ["10.244.0.0/16", `${base}/24`];
  const masq = ["-m", "comment", "--comment", "flanneld masq"];
  const forward = ["-m", "comment", "--comment", "flanneld forward"];
  const add = (table: string, chain: string, ...rule: readonly string[]) =>
    exec("iptables", ["-w", "-t", table, "-A", chain, ...rule]);
  await exec("iptables", ["-w", "-t", "nat", "-N", "FLANNEL-POSTRTG"]);
  await add("nat", "POSTROUTING", ...masq, "-j", "FLANNEL-POSTRTG");
  const chain = (...rule: readonly string[]) => add("nat", "FLANNEL-POSTRTG", ...rule);
  await chain("-m", "mark", "--mark", "0x4000/0x4000", ...masq, "-j", "RETURN");
  await chain("-s", subnet, "-d", network, ...masq, "-j", "RETURN");
  await chain("-s", network, "-d", subnet, ...masq, "-j", "RETURN");
  await chain("!", "-s", network, "-d", subnet, ...masq, "-j", "RETURN");
  await chain("-s", network, "!", "-d", "224.0.0.0/4", ...masq, "-j", "MASQUERADE", "--random-fully");
  await chain("!", "-s", network, "-d", network, ...masq, "-j", "MASQUERADE", "--random-fully");
  await exec("iptables", ["-w", "-N", "FLANNEL-FWD"]);
  await add("filter", "FORWARD", ...forward, "-j", "FLANNEL-FWD");
  await add("filter", "FLANNEL-FWD", "-s", network, ...forward, "-j", "ACCEPT");
  await add("filter", "FLANNEL-FWD", "-d", network, ...forward, "-j", "ACCEPT");
}
