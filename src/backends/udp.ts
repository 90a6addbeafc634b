// The udp backend: bare IP packets in UDP through a TUN device, for networks where nothing else passes (flannel 4.3).
import type { DataPathPeer } from "../host/data-path.ts";
import { mergeHostStates } from "../host/state.ts";
import type { Address, Link, Route, Sysctl } from "../host/state.ts";
import type { Uplink } from "../host/uplink.ts";
import { subnetKeyOf } from "../ipam/lease.ts";
import type { Lease } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import { cidrBase } from "../net/cidr.ts";
import { InvalidValueError } from "../net/errors.ts";
import { readBooleanOption, readNumberOption, readStringOption } from "../net/go-json.ts";
import { bitsOf } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import type { Backend, BackendInput, BackendPlan, PeerReach } from "./backend.ts";
import { createPeerSelector, familiesOf, networkOf, publicIpOf, subnetOf } from "./peers.ts";
import type { SelectPeers } from "./peers.ts";

/** Outer IP header and UDP 8, bytes. */
const OVERHEAD_BYTES: Readonly<Record<Family, number>> = { 4: 28, 6: 48 };

export interface UdpOptions {
  /** Of every node, bytes go to this port of the peers as well. */
  readonly port: number;
  /** Name of the TUN device; flannel's is `flannel0`. Two daemons on one host need two. */
  readonly device: string;
  /** Segmentation offload; without it each packet costs two system calls. */
  readonly offload: boolean;
  /** Drop what comes from addresses that are no peer's. */
  readonly peersOnly: boolean;
}

/** Reads flannel's key, Port, and ours. @throws {InvalidValueError} naming key, value and what is right */
export function parseUdpOptions(options: Readonly<Record<string, unknown>>): UdpOptions {
  const device = readStringOption(options, "Device", { default: "flannel0" });
  // dev_valid_name, and what `ip -batch` takes as one word.
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/.test(device)) {
    throw new InvalidValueError(
      `Backend.Device is ${JSON.stringify(device)}, but must be a name of at most 15 letters, digits, "_", "." or "-"`,
    );
  }
  return {
    port: readNumberOption(options, "Port", { min: 1, max: 65_535, default: 8285 }),
    device,
    offload: readBooleanOption(options, "Offload", { default: true }),
    peersOnly: readBooleanOption(options, "PeersOnly", { default: true }),
  };
}

export function createUdpBackend(config: NetworkConfig): Backend {
  const options = parseUdpOptions(config.backend.options);
  const families = familiesOf(config);
  const selectPeers = createPeerSelector("");
  const readPeer = createPeerReader(families);
  return {
    type: "udp",
    devices: [options.device],
    macFamilies: [],
    podMtu: (uplink) => deviceMtu(uplink, families),
    attributes: () => ({ backendType: "" }),
    publishedMacs: () => ({}),
    plan: (input) => planUdp(input, { options, families, selectPeers, readPeer }),
  };
}

/** One device carries both families, and so has the MTU that both can keep. */
function deviceMtu(uplink: Uplink, families: readonly Family[]): number {
  return uplink.mtu - Math.max(...families.map((family) => OVERHEAD_BYTES[family]));
}

interface UdpPlanner {
  readonly options: UdpOptions;
  readonly families: readonly Family[];
  readonly selectPeers: SelectPeers;
  readonly readPeer: PeerReader;
}

function planUdp(input: BackendInput, { options, families, selectPeers, readPeer }: UdpPlanner): BackendPlan {
  const { self, node, config } = input;
  const { usable, rejected } = selectPeers(input);
  const peers: DataPathPeer[] = [];
  const reach: PeerReach[] = [...rejected];
  for (const lease of usable) {
    const peer = readPeer(lease);
    peers.push(...peer.entries);
    reach.push(peer.reach);
  }
  const device = options.device;
  const link: Link = { kind: "tun", name: device, mtu: deviceMtu(node.uplink, families) };
  const addresses: Address[] = [];
  const routes: Route[] = [];
  // Optional: nobody sends router advertisements through the tunnel.
  const sysctls: Sysctl[] = [{ key: `net/ipv6/conf/${device}/accept_ra`, value: "0", optional: true }];
  const inner: Partial<Record<Family, Ip>> = {};
  for (const family of families) {
    const subnet = subnetOf(self, family);
    const network = networkOf(config, family);
    if (subnet === undefined || network === undefined) continue;
    inner[family] = cidrBase(subnet);
    addresses.push({ dev: device, ip: cidrBase(subnet), prefixLength: bitsOf(family) });
    // The whole network, as flannel: who has which part of it, the data path knows.
    routes.push({ dst: network, type: "unicast", dev: device, onlink: false });
  }
  return {
    state: mergeHostStates({ links: [link], addresses, sysctls, routes }),
    dataPath: {
      kind: "udp",
      device,
      port: options.port,
      locals: localsOf(node.uplink, families),
      inner,
      offload: options.offload,
      peersOnly: options.peersOnly,
      peers,
    },
    reach,
  };
}

/** Our own addresses, not --public-ip: behind NAT that address is not ours to send from. */
function localsOf(uplink: Uplink, families: readonly Family[]): Partial<Record<Family, Ip>> {
  const locals: Partial<Record<Family, Ip>> = {};
  for (const family of families) {
    const address = uplink.addresses[family];
    if (address !== undefined) locals[family] = address;
  }
  return locals;
}

/** What follows from a lease alone. */
interface UdpPeer {
  readonly entries: readonly DataPathPeer[];
  readonly reach: PeerReach;
}

type PeerReader = (lease: Lease) => UdpPeer;

/** Remembers per lease object: one more peer among thousands is one lease to read. */
function createPeerReader(families: readonly Family[]): PeerReader {
  const known = new WeakMap<Lease, UdpPeer>();
  return (lease) => {
    let peer = known.get(lease);
    if (peer === undefined) known.set(lease, (peer = readPeer(lease, families)));
    return peer;
  };
}

function readPeer(lease: Lease, families: readonly Family[]): UdpPeer {
  const subnetKey = subnetKeyOf(lease);
  const entries: DataPathPeer[] = [];
  let problem: string | undefined;
  for (const family of families) {
    const prefix = subnetOf(lease, family);
    if (prefix === undefined) continue;
    const remote = publicIpOf(lease, family);
    if (remote === undefined) problem = `its lease has no public IPv${family} address`;
    else entries.push({ prefix, remote });
  }
  const reach: PeerReach =
    problem === undefined ? { subnetKey, how: "udp" } : { subnetKey, how: "unreachable", problem };
  return { entries, reach };
}
