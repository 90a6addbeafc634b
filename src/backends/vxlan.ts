// The vxlan backend: one vxlan device per family, static neighbors and forwarding entries, no learning (flannel 4.1).
import type { Address, FdbEntry, Link, Neighbor, Route, Sysctl } from "../host/state.ts";
import { mergeHostStates } from "../host/state.ts";
import { isOnLink } from "../host/uplink.ts";
import type { Uplink } from "../host/uplink.ts";
import { subnetKeyOf } from "../ipam/lease.ts";
import type { Lease } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import { cidrBase } from "../net/cidr.ts";
import { readBooleanOption, readNumberOption } from "../net/go-json.ts";
import { bitsOf } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import type {
  Backend,
  BackendAttributes,
  BackendInput,
  BackendPlan,
  LocalNode,
  PeerReach,
} from "./backend.ts";
import { directRoute, familiesOf, publicIpOf, createPeerSelector, subnetOf } from "./peers.ts";
import type { SelectPeers } from "./peers.ts";
import { formatVtepData, parseVtepData } from "./vtep-data.ts";

/** Flannel leaves Port 0 to the kernel, whose default is 8472, not IANA's 4789. */
const KERNEL_DEFAULT_PORT = 8472;
/** Outer IP header + UDP 8 + VXLAN 8 + inner Ethernet 14, bytes. Flannel subtracts 50 for IPv6 as well and so loses packets. */
const OVERHEAD_BYTES: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

export interface VxlanOptions {
  readonly vni: number;
  readonly port: number;
  /** Of the outer packet, bytes; 0 takes the uplink's. */
  readonly mtu: number;
  readonly gbp: boolean;
  readonly learning: boolean;
  readonly directRouting: boolean;
}

/** Reads the keys of flannel's vxlan backend. @throws {InvalidValueError} naming key, value and range */
export function parseVxlanOptions(options: Readonly<Record<string, unknown>>): VxlanOptions {
  return {
    vni: readNumberOption(options, "VNI", { min: 0, max: 2 ** 24 - 1, default: 1 }),
    port: readNumberOption(options, "Port", { min: 0, max: 65_535, default: 0 }) || KERNEL_DEFAULT_PORT,
    mtu: readNumberOption(options, "MTU", { min: 0, max: 65_535, default: 0 }),
    gbp: readBooleanOption(options, "GBP", { default: false }),
    learning: readBooleanOption(options, "Learning", { default: false }),
    directRouting: readBooleanOption(options, "DirectRouting", { default: false }),
  };
}

/** Name of the device, flannel's. */
export function vxlanDevice(family: Family, vni: number): string {
  return family === 4 ? `flannel.${vni}` : `flannel-v6.${vni}`;
}

function deviceMtu(options: VxlanOptions, uplink: Uplink, family: Family): number {
  return (options.mtu || uplink.mtu) - OVERHEAD_BYTES[family];
}

export function createVxlanBackend(config: NetworkConfig): Backend {
  const options = parseVxlanOptions(config.backend.options);
  const families = familiesOf(config);
  const selectPeers = createPeerSelector("vxlan");
  const tunnelOf = createTunnelReader(options);
  return {
    type: "vxlan",
    devices: families.map((family) => vxlanDevice(family, options.vni)),
    macFamilies: families,
    ...(options.mtu > 0 && { outerMtu: options.mtu }),
    podMtu: (uplink) => Math.min(...families.map((family) => deviceMtu(options, uplink, family))),
    attributes: (node) => attributes(node, options, families),
    publishedMacs: (lease) => publishedMacs(lease, families),
    plan: (input) => planVxlan(input, { options, families, selectPeers, tunnelOf }),
  };
}

function attributes(node: LocalNode, { vni }: VxlanOptions, families: readonly Family[]): BackendAttributes {
  const dataFor = (family: Family) => {
    const mac = node.macs[family];
    return families.includes(family) && mac !== undefined ? formatVtepData({ vni, mac }) : undefined;
  };
  const backendData = dataFor(4);
  const backendData6 = dataFor(6);
  return {
    backendType: "vxlan",
    ...(backendData && { backendData }),
    ...(backendData6 && { backendData6 }),
  };
}

function publishedMacs(lease: Lease, families: readonly Family[]): LocalNode["macs"] {
  const macs: Partial<Record<Family, Mac>> = {};
  for (const family of families) {
    const vtep = parseVtepData(lease, family);
    if (!("problem" in vtep)) macs[family] = vtep.mac;
  }
  return macs;
}

/** The rows that lead through the tunnel to one peer, or why there are none. */
type Tunnel =
  | {
      readonly mac: Mac;
      readonly remote: Ip;
      readonly route: Route;
      readonly neighbor: Neighbor;
      readonly fdb: FdbEntry;
      readonly reach: PeerReach;
    }
  | { readonly problem: string };

type TunnelReader = (peer: Lease, family: Family) => Tunnel;

/** Remembers per lease object what follows from it alone: one more peer among thousands is one lease to read. */
function createTunnelReader(options: VxlanOptions): TunnelReader {
  const known: Readonly<Record<Family, WeakMap<Lease, Tunnel>>> = { 4: new WeakMap(), 6: new WeakMap() };
  return (peer, family) => {
    let tunnel = known[family].get(peer);
    if (tunnel === undefined) known[family].set(peer, (tunnel = readTunnel(peer, family, options)));
    return tunnel;
  };
}

