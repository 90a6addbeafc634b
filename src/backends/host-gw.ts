// The host-gw backend: each peer is the gateway of its own subnet, on a shared link (flannel 4.2).
import type { Route } from "../host/state.ts";
import { mergeHostStates } from "../host/state.ts";
import { isOnLink } from "../host/uplink.ts";
import { subnetKeyOf } from "../ipam/lease.ts";
import type { Lease } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import { InvalidValueError } from "../net/errors.ts";
import type { Family } from "../net/ip.ts";
import type { Backend, BackendInput, BackendPlan, LocalNode, PeerReach } from "./backend.ts";
import { directRoute, familiesOf, publicIpOf, createPeerSelector, subnetOf } from "./peers.ts";
import type { PeerSelection } from "./peers.ts";

export function createHostGwBackend(config: NetworkConfig): Backend {
  const families = familiesOf(config);
  const selectPeers = createPeerSelector("host-gw");
  return {
    type: "host-gw",
    devices: [],
    macFamilies: [],
    podMtu: (uplink) => uplink.mtu,
    attributes: (node) => {
      refuseNat(node, families);
      return { backendType: "host-gw" };
    },
    publishedMacs: () => ({}),
    plan: (input) => planHostGw(input, families, selectPeers(input)),
  };
}

/** Peers use our public IP as a gateway on their own link, so it must be the uplink's. @throws {InvalidValueError} */
function refuseNat({ uplink, publicIps }: LocalNode, families: readonly Family[]): void {
  for (const family of families) {
    if (publicIps[family] === uplink.addresses[family]) continue;
    throw new InvalidValueError(
      "your PublicIP differs from interface IP, meaning that probably you're on a NAT, which is not supported by host-gw backend " +
        `(--public-ip ${publicIps[family]}, ${uplink.name} has ${uplink.addresses[family]}); ` +
        "drop --public-ip, or use the vxlan backend",
    );
  }
}

function planHostGw(
  input: BackendInput,
  families: readonly Family[],
  { usable, rejected }: PeerSelection,
): BackendPlan {
  const routes: Route[] = [];
  const reach: PeerReach[] = [...rejected];
  for (const peer of usable) {
    const reaches = families
      .filter((family) => subnetOf(peer, family) !== undefined)
      .map((family) => planPeer(peer, family, input, routes));
    const first = reaches.find((one) => one.problem !== undefined) ?? reaches[0];
    if (first) reach.push(first);
  }
  return { state: mergeHostStates({ routes }), reach };
}

function planPeer(peer: Lease, family: Family, { node }: BackendInput, routes: Route[]): PeerReach {
  const subnetKey = subnetKeyOf(peer);
  const publicIp = publicIpOf(peer, family);
  const subnet = subnetOf(peer, family);
  if (publicIp === undefined || subnet === undefined) {
    return { subnetKey, how: "unreachable", problem: `its lease has no public IPv${family} address` };
  }
  if (!isOnLink(node.uplink, publicIp)) {
    // The kernel would refuse the gateway with "Network is unreachable", every 10 s and silently in Go flannel.
    return {
      subnetKey,
      how: "unreachable",
      problem:
        `${publicIp} is not on the link of ${node.uplink.name}, so it cannot be a gateway: host-gw needs all nodes on one ` +
        `layer-2 network; use {"Type":"vxlan","DirectRouting":true}, or choose the interface that they share with --iface`,
    };
  }
  routes.push(directRoute(subnet, publicIp, node.uplink));
  return { subnetKey, how: "direct" };
}
