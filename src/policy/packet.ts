// One packet as policies see it: after DNAT and before SNAT.
import { familyOf } from "../net/ip.ts";
import type { Ip } from "../net/ip.ts";
import type { PolicyProtocol } from "./snapshot.ts";

export interface Packet {
  readonly src: Ip;
  readonly dst: Ip;
  /** `other` stands for every protocol that has no ports and is not ICMP (IGMP, GRE, ...). */
  readonly protocol: PolicyProtocol | "ICMP" | "other";
  /** Destination port, for protocols that have one. */
  readonly port?: number;
  /** ICMP or ICMPv6 type. */
  readonly icmpType?: number;
  /** What connection tracking says of it. */
  readonly state: "new" | "established" | "related" | "invalid";
}

/** MLD (RFC 2710, 3810), router and neighbor solicitation and advertisement (RFC 4861): without them IPv6 stops. */
export const NEIGHBOR_DISCOVERY_TYPES: readonly number[] = [130, 131, 132, 133, 134, 135, 136, 143];

export const ECHO_REQUEST: Readonly<Record<4 | 6, number>> = { 4: 8, 6: 128 };

export function isNeighborDiscovery({ dst, protocol, icmpType }: Packet): boolean {
  return familyOf(dst) === 6 && protocol === "ICMP" && NEIGHBOR_DISCOVERY_TYPES.includes(icmpType ?? -1);
}

export function isEchoRequest({ dst, protocol, icmpType }: Packet): boolean {
  return protocol === "ICMP" && icmpType === ECHO_REQUEST[familyOf(dst)];
}
