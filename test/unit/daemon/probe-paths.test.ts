// Which addresses the prober tries for a peer, with each backend.
import { expect, it } from "vitest";
import type { Backend, LocalNode, PeerReach } from "../../../src/backends/backend.ts";
import { createPathLister } from "../../../src/daemon/probe-paths.ts";
import type { Lease } from "../../../src/ipam/lease.ts";
import { subnetKeyOf } from "../../../src/ipam/lease.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";

const NODE: LocalNode = {
  uplink: {
    name: "eth0",
    index: 2,
    mtu: 1500,
    addresses: { 4: parseIp("192.0.2.1"), 6: parseIp("2001:db8::1") },
    routes: [],
  },
  publicIps: {},
  macs: {},
};
const LEASE: Lease = {
  nodeName: "n2",
  subnet: parseCidr("10.244.2.0/24"),
  subnet6: parseCidr("fd00:244:2::/64"),
  publicIp: parseIp("192.0.2.2"),
  publicIp6: parseIp("2001:db8::2"),
  backendType: "vxlan",
};
const KEY = subnetKeyOf(LEASE);

function agentWith(how: PeerReach["how"], lease: Lease = LEASE, node: LocalNode = NODE) {
  return {
    reach: [{ subnetKey: subnetKeyOf(lease), how }],
    leases: new Map([[subnetKeyOf(lease), lease]]),
    node,
  };
}

function backend(type: string): Backend {
  return { type, podMtu: () => 1430 } as unknown as Backend;
}

function listed(type: string, how: PeerReach["how"], lease?: Lease, node?: LocalNode): readonly string[] {
  return createPathLister(agentWith(how, lease, node), backend(type))().map(
    ({ via, address, fullBytes, mayBeSilent }) =>
      `${via} ${address} ${fullBytes}${mayBeSilent ? " may be silent" : ""}`,
  );
}

it("are the public IPs with the uplink's MTU, and the tunnel devices' own addresses with the pods'", () => {
  const paths = [
    "underlay 192.0.2.2 1500",
    "overlay 10.244.2.0 1430",
    "underlay 2001:db8::2 1500",
    "overlay fd00:244:2:: 1430",
  ];
  expect(listed("vxlan", "vxlan")).toEqual(paths);
  expect(listed("vxlan", "direct")).toEqual(paths);
});

it("are the bridge's address with host-gw, which comes with the first pod", () => {
  expect(listed("host-gw", "direct")).toContain("overlay 10.244.2.1 1430 may be silent");
});

it("are none of a lease that is not believed, and only the underlay of a peer that cannot be reached", () => {
  expect(listed("vxlan", "ignored")).toEqual([]);
  expect(listed("host-gw", "unreachable")).toEqual(["underlay 192.0.2.2 1500", "underlay 2001:db8::2 1500"]);
});

it("are only those of families that both nodes have", () => {
  const { publicIp6: _without, subnet6: _neither, ...lease4 } = LEASE;
  expect(listed("vxlan", "vxlan", lease4)).toEqual(["underlay 192.0.2.2 1500", "overlay 10.244.2.0 1430"]);
  const node4 = { ...NODE, uplink: { ...NODE.uplink, addresses: { 4: parseIp("192.0.2.1") } } };
  expect(listed("vxlan", "vxlan", LEASE, node4)).toHaveLength(2);
});

it("are the same array as long as nothing changed", () => {
  const agent = agentWith("vxlan");
  const list = createPathLister(agent, backend("vxlan"));
  const before = list();
  expect(list()).toBe(before);
  agent.leases = new Map([[KEY, { ...LEASE, publicIp: parseIp("192.0.2.3") }]]);
  expect(list()[0]?.address).toBe("192.0.2.3");
});
