// Thousands of vxlan peers, as plain leases and as flannel's keys and values in etcd.
import type { Lease } from "../src/ipam/lease.ts";
import type { NetworkConfig } from "../src/ipam/network-config.ts";
import { parseCidr } from "../src/net/cidr.ts";
import { bigintToIp, parseIp } from "../src/net/ip.ts";

/** A /8, so that 5,000 /24 subnets fit. */
export const NETWORK_TEXT = "10.0.0.0/8";

export const CONFIG: NetworkConfig = {
  ipv4: {
    network: parseCidr(NETWORK_TEXT),
    subnetLength: 24,
    min: parseIp("10.0.1.0"),
    max: parseIp("10.255.255.0"),
  },
  enableNftables: false,
  backend: { type: "vxlan", options: { Type: "vxlan" } },
};

/** Peer `n`, 1 to 60,000: subnets from 10.16.0.0, public IPs from 198.18.0.0 (RFC 2544, benchmarking). */
export function peer(n: number): Lease & Required<Pick<Lease, "subnet" | "publicIp">> {
  const hex = n.toString(16).padStart(8, "0");
  return {
    nodeName: `n${n}`,
    subnet: parseCidr(`${bigintToIp(4, 0x0a10_0000n + BigInt(n) * 256n)}/24`),
    publicIp: bigintToIp(4, 0xc612_0000n + BigInt(n)),
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: `0a:00:${hex.match(/../g)?.join(":")}` },
  };
}

export function peers(count: number): readonly Lease[] {
  return Array.from({ length: count }, (_, i) => peer(i + 1));
}
