// Plans of a vxlan node with any number of peers, for tests of the reconciler and the kernel tables.
import { mergeHostStates } from "../../src/host/state.ts";
import type { HostState, Link } from "../../src/host/state.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import type { Cidr } from "../../src/net/cidr.ts";
import { parseIp } from "../../src/net/ip.ts";
import type { Family, Ip } from "../../src/net/ip.ts";
import { parseMac } from "../../src/net/mac.ts";
import type { Mac } from "../../src/net/mac.ts";
import { FLANNEL_1, FLANNEL_V6_1 } from "./overlay-node.ts";

export interface OverlayPlanOptions {
  /** Number of peers; node 1 is ourselves, peers are 2, 3, ... */
  readonly peers: number;
  readonly families: readonly Family[];
  /** How many of the peers, the last ones, are reached directly (DirectRouting). */
  readonly direct?: number;
}

export interface PeerRows {
  readonly dst: Cidr;
  readonly base: Ip;
  readonly publicIp: Ip;
  readonly mac: Mac;
}

/** Peer n: 10.244.n.0/24 or fd00:244:0:n::/64, public IP 192.0.2.n or 2001:db8::n; above 255 the bytes carry over. */
export function peerRows(family: Family, n: number): PeerRows {
  const high = n >> 8;
  const low = n & 255;
  const hex = (value: number) => value.toString(16).padStart(2, "0");
  const mac = parseMac(`02:00:00:0${family}:${hex(high)}:${hex(low)}`);
  if (family === 6) {
    const base = parseIp(`fd00:244:0:${n.toString(16)}::`);
    return { dst: parseCidr(`${base}/64`), base, publicIp: parseIp(`2001:db8::${n.toString(16)}`), mac };
  }
  // Up to 255 a /24 each; more only fit as single addresses, which the kernel programs alike.
  const base = parseIp(high === 0 ? `10.244.${low}.0` : `10.244.${low}.${high}`);
  const publicIp = parseIp(`192.0.2.${(n % 250) + (n < 250 ? 0 : 2)}`);
  return { dst: parseCidr(`${base}/${high === 0 ? 24 : 32}`), base, publicIp, mac };
}

const LINKS: Record<Family, Link> = { 4: FLANNEL_1, 6: FLANNEL_V6_1 };

export function overlayPlan({ peers, families, direct = 0 }: OverlayPlanOptions): HostState {
  return mergeHostStates(...families.map((family) => familyPlan(family, peers, direct)));
}

function familyPlan(family: Family, peers: number, direct: number): Partial<HostState> {
  const link = LINKS[family];
  const dev = link.name;
  const all = Array.from({ length: peers }, (_, n) => peerRows(family, n + 2));
  const overlay = all.slice(0, peers - direct);
  return {
    links: [link],
    addresses: [{ dev, ip: peerRows(family, 1).base, prefixLength: family === 4 ? 32 : 128 }],
    sysctls: [{ key: `net/ipv6/conf/${dev}/accept_ra`, value: "0" }],
    routes: [
      ...overlay.map(({ dst, base }) => ({ dst, type: "unicast" as const, via: base, dev, onlink: true })),
      ...all.slice(peers - direct).map(({ dst, publicIp }) => ({
        dst,
        type: "unicast" as const,
        via: publicIp,
        dev: "eth0",
        onlink: false,
      })),
    ],
    neighbors: overlay.map(({ base, mac }) => ({ dev, ip: base, mac })),
    fdb: overlay.map(({ mac, publicIp }) => ({ dev, mac, remote: publicIp })),
  };
}
