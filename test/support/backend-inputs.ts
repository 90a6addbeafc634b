// Builders of backend inputs, so that a test says only what matters to it.
import type { BackendInput, LocalNode } from "../../src/backends/backend.ts";
import type { Uplink } from "../../src/host/uplink.ts";
import type { Lease } from "../../src/ipam/lease.ts";
import type { NetworkConfig } from "../../src/ipam/network-config.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { parseIp } from "../../src/net/ip.ts";
import { parseMac } from "../../src/net/mac.ts";

export function networkConfig(type: string, options: Record<string, unknown> = {}): NetworkConfig {
  return {
    ipv4: {
      network: parseCidr("10.244.0.0/16"),
      subnetLength: 24,
      min: parseIp("10.244.1.0"),
      max: parseIp("10.244.255.0"),
    },
    enableNftables: false,
    backend: { type, options: { Type: type, ...options } },
  };
}

export function dualStackConfig(type: string, options: Record<string, unknown> = {}): NetworkConfig {
  return {
    ...networkConfig(type, options),
    ipv6: {
      network: parseCidr("fd00:5::/48"),
      subnetLength: 64,
      min: parseIp("fd00:5:0:1::"),
      max: parseIp("fd00:5:0:ffff::"),
    },
  };
}

/** eth0 192.0.2.1/24, default route through 192.0.2.254. */
export const UPLINK: Uplink = {
  name: "eth0",
  index: 2,
  mtu: 1500,
  addresses: { 4: parseIp("192.0.2.1"), 6: parseIp("2001:db8::1") },
  routes: [
    { dst: parseCidr("192.0.2.0/24"), dev: "eth0", metric: 0 },
    { dst: parseCidr("0.0.0.0/0"), via: parseIp("192.0.2.254"), dev: "eth0", metric: 0 },
    { dst: parseCidr("2001:db8::/64"), dev: "eth0", metric: 256 },
    { dst: parseCidr("::/0"), via: parseIp("fe80::1"), dev: "eth0", metric: 1024 },
  ],
};

export const NODE: LocalNode = {
  uplink: UPLINK,
  publicIps: { 4: parseIp("192.0.2.1"), 6: parseIp("2001:db8::1") },
  macs: { 4: parseMac("0a:00:00:00:00:01"), 6: parseMac("0a:06:00:00:00:01") },
};

/** Lease of node `n`: subnet 10.244.n.0/24, public IP 192.0.2.n. */
export function lease(n: number, backendType: string, overrides: Partial<Lease> = {}): Lease {
  const hex = n.toString(16).padStart(2, "0");
  return {
    nodeName: `n${n}`,
    subnet: parseCidr(`10.244.${n}.0/24`),
    publicIp: parseIp(`192.0.2.${n}`),
    backendType,
    ...(backendType === "vxlan" && { backendData: { VNI: 1, VtepMAC: `0a:00:00:00:00:${hex}` } }),
    ...overrides,
  };
}

/** The same with an IPv6 subnet fd00:5:0:n::/64 and public IP 2001:db8::n. */
export function dualLease(n: number, backendType: string, overrides: Partial<Lease> = {}): Lease {
  const hex = n.toString(16).padStart(2, "0");
  return lease(n, backendType, {
    subnet6: parseCidr(`fd00:5:0:${n.toString(16)}::/64`),
    publicIp6: parseIp(`2001:db8::${n.toString(16)}`),
    ...(backendType === "vxlan" && { backendData6: { VNI: 1, VtepMAC: `0a:06:00:00:00:${hex}` } }),
    ...overrides,
  });
}

export function backendInput(
  config: NetworkConfig,
  peers: readonly Lease[],
  node: LocalNode = NODE,
): BackendInput {
  // udp publishes no type (flannel 2.1).
  const type = config.backend.type === "udp" ? "" : config.backend.type;
  const self = config.ipv6 ? dualLease(1, type) : lease(1, type);
  return { config, peers, node, self };
}
