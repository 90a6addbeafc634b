// Who has which address on the underlay, flat or routed. Pure.

/** flat: all nodes on one subnet. routed: odd nodes on one, even nodes on another, a router between them. */
export type Topology = "flat" | "routed";

export const TOPOLOGIES: readonly Topology[] = ["flat", "routed"];

/** Node addresses end in 11 to 250. */
export const MAX_NODES = 240;

/** One segment of the underlay: a bridge in the underlay machine, which is also the segment's router. */
export interface Segment {
  readonly bridge: string;
  readonly router: string;
  readonly router6: string;
  /** The router's. A bridge takes another one when ports go, and neighbors that know the old one lose it for seconds. */
  readonly routerMac: string;
  /** "192.0.2.0/24" */
  readonly prefix: string;
  readonly prefix6: string;
}

/** How a machine is attached to the underlay, by its eth0. */
export interface Attachment {
  readonly segment: Segment;
  readonly address: string;
  readonly address6: string;
}

/** The documentation ranges of RFC 5737 and RFC 3849: they can be nobody's real network. */
export const SEGMENTS = {
  first: segment("br1", "192.0.2", "2001:db8:1"),
  second: segment("br2", "198.51.100", "2001:db8:2"),
  /** Where `outside` lives. */
  outside: segment("br3", "203.0.113", "2001:db8:3"),
} as const;

/** Where nodes reach the lab's etcd: the underlay machine's own address, on the first segment. */
export const UNDERLAY_ADDRESS = SEGMENTS.first.router;
export const UNDERLAY_ADDRESS6 = SEGMENTS.first.router6;

export const OUTSIDE_ATTACHMENT: Attachment = {
  segment: SEGMENTS.outside,
  address: "203.0.113.2",
  address6: "2001:db8:3::2",
};

/** The segments of a topology, without that of `outside`. */
export function planSegments(topology: Topology): readonly Segment[] {
  return topology === "flat" ? [SEGMENTS.first] : [SEGMENTS.first, SEGMENTS.second];
}

/** Node n1 has index 1. @throws {RangeError} outside 1..MAX_NODES */
export function planNodeAttachment(topology: Topology, index: number): Attachment {
  if (!Number.isInteger(index) || index < 1 || index > MAX_NODES) {
    throw new RangeError(`a lab has 1 to ${MAX_NODES} nodes; there is no node ${index}`);
  }
  const segment = topology === "routed" && index % 2 === 0 ? SEGMENTS.second : SEGMENTS.first;
  const host = 10 + index;
  return {
    segment,
    address: segment.router.replace(/\d+$/, String(host)),
    address6: segment.router6.replace(/1$/, host.toString(16)),
  };
}

function segment(bridge: string, net: string, net6: string): Segment {
  return {
    bridge,
    router: `${net}.1`,
    router6: `${net6}::1`,
    routerMac: `02:00:00:00:00:0${bridge.slice(-1)}`,
    prefix: `${net}.0/24`,
    prefix6: `${net6}::/64`,
  };
}
