// Members of sets: the addresses that policyPeers match, and the (address, port) pairs of named ports.
import { bitsOf, familyOf } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import { cidrBase, cidrLength } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { subtractCidrs } from "./blocks.ts";
import type { AddressedPod, ClusterIndex } from "./cluster-index.ts";
import { selects } from "./selector.ts";
import type { NamedPort } from "./snapshot.ts";
import type { NamedPortsSpec, NamespaceSpec, PeerSpec, SetSpec } from "./sets.ts";

/** Members as ipset prints them, sorted and unique. */
export function resolveSet(spec: SetSpec, index: ClusterIndex): readonly string[] {
  const members: string[] =
    spec.kind === "peers"
      ? spec.peers.flatMap((peer) => resolvePeer(peer, spec.family, index))
      : [...resolveNamedPorts(spec, index)];
  return sortUnique(members);
}

/** Sorts `members` itself and drops what is there twice. */
export function sortUnique(members: string[]): readonly string[] {
  members.sort();
  let kept = 0;
  for (const member of members) {
    if (kept === 0 || members[kept - 1] !== member) {
      members[kept] = member;
      kept += 1;
    }
  }
  members.length = kept;
  return members;
}

export function resolvePeer(peer: PeerSpec, family: Family, index: ClusterIndex): readonly string[] {
  if (peer.kind === "block") return resolveBlock(peer);
  return namespacesOf(peer.namespaces, index)
    .flatMap((name) => index.podsByNamespace.get(name) ?? [])
    .filter(({ pod }) => selects(peer.pods, pod.labels))
    .flatMap((pod) => ipsOfFamily(pod, family));
}

export function resolveBlock({ cidr, except }: PeerSpec & { readonly kind: "block" }): readonly string[] {
  return subtractCidrs(cidr, except).map(formatPrefix);
}

/** A namespace that is not known yet has no labels to match; by name it counts all the same. */
function namespacesOf(spec: NamespaceSpec, index: ClusterIndex): readonly string[] {
  if ("name" in spec) return [spec.name];
  return [...index.namespaces.values()]
    .filter(({ labels }) => selects(spec.selector, labels))
    .map(({ name }) => name);
}

export function ipsOfFamily({ ips }: AddressedPod, family: Family): readonly Ip[] {
  return ips.filter((ip) => familyOf(ip) === family);
}

/** Every pod has its own number, or several, for a name; one that does not declare it matches nothing. */
function resolveNamedPorts({ family, scope, names }: NamedPortsSpec, index: ClusterIndex): readonly string[] {
  const pods = scope === "local" ? index.localPods : [...index.podsByNamespace.values()].flat();
  return pods.flatMap((addressed) => {
    const ports = addressed.pod.ports.filter((port) =>
      names.some(({ name, protocol }) => name === port.name && protocol === port.protocol),
    );
    return ipsOfFamily(addressed, family).flatMap((ip) => ports.map((port) => portMember(ip, port)));
  });
}

export function portMember(ip: Ip, { protocol, port }: NamedPort): string {
  // Joined, not a template: that would stay a chain of pieces in memory, of which there are tens of thousands.
  return [ip, `${protocol.toLowerCase()}:${port}`].join(",");
}

/** ipset prints a host without its length. */
function formatPrefix(cidr: Cidr): string {
  const base = cidrBase(cidr);
  return cidrLength(cidr) === bitsOf(familyOf(base)) ? base : cidr;
}
