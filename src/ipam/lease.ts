// A lease is one node's claim on a subnet; a lease book is what this daemon knows of all of them.
import type { Cidr } from "../net/cidr.ts";
import type { Ip } from "../net/ip.ts";

/** JSON value that a backend publishes for its peers, e.g. `{"VNI":1,"VtepMAC":"..."}`. Untrusted when it is a peer's. */
export type BackendData = unknown;

/** What a node says of itself (flannel's LeaseAttrs). */
export interface LeaseAttributes {
  /** IPv4; absent in a network without. */
  readonly publicIp?: Ip;
  readonly publicIp6?: Ip;
  /** Lower case; empty for udp and alloc, as flannel writes it. */
  readonly backendType: string;
  readonly backendData?: BackendData;
  readonly backendData6?: BackendData;
}

export interface Lease extends LeaseAttributes {
  /** Kubernetes: the node's name. Etcd has no names; there it is the public IP. */
  readonly nodeName: string;
  /** The IPv4 subnet; absent in a network without. There is always one of the two. */
  readonly subnet?: Cidr;
  readonly subnet6?: Cidr;
  /**
   * Milliseconds since the epoch. Absent for a reservation and for Kubernetes, which do not expire, and for peers in etcd,
   * where asking would cost a call per key.
   */
  readonly expiresAt?: number;
}

/**
 * True if the node with these public IPs holds the lease. IPv4 decides, as in flannel (2.3); IPv6 only where one of the two has
 * no other.
 */
export function isHeldBy(
  lease: Pick<Lease, "publicIp" | "publicIp6">,
  node: { readonly publicIp?: Ip; readonly publicIp6?: Ip },
): boolean {
  if (lease.publicIp !== undefined && node.publicIp !== undefined) return lease.publicIp === node.publicIp;
  return lease.publicIp6 !== undefined && lease.publicIp6 === node.publicIp6;
}

/** Identity of a lease: its subnet text, both families joined by `&` as in flannel's etcd key. */
export type SubnetKey = string;

export function subnetKeyOf(lease: Pick<Lease, "subnet" | "subnet6">): SubnetKey {
  const { subnet, subnet6 } = lease;
  // Asked several times per peer and pass: no list on the way for what most leases are.
  if (subnet6 === undefined) return subnet ?? "";
  return subnet === undefined ? subnet6 : `${subnet}&${subnet6}`;
}

export type LeaseEvent =
  | { readonly type: "put"; readonly lease: Lease }
  | { readonly type: "removed"; readonly subnetKey: SubnetKey }
  /** All leases there are; what is not in it is gone. */
  | { readonly type: "snapshot"; readonly leases: readonly Lease[] };

export type LeaseBook = ReadonlyMap<SubnetKey, Lease>;

/** The book after an event; the one before stays as it was. Unknown, repeated and stale events are normal input. */
export function applyLeaseEvent(book: LeaseBook, event: LeaseEvent): LeaseBook {
  const after = new Map(book);
  foldLeaseEvent(after, event);
  return after;
}

/** The same in place: of thousands of events in a row, each would copy the whole book. */
export function foldLeaseEvent(book: Map<SubnetKey, Lease>, event: LeaseEvent): void {
  switch (event.type) {
    case "put":
      book.set(subnetKeyOf(event.lease), event.lease);
      break;
    case "removed":
      book.delete(event.subnetKey);
      break;
    case "snapshot":
      book.clear();
      for (const lease of event.leases) book.set(subnetKeyOf(lease), lease);
  }
}