function readTunnel(peer: Lease, family: Family, { vni }: VxlanOptions): Tunnel {
  const subnet = subnetOf(peer, family);
  const remote = publicIpOf(peer, family);
  if (subnet === undefined || remote === undefined) {
    return { problem: `its lease has no public IPv${family} address` };
  }
  const vtep = parseVtepData(peer, family);
  if ("problem" in vtep) return vtep;
  if (vtep.vni !== undefined && vtep.vni !== vni) {
    return {
      problem: `its VNI is ${vtep.vni}, ours ${vni}: restart that node so that it reads the same config`,
    };
  }
  const dev = vxlanDevice(family, vni);
  const base = cidrBase(subnet);
  return {
    mac: vtep.mac,
    remote,
    route: { dst: subnet, type: "unicast", via: base, dev, onlink: true },
    neighbor: { dev, ip: base, mac: vtep.mac },
    fdb: { dev, mac: vtep.mac, remote },
    reach: { subnetKey: subnetKeyOf(peer), how: "vxlan" },
  };
}

/** Which public IP each VTEP MAC belongs to; a MAC on two of them cannot be forwarded to. */
type MacOwners = Readonly<Record<Family, Map<Mac, Ip>>>;

/** Rows of all peers, collected. */
interface Rows {
  readonly routes: Route[];
  readonly neighbors: Neighbor[];
  readonly fdb: FdbEntry[];
  readonly macOwners: MacOwners;
}

interface VxlanPlanner {
  readonly options: VxlanOptions;
  readonly families: readonly Family[];
  readonly selectPeers: SelectPeers;
  readonly tunnelOf: TunnelReader;
}

function planVxlan(input: BackendInput, planner: VxlanPlanner): BackendPlan {
  const { usable, rejected } = planner.selectPeers(input);
  const rows: Rows = { routes: [], neighbors: [], fdb: [], macOwners: { 4: new Map(), 6: new Map() } };
  const reach: PeerReach[] = [...rejected];
  for (const peer of usable) {
    let shown: PeerReach | undefined;
    for (const family of planner.families) {
      if (subnetOf(peer, family) === undefined) continue;
      const one = planPeer(peer, family, input, planner, rows);
      // The first family names how the peer is reached; a problem in either family is what a person must see.
      if (shown === undefined || (one.problem !== undefined && shown.problem === undefined)) shown = one;
    }
    if (shown !== undefined) reach.push(shown);
  }
  const { routes, neighbors, fdb } = rows;
  const devices = planDevices(input, planner.options, planner.families);
  return { state: mergeHostStates(devices, { routes, neighbors, fdb }), reach };
}

function planDevices(input: BackendInput, options: VxlanOptions, families: readonly Family[]) {
  const links: Link[] = [];
  const addresses: Address[] = [];
  const sysctls: Sysctl[] = [];
  for (const family of families) {
    const name = vxlanDevice(family, options.vni);
    const mac = input.node.macs[family];
    const local = input.node.uplink.addresses[family];
    const subnet = subnetOf(input.self, family);
    if (mac === undefined || local === undefined || subnet === undefined) continue;
    links.push({
      kind: "vxlan",
      name,
      mac,
      mtu: deviceMtu(options, input.node.uplink, family),
      vni: options.vni,
      port: options.port,
      // Our own address, not --public-ip: behind NAT that address is not ours to send from.
      local,
      uplink: input.node.uplink.name,
      learning: options.learning,
      gbp: options.gbp,
    });
    // Peers route to us through the base address, so it must be ours (flannel 9.8).
    addresses.push({ dev: name, ip: cidrBase(subnet), prefixLength: bitsOf(family) });
    // Optional: nobody floods router advertisements here, since the FDB has no entry for multicast.
    sysctls.push({ key: `net/ipv6/conf/${name}/accept_ra`, value: "0", optional: true });
  }
  return { links, addresses, sysctls };
}

function planPeer(
  peer: Lease,
  family: Family,
  { node }: BackendInput,
  { options, tunnelOf }: VxlanPlanner,
  rows: Rows,
): PeerReach {
  const unreachable = (problem: string): PeerReach => ({
    subnetKey: subnetKeyOf(peer),
    how: "unreachable",
    problem,
  });
  if (options.directRouting) {
    const direct = directPath(peer, family, node.uplink);
    if (direct !== undefined) {
      rows.routes.push(direct);
      return { subnetKey: subnetKeyOf(peer), how: "direct" };
    }
  }
  const tunnel = tunnelOf(peer, family);
  if ("problem" in tunnel) return unreachable(tunnel.problem);
  const owners = rows.macOwners[family];
  const owner = owners.get(tunnel.mac);
  if (tunnel.mac === node.macs[family] || (owner !== undefined && owner !== tunnel.remote)) {
    return unreachable(
      `its VTEP MAC ${tunnel.mac} is also that of ${owner ?? "this node"} (a cloned machine?): ` +
        "on one of the two delete the lease and the vxlan device, then restart the daemon",
    );
  }
  rows.neighbors.push(tunnel.neighbor);
  // A node may hold two leases for a while (its subnet changed); then one forwarding entry serves both.
  if (owner === undefined) rows.fdb.push(tunnel.fdb);
  owners.set(tunnel.mac, tunnel.remote);
  rows.routes.push(tunnel.route);
  return tunnel.reach;
}

function directPath(peer: Lease, family: Family, uplink: Uplink): Route | undefined {
  const subnet = subnetOf(peer, family);
  const publicIp = publicIpOf(peer, family);
  if (subnet === undefined || publicIp === undefined || !isOnLink(uplink, publicIp)) return undefined;
  return directRoute(subnet, publicIp, uplink);
}
