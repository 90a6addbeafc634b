// Nodes to leases: who is a peer, who is not, and who gets a subnet that two claim.
import { describe, expect, test } from "vitest";
import { annotationNames } from "../../../src/ipam/kube-annotations-codec.ts";
import { KubeLeaseBook } from "../../../src/ipam/kube-lease-book.ts";
import { applyLeaseEvent } from "../../../src/ipam/lease.ts";
import type { Lease, LeaseBook, LeaseEvent } from "../../../src/ipam/lease.ts";
import { parseNetworkConfig } from "../../../src/ipam/parse-network-config.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { kubeNode } from "../../support/kube-nodes.ts";

const names = annotationNames("flannel.alpha.coreos.com");
const config = parseNetworkConfig('{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}', {
  allocate: false,
});
const DUAL_TEXT =
  '{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:244::/56","Backend":{"Type":"vxlan"}}';
const book = (text?: string) =>
  new KubeLeaseBook({
    ownName: "me",
    names,
    config: text === undefined ? config : parseNetworkConfig(text, { allocate: false }),
  });
const own: Lease = {
  nodeName: "me",
  subnet: parseCidr("10.244.9.0/24"),
  publicIp: parseIp("192.0.2.9"),
  backendType: "vxlan",
};
const fold = (events: readonly LeaseEvent[]): LeaseBook => events.reduce(applyLeaseEvent, new Map());
const holders = (events: readonly LeaseEvent[]) =>
  [...fold(events)].map(([key, { nodeName }]) => `${key} ${nodeName}`);

test("a Node of flanneld's is a lease", () => {
  expect(book().put(kubeNode("n1", { index: 1 }))).toEqual([
    {
      type: "put",
      lease: {
        nodeName: "n1",
        subnet: "10.244.1.0/24",
        publicIp: "192.0.2.101",
        backendType: "vxlan",
        backendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:01" },
      },
    },
  ]);
});

test("both families", () => {
  expect(book(DUAL_TEXT).put(kubeNode("n1", { index: 1, dual: true }))).toMatchObject([
    {
      lease: {
        subnet6: "fd00:10:244:1::/64",
        publicIp6: "2001:db8::1",
        backendData6: { VNI: 1, VtepMAC: "0a:06:00:00:00:01" },
      },
    },
  ]);
});

test.each([
  ["no flanneld there", { "kube-subnet-manager": undefined }, 0],
  ["another word than true", { "kube-subnet-manager": "yes" }, 0],
  ["no public IP", { "public-ip": undefined }, 1],
  ["no address", { "public-ip": "there" }, 1],
  ["an address that nothing can be sent to", { "public-ip": "0.0.0.0" }, 1],
  ["an address of the other family", { "public-ip": "2001:db8::1" }, 1],
])("no lease: %s", (_, annotations, skipped) => {
  const nodes = book();
  expect(nodes.put(kubeNode("n1", { index: 1, annotations }))).toEqual([]);
  expect(nodes.skipped()).toHaveLength(skipped);
});

test("a peer that can no longer be read is removed, named, and back when it is right again", () => {
  const nodes = book();
  const good = kubeNode("n1", { index: 1 });
  nodes.put(good);
  expect(nodes.put(kubeNode("n1", { index: 1, annotations: { "public-ip": "x" } }))).toEqual([
    { type: "removed", subnetKey: "10.244.1.0/24" },
  ]);
  expect(nodes.skipped()).toEqual([
    { nodeName: "n1", reason: expect.stringMatching(/public-ip is "x"/) as string },
  ]);
  expect(nodes.put(good)).toHaveLength(1);
  expect(nodes.skipped()).toEqual([]);
});

describe("changes", () => {
  test("a heartbeat is none, and the lease stays the same object", () => {
    const nodes = book();
    nodes.put(kubeNode("n1", { index: 1 }));
    const before = fold([nodes.snapshot()]).get("10.244.1.0/24");
    expect(nodes.put({ ...kubeNode("n1", { index: 1 }), resourceVersion: "77" })).toEqual([]);
    expect(nodes.replace([kubeNode("n1", { index: 1 })])).toEqual({ type: "snapshot", leases: [before] });
    expect(fold([nodes.snapshot()]).get("10.244.1.0/24")).toBe(before);
  });

  test("in dual stack a change of either family counts", () => {
    for (const change of [
      { "backend-data": '{"VNI":1,"VtepMAC":"0a:00:00:00:00:ff"}' },
      { "backend-v6-data": '{"VNI":1,"VtepMAC":"0a:00:00:00:00:ff"}' },
      { "public-ip": "192.0.2.200" },
      { "public-ipv6": "2001:db8::200" },
    ]) {
      const nodes = book(DUAL_TEXT);
      nodes.put(kubeNode("n1", { index: 1, dual: true }));
      expect(nodes.put(kubeNode("n1", { index: 1, dual: true, annotations: change }))).toMatchObject([
        { type: "put" },
      ]);
    }
  });

  test("another podCIDR: the old subnet goes, the new one comes", () => {
    const nodes = book();
    nodes.put(kubeNode("n1", { index: 1 }));
    expect(nodes.put(kubeNode("n1", { index: 2 }))).toMatchObject([
      { type: "removed", subnetKey: "10.244.1.0/24" },
      { type: "put", lease: { subnet: "10.244.2.0/24" } },
    ]);
  });

  test("what a new list does not have is gone", () => {
    const nodes = book();
    nodes.put(kubeNode("n1", { index: 1 }));
    nodes.put(kubeNode("n2", { index: 2, annotations: { "public-ip": "x" } }));
    expect(holders([nodes.replace([kubeNode("n3", { index: 3 })])])).toEqual(["10.244.3.0/24 n3"]);
    expect(nodes.skipped()).toEqual([]);
  });
});

describe("two Nodes with one podCIDR", () => {
  const first = kubeNode("a", { index: 1 });
  const second = kubeNode("b", { index: 1 });

  test.each([
    ["in order", [first, second]],
    ["the other way", [second, first]],
  ])("the lower name has it, the other is named: %s", (_, order) => {
    const nodes = book();
    const events = order.flatMap((node) => nodes.put(node));
    expect(holders(events)).toEqual(["10.244.1.0/24 a"]);
    expect(nodes.skipped()).toEqual([
      { nodeName: "b", reason: expect.stringMatching(/also that of node "a"/) as string },
    ]);
  });

  test("the other has it when the first goes", () => {
    const nodes = book();
    const events = [...nodes.put(first), ...nodes.put(second), ...nodes.remove("a")];
    expect(holders(events)).toEqual(["10.244.1.0/24 b"]);
    expect(nodes.skipped()).toEqual([]);
  });

  test("ours is ours", () => {
    const nodes = book();
    const thief = kubeNode("a", { index: 9 });
    expect(holders([...nodes.put(thief), ...nodes.setOwn(own)])).toEqual(["10.244.9.0/24 me"]);
    expect(nodes.skipped()[0]?.reason).toMatch(/also this node's own/);
    const moved = { ...own, subnet: parseCidr("10.244.10.0/24") };
    expect(holders([nodes.snapshot(), ...nodes.setOwn(moved)])).toEqual([
      "10.244.9.0/24 a",
      "10.244.10.0/24 me",
    ]);
  });
});
