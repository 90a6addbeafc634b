// Which peers a backend may program at all: leases are other people's text, and a bad one must not hijack routes.
import { cidrContains, cidrFamily, cidrLength, cidrsOverlap } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { isHostAddress } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import type { Route } from "../host/state.ts";
import type { Uplink } from "../host/uplink.ts";
import { subnetKeyOf } from "../ipam/lease.ts";
import type { Lease } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import type { BackendInput, PeerReach } from "./backend.ts";
import { createClaimedSubnets } from "./claimed-subnets.ts";
import type { ClaimedSubnets } from "./claimed-subnets.ts";

export function publicIpOf(lease: Lease, family: Family): Ip | undefined {
  return family === 4 ? lease.publicIp : lease.publicIp6;
}

export function subnetOf(lease: Lease, family: Family): Cidr | undefined {
  return family === 4 ? lease.subnet : lease.subnet6;
}

export function backendDataOf(lease: Lease, family: Family): unknown {
  return family === 4 ? lease.backendData : lease.backendData6;
}

export function networkOf(config: NetworkConfig, family: Family): Cidr | undefined {
  return (family === 4 ? config.ipv4 : config.ipv6)?.network;
}

/** Families that the network has. */
export function familiesOf(config: NetworkConfig): readonly Family[] {
  const families: Family[] = [];
  if (config.ipv4) families.push(4);
  if (config.ipv6) families.push(6);
  return families;
}

export function networksOf(config: NetworkConfig): readonly Cidr[] {
  return familiesOf(config).flatMap((family) => networkOf(config, family) ?? []);
}

export interface PeerSelection {
  /** Peers that may be programmed, in a stable order. */
  readonly usable: readonly Lease[];
  readonly rejected: readonly PeerReach[];
}

export type SelectPeers = (input: BackendInput) => PeerSelection;

/**
 * Makes the function that splits leases into usable peers and those that cannot be right, each with its cure. Order of the
 * input does not matter: where two leases contradict each other, one of the configured length wins, then the lower subnet.
 * What depends on one lease alone is remembered per lease object, so that one more peer among thousands costs the check of
 * one.
 * @param publishedType the backend type as leases carry it ("" for udp and alloc)
 */
export function createPeerSelector(publishedType: string): SelectPeers {
  const verdicts = new WeakMap<Lease, Verdict>();
  return (input) => {
    const usable: Lease[] = [];
    const rejected: PeerReach[] = [];
    const claimed = createClaimedSubnets(input.peers.flatMap(subnetsOf));
    for (const lease of inOrderOfTrust(input)) {
      const problem = verdictOf(lease, input, publishedType, verdicts) ?? overlapProblem(lease, claimed);
      if (problem === undefined) {
        usable.push(lease);
        for (const subnet of subnetsOf(lease)) claimed.claim(subnet, lease);
      } else {
        rejected.push({ subnetKey: subnetKeyOf(lease), how: "ignored", problem });
      }
    }
    return { usable, rejected };
  };
}

/** What was found wrong with a lease, beside this node and this configuration. */
interface Verdict {
  readonly self: Lease;
  readonly config: NetworkConfig;
  readonly problem: string | undefined;
}

function verdictOf(
  lease: Lease,
  { self, config }: BackendInput,
  publishedType: string,
  verdicts: WeakMap<Lease, Verdict>,
): string | undefined {
  const known = verdicts.get(lease);
  if (known !== undefined && known.self === self && known.config === config) return known.problem;
  const problem = peerProblem(lease, self, config, publishedType);
  verdicts.set(lease, { self, config, problem });
  return problem;
}

function peerProblem(
  lease: Lease,
  self: Lease,
  config: NetworkConfig,
  publishedType: string,
): string | undefined {
  if (lease.backendType !== publishedType) {
    return `it runs backend "${lease.backendType}", this node runs "${publishedType}": give all nodes one Backend.Type`;
  }
  for (const subnet of subnetsOf(lease)) {
    const network = networkOf(config, cidrFamily(subnet));
    if (network === undefined || !cidrContains(network, subnet)) {
      return `its subnet ${subnet} lies outside the network ${network ?? "(family not enabled)"}: delete that lease`;
    }
    const own = subnetOf(self, cidrFamily(subnet));
    if (own !== undefined && cidrsOverlap(own, subnet)) {
      return `its subnet ${subnet} overlaps this node's own ${own}: delete one of the two leases`;
    }
  }
  for (const family of familiesOf(config)) {
    const publicIp = publicIpOf(lease, family);
    if (publicIp === undefined || isHostAddress(publicIp)) continue;
    return `no packet can be sent to its public IP ${publicIp}: on that node choose another --iface or --public-ip`;
  }
  for (const family of [4, 6] as const) {
    const publicIp = publicIpOf(lease, family);
    if (publicIp === undefined || publicIp !== publicIpOf(self, family)) continue;
    return `it has this node's own public IP ${publicIp}: give one of the two another --public-ip or --iface`;
  }
  return undefined;
}

/** Nodes take subnets of the configured length; another one is from before a change of the config, or not a node's. */
function inOrderOfTrust({ peers, config }: BackendInput): readonly Lease[] {
  const usual: Lease[] = [];
  const odd: Lease[] = [];
  for (const lease of peers) (isOfUsualLength(lease, config) ? usual : odd).push(lease);
  const bySubnet = (a: Lease, b: Lease): number => {
    const [keyOfA, keyOfB] = [subnetKeyOf(a), subnetKeyOf(b)];
    return keyOfA < keyOfB ? -1 : keyOfA > keyOfB ? 1 : 0;
  };
  return [...usual.toSorted(bySubnet), ...odd.toSorted(bySubnet)];
}

function isOfUsualLength({ subnet, subnet6 }: Lease, { ipv4, ipv6 }: NetworkConfig): boolean {
  if (subnet !== undefined) return cidrLength(subnet) === ipv4?.subnetLength;
  return subnet6 !== undefined && cidrLength(subnet6) === ipv6?.subnetLength;
}

function overlapProblem(lease: Lease, claimed: ClaimedSubnets): string | undefined {
  for (const subnet of subnetsOf(lease)) {
    const holder = claimed.holderOf(subnet);
    if (holder !== undefined) {
      return `its subnet ${subnet} overlaps ${subnetKeyOf(holder)} of ${holder.publicIp ?? holder.publicIp6}: delete one of the two leases`;
    }
  }
  return undefined;
}

function subnetsOf(lease: Lease): readonly Cidr[] {
  if (lease.subnet === undefined) return lease.subnet6 === undefined ? [] : [lease.subnet6];
  return lease.subnet6 === undefined ? [lease.subnet] : [lease.subnet, lease.subnet6];
}

/** A plain route through the peer itself, as host-gw and DirectRouting use it. */
export function directRoute(subnet: Cidr, via: Ip, uplink: Uplink): Route {
  return { dst: subnet, type: "unicast", via, dev: uplink.name, onlink: false };
}
