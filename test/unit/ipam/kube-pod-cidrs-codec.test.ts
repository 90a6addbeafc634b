// Which subnets a Node has, and why it has none.
import { expect, test } from "vitest";
import { readPodCidrs } from "../../../src/ipam/kube-pod-cidrs-codec.ts";
import { parseNetworkConfig } from "../../../src/ipam/parse-network-config.ts";

const config = (value: object) =>
  parseNetworkConfig(JSON.stringify({ Backend: { Type: "vxlan" }, ...value }), { allocate: false });
const V4 = config({ Network: "10.244.0.0/16" });
const V6 = config({ EnableIPv4: false, EnableIPv6: true, IPv6Network: "fd00:10:244::/56" });
const DUAL = config({ Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:10:244::/56" });
const node = (podCidr: string | undefined, ...podCidrs: readonly string[]) => ({
  name: "n1",
  podCidr,
  podCidrs,
});

test.each([
  ["podCIDR alone", V4, node("10.244.3.0/24"), { 4: "10.244.3.0/24" }],
  ["podCIDRs", V4, node("10.244.3.0/24", "10.244.3.0/24"), { 4: "10.244.3.0/24" }],
  ["podCIDRs win", V4, node("10.244.9.0/24", "10.244.3.0/24"), { 4: "10.244.3.0/24" }],
  ["any length", V4, node("10.244.3.0/25"), { 4: "10.244.3.0/25" }],
  ["the network itself", V4, node("10.244.0.0/16"), { 4: "10.244.0.0/16" }],
  ["IPv6 alone", V6, node("fd00:10:244:3::/64"), { 6: "fd00:10:244:3::/64" }],
  [
    "both, in either order",
    DUAL,
    node("fd00:10:244:3::/64", "fd00:10:244:3::/64", "10.244.3.0/24"),
    { 4: "10.244.3.0/24", 6: "fd00:10:244:3::/64" },
  ],
  [
    "a family that the network does not have is somebody else's",
    V4,
    node("10.244.3.0/24", "10.244.3.0/24", "fd00:10:244:3::/64"),
    { 4: "10.244.3.0/24" },
  ],
])("%s", (_, network, given, subnets) => {
  expect(readPodCidrs(given, network)).toEqual({ subnets });
});

test.each([
  ["none", V4, node(undefined), "PodCIDRNotAssigned", /pod cidr not assigned.*--allocate-node-cidrs/],
  [
    "not the other family's",
    DUAL,
    node("10.244.3.0/24"),
    "PodCIDRNotAssigned",
    /no IPv6 podCIDR.*IPv6Network/,
  ],
  [
    "outside",
    V4,
    node("10.245.3.0/24"),
    "PodCIDROutsideNetwork",
    /"10.244.0.0\/16" specified in the flannel net config doesn't contain "10.245.3.0\/24" PodCIDR of the "n1" node.*--cluster-cidr/,
  ],
  ["wider than the network", V4, node("10.0.0.0/8"), "PodCIDROutsideNetwork", /doesn't contain/],
  [
    "three",
    V4,
    node("10.244.3.0/24", "10.244.3.0/24", "fd00::/64", "10.244.4.0/24"),
    "PodCIDRInvalid",
    /dualstack/,
  ],
  ["no CIDR", V4, node("ten"), "PodCIDRInvalid", /"ten" is not a CIDR/],
])("%s: says what and the cure", (_, network, given, reason, problem) => {
  expect(readPodCidrs(given, network)).toEqual({
    reason,
    problem: expect.stringMatching(problem) as string,
  });
});
