// A connection as the kernel tracks it: both directions, so that address translation can be read off.
import type { Family, Ip } from "./ip.ts";

/** Ends as the packets of one direction carry them. */
export interface FlowTuple {
  readonly src: Ip;
  readonly dst: Ip;
  /** Absent where the protocol has no ports. */
  readonly srcPort?: number;
  readonly dstPort?: number;
}

/** One entry of the connection tracking table (conntrack(8)). */
export interface Flow {
  readonly family: Family;
  /** IANA protocol number. */
  readonly protocol: number;
  /** As the first packet was sent, before any translation. */
  readonly original: FlowTuple;
  /** As answers are sent: its source is where the first packet ended up. */
  readonly reply: FlowTuple;
  /** ICMP and ICMPv6: of the first packet. */
  readonly icmp?: { readonly type: number; readonly code: number; readonly id: number };
  /** Conntrack zone; absent is 0. */
  readonly zone?: number;
}

/** IANA protocol numbers. */
export const PROTOCOL_NUMBERS = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
