// What a set is about, apart from its members: two rules that mean the same addresses share one set.
import { cidrFamily } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Family } from "../net/ip.ts";
import type { IpsetType } from "../host/ipset-state.ts";
import { canonicalSelector, formatSelector } from "./selector.ts";
import type { PolicyPeer, PolicyProtocol, Selector } from "./snapshot.ts";

/** A policyPeer that no longer depends on its policy's namespace. */
export type PeerSpec =
  | { readonly kind: "pods"; readonly namespaces: NamespaceSpec; readonly pods: Selector }
  | { readonly kind: "block"; readonly cidr: Cidr; readonly except: readonly Cidr[] };

export type NamespaceSpec = { readonly name: string } | { readonly selector: Selector };

/** Addresses that any of the peers matches. */
export interface PeersSpec {
  readonly kind: "peers";
  readonly family: Family;
  readonly peers: readonly PeerSpec[];
}

/** (address, protocol, port) of pods that declare one of the names. */
export interface NamedPortsSpec {
  readonly kind: "named-ports";
  readonly family: Family;
  /** Ingress asks for pods of this node only, egress for all. */
  readonly scope: "local" | "cluster";
  readonly names: readonly PortName[];
}

export interface PortName {
  readonly protocol: PolicyProtocol;
  readonly name: string;
}

export type SetSpec = PeersSpec | NamedPortsSpec;

/** Equal data for peers that say the same, so that it does not matter whose policy is read first. */
export function peerSpec(peer: PolicyPeer, policyNamespace: string): PeerSpec {
  if (peer.kind === "block")
    return { kind: "block", cidr: peer.cidr, except: [...new Set(peer.except)].sort() };
  const namespaces = peer.namespaces
    ? { selector: canonicalSelector(peer.namespaces) }
    : { name: policyNamespace };
  return { kind: "pods", namespaces, pods: canonicalSelector(peer.pods) };
}

/** Equal for peers that say the same. */
export function formatPeer(peer: PeerSpec): string {
  if (peer.kind === "block")
    return peer.except.length === 0 ? peer.cidr : `${peer.cidr} except ${peer.except.join(" ")}`;
  return `pods ${formatSelector(peer.pods)} in ${formatNamespaces(peer.namespaces)}`;
}

export function formatNamespaces(spec: NamespaceSpec): string {
  return "name" in spec ? `namespace ${spec.name}` : `namespaces ${formatSelector(spec.selector)}`;
}

/** The peers that can match addresses of the family, once each and in a fixed order. */
export function peersOfFamily(family: Family, peers: readonly PeerSpec[]): readonly PeerSpec[] {
  const byText = new Map<string, PeerSpec>();
  for (const peer of peers) {
    if (peer.kind === "pods" || cidrFamily(peer.cidr) === family) byText.set(formatPeer(peer), peer);
  }
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, peer]) => peer);
}

/** One line for people; also the content that names the set. */
export function formatSetSpec(spec: SetSpec): string {
  if (spec.kind === "peers") return spec.peers.map(formatPeer).join("; ");
  const names = spec.names.map(({ protocol, name }) => `${protocol}/${name}`).join(", ");
  return `ports ${names} of ${spec.scope === "local" ? "pods of this node" : "all pods"}`;
}

/** By what the set can hold and not by what it holds, so that a set never has to change its type. */
export function setType(spec: SetSpec): IpsetType {
  if (spec.kind === "named-ports") return "hash:ip,port";
  return spec.peers.some(({ kind }) => kind === "block") ? "hash:net" : "hash:ip";
}
