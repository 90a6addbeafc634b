// Whole passes on the real kernel: what a node shows, taking over from Go flannel, and recovery without gaps.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createHostApplier } from "../../src/host/apply.ts";
import type { ApplyReport, HostApplier } from "../../src/host/apply.ts";
import { EMPTY_HOST_STATE, mergeHostStates } from "../../src/host/state.ts";
import type { HostState } from "../../src/host/state.ts";
import { processesStarted } from "../../src/kernel/exec.ts";
import { createNetTables } from "../../src/kernel/tables.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { createFakeKernel } from "../support/fake-kernel-table.ts";
import { createOverlayNode, FLANNEL_1, OWNERSHIP } from "../support/overlay-node.ts";
import type { OverlayNode } from "../support/overlay-node.ts";
import { overlayPlan, peerRows } from "../support/overlay-plan.ts";

let node: OverlayNode;
let applier: HostApplier;
beforeEach(async () => {
  node = await createOverlayNode();
  applier = newApplier();
});
afterEach(() => node.remove());

/** A daemon that has just started. */
function newApplier(): HostApplier {
  const net = createNetTables({ ownership: OWNERSHIP, exec: node.exec, sysctlFiles: node.sysctlFiles });
  return createHostApplier({ ...net, firewall: createFakeKernel().tables.firewall });
}

async function apply(desired: HostState): Promise<ApplyReport> {
  const report = await applier.apply(desired);
  expect(report.tables.flatMap(({ failed }) => failed)).toEqual([]);
  return report;
}

/** Rows written per table, for tables that were written to. */
function writes({ tables }: ApplyReport): Record<string, string> {
  return Object.fromEntries(
    tables
      .map((table) => [table.table, `+${table.created} ~${table.replaced} -${table.removed}`] as const)
      .filter(([, text]) => text !== "+0 ~0 -0"),
  );
}

const NO_WRITES = {};

it("shows what a healthy vxlan node shows", async () => {
  await apply(overlayPlan({ peers: 2, families: [4], direct: 1 }));
  expect(await node.run("ip -br address show flannel.1")).toContain("10.244.1.0/32");
  expect(await node.run("ip route show dev flannel.1")).toContain(
    "10.244.2.0/24 via 10.244.2.0 proto 250 onlink",
  );
  expect(await node.run("ip route show 10.244.3.0/24")).toContain(
    "10.244.3.0/24 via 192.0.2.3 dev eth0 proto 250",
  );
  expect(await node.run("ip neigh show dev flannel.1 nud permanent")).toBe(
    "10.244.2.0 lladdr 02:00:00:04:00:02 PERMANENT \n",
  );
  expect(await node.run("bridge fdb show dev flannel.1")).toBe(
    "02:00:00:04:00:02 dst 192.0.2.2 self permanent\n",
  );
  expect(await node.sysctlFiles.read("net/ipv6/conf/flannel.1/accept_ra")).toBe("0\n");
});

it("shows the IPv6 twin", async () => {
  await apply(overlayPlan({ peers: 1, families: [6] }));
  expect(await node.run("ip -6 -br address show flannel-v6.1")).toContain("fd00:244:0:1::/128");
  expect(await node.run("ip -6 route show fd00:244:0:2::/64")).toContain(
    "fd00:244:0:2::/64 via fd00:244:0:2:: dev flannel-v6.1 proto 250 metric 1024 onlink",
  );
});

describe("passes", () => {
  const plan = overlayPlan({ peers: 4, families: [4, 6], direct: 1 });

  it("write nothing and start nothing when nothing changed", async () => {
    await apply(plan);
    const before = processesStarted();
    const second = await apply(plan);
    expect(writes(second)).toEqual(NO_WRITES);
    expect(second.tables.some(({ listed }) => listed)).toBe(false);
    expect(processesStarted()).toBe(before);
  });

  it("find nothing to do after a restart", async () => {
    await apply(plan);
    applier = newApplier();
    const { tables } = await apply(plan);
    expect(writes({ tables: tables.filter(({ table }) => table !== "sysctls") })).toEqual(NO_WRITES);
  });

  it("write one row per table for one more peer, in three processes, without a dump", async () => {
    await apply(overlayPlan({ peers: 300, families: [4] }));
    const before = processesStarted();
    const report = await apply(overlayPlan({ peers: 301, families: [4] }));
    expect(writes(report)).toEqual({ routes: "+1 ~0 -0", neighbors: "+1 ~0 -0", fdb: "+1 ~0 -0" });
    expect(report.tables.some(({ listed }) => listed)).toBe(false);
    expect(processesStarted() - before).toBe(3);
  });

  it("sweep what a missed deletion left behind (flannel #2554)", async () => {
    await apply(overlayPlan({ peers: 5, families: [4, 6] }));
    applier = newApplier();
    const report = await apply(overlayPlan({ peers: 2, families: [4, 6] }));
    expect(writes(report)).toMatchObject({ routes: "+0 ~0 -6", neighbors: "+0 ~0 -6", fdb: "+0 ~0 -6" });
  });

  it("remove everything of ours for an empty plan, and nothing else", async () => {
    const before = await node.run("ip -br link", "ip route", "ip -6 route");
    await apply(
      mergeHostStates(plan, {
        routes: [{ dst: parseCidr("10.244.0.0/16"), type: "blackhole", onlink: false }],
      }),
    );
    await apply(EMPTY_HOST_STATE);
    expect(await node.run("ip -br link", "ip route", "ip -6 route")).toBe(before);
  });
});

describe("changes of how a peer is reached", () => {
  for (const [name, first, second] of [
    ["overlay to direct", 0, 3],
    ["direct to overlay", 3, 0],
  ] as const) {
    it(`replace the routes of both families: ${name}`, async () => {
      await apply(overlayPlan({ peers: 3, families: [4, 6], direct: first }));
      await apply(overlayPlan({ peers: 3, families: [4, 6], direct: second }));
      applier.invalidate();
      const check = await apply(overlayPlan({ peers: 3, families: [4, 6], direct: second }));
      expect(writes(check)).toEqual(NO_WRITES);
    });
  }

  it("leave a vxlan network for host-gw: the device goes last", async () => {
    const overlay = overlayPlan({ peers: 3, families: [4, 6] });
    await apply(overlay);
    const { routes } = overlayPlan({ peers: 3, families: [4, 6], direct: 3 });
    await apply({ ...EMPTY_HOST_STATE, routes });
    expect(await node.run("ip -br link show type vxlan")).toBe("");
    expect(await node.run("ip route show proto 250")).toContain("10.244.2.0/24 via 192.0.2.2 dev eth0");
    await apply(overlay);
    expect(await node.run("ip -6 route show dev flannel-v6.1")).toContain(
      "fd00:244:0:2::/64 via fd00:244:0:2::",
    );
  });
});

describe("taking over from Go flannel", () => {
  it("keeps a right vxlan node as it is", async () => {
    const { publicIp, mac } = peerRows(4, 2);
    await node.run(
      "ip link add flannel.1 address 02:00:00:00:00:01 mtu 1450 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning",
      "ip link set flannel.1 up",
      "ip address add 10.244.1.0/32 dev flannel.1",
      `ip neigh replace 10.244.2.0 lladdr ${mac} dev flannel.1 nud permanent`,
      `bridge fdb replace ${mac} dev flannel.1 dst ${publicIp} self permanent`,
      "ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
      // Of a peer that left while flannel was down.
      "ip neigh replace 10.244.9.0 lladdr 02:00:00:00:00:09 dev flannel.1 nud permanent",
      "bridge fdb replace 02:00:00:00:00:09 dev flannel.1 dst 192.0.2.9 self permanent",
      "ip route replace 10.244.9.0/24 via 10.244.9.0 dev flannel.1 onlink",
    );
    const report = await apply(overlayPlan({ peers: 1, families: [4] }));
    expect(writes(report)).toEqual({
      // Our alias.
      links: "+0 ~1 -0",
      sysctls: "+1 ~0 -0",
      routes: "+0 ~0 -1",
      neighbors: "+0 ~0 -1",
      fdb: "+0 ~0 -1",
    });
  });

  it("sweeps its routes of a network that was changed, and leaves those that people lead through the device", async () => {
    const plan = overlayPlan({ peers: 1, families: [4, 6] });
    await apply(plan);
    await node.run(
      "ip route add 10.99.2.0/24 via 10.99.2.0 dev flannel.1 onlink",
      "ip -6 route add fd00:99:0:2::/64 via fd00:99:0:2:: dev flannel-v6.1 onlink",
      "ip route add 172.16.0.0/12 via 10.244.2.0 dev flannel.1 onlink",
      "ip -6 route add fd00:77::/32 dev flannel-v6.1",
    );
    applier = newApplier();
    expect(writes(await apply(plan))).toMatchObject({ routes: "+0 ~0 -2" });
    expect(await node.run("ip route show dev flannel.1")).toContain("172.16.0.0/12 via 10.244.2.0 onlink");
    expect(await node.run("ip -6 route show dev flannel-v6.1")).toContain("fd00:77::/32 ");
  });

  it("replaces host-gw routes in place, and leaves those of others in our network", async () => {
    await node.run(
      "ip route add 10.244.2.0/24 via 192.0.2.2 dev eth0",
      "ip route add 10.244.200.0/24 via 192.0.2.200 dev eth0",
    );
    const { routes } = overlayPlan({ peers: 1, families: [4], direct: 1 });
    await apply({ ...EMPTY_HOST_STATE, routes });
    expect((await node.run("ip route show 10.244.2.0/24")).trim()).toBe(
      "10.244.2.0/24 via 192.0.2.2 dev eth0 proto 250",
    );
    await apply(EMPTY_HOST_STATE);
    expect(await node.run("ip route show")).toContain("10.244.200.0/24 via 192.0.2.200 dev eth0");
  });

  it("replaces an IPv6 host-gw route by an onlink one, which the kernel refuses while the old one stands", async () => {
    await node.run("ip -6 route add fd00:244:0:2::/64 via 2001:db8::2 dev eth0");
    await apply(overlayPlan({ peers: 1, families: [6] }));
    expect(await node.run("ip -6 route show fd00:244:0:2::/64")).toContain("dev flannel-v6.1");
  });
});

describe("a device made anew", () => {
  it("gets all its rows back in the same pass, and that is no repair", async () => {
    const plan = overlayPlan({ peers: 3, families: [4] });
    await apply(plan);
    const report = await apply({ ...plan, links: [{ ...FLANNEL_1, port: 4789 }] });
    expect(writes(report)).toEqual({
      links: "+0 ~1 -0",
      addresses: "+1 ~0 -0",
      sysctls: "+0 ~1 -0",
      routes: "+3 ~0 -0",
      neighbors: "+3 ~0 -0",
      fdb: "+3 ~0 -0",
    });
    expect(report.tables.flatMap(({ repaired }) => Object.values(repaired)).every((n) => n === 0)).toBe(true);
  });

  it("is a repair of every row when somebody deleted it", async () => {
    const plan = overlayPlan({ peers: 3, families: [4] });
    await apply(plan);
    await node.run("ip link del flannel.1");
    applier.invalidate(["links"]);
    const report = await apply(plan);
    expect(
      Object.fromEntries(report.tables.map(({ table, repaired }) => [table, repaired.created])),
    ).toMatchObject({
      links: 1,
      addresses: 1,
      routes: 3,
      neighbors: 3,
      fdb: 3,
    });
  });

  it("loses its neighbors with a MAC change, and gets them back", async () => {
    const plan = overlayPlan({ peers: 3, families: [4] });
    await apply(plan);
    await node.run("ip link set flannel.1 address 02:00:00:00:00:99");
    applier.invalidate(["links"]);
    await apply(plan);
    const shown = await node.run("ip neigh show dev flannel.1 nud permanent");
    expect(shown.trim().split("\n")).toHaveLength(3);
  });
});

describe("several rows under one key", () => {
  it("of flooding, which flannel never asks for, all go", async () => {
    const plan = overlayPlan({ peers: 1, families: [4] });
    await apply(plan);
    await node.run(
      "bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.0.2.98 self permanent",
      "bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.0.2.99 self permanent",
    );
    applier.invalidate(["fdb"]);
    expect(writes(await apply(plan))).toEqual({ fdb: "+0 ~0 -2" });
    expect(await node.run("bridge fdb show dev flannel.1")).toBe(
      "02:00:00:04:00:02 dst 192.0.2.2 self permanent\n",
    );
  });

  for (const [name, command] of [
    ["another metric", "ip route add 10.244.2.0/24 via 192.0.2.99 dev eth0 proto 250 metric 50"],
    [
      "two next hops",
      "ip route add 10.244.2.0/24 metric 50 proto 250 nexthop via 192.0.2.98 dev eth0 nexthop via 192.0.2.99 dev eth0",
    ],
    [
      "another protocol on our device",
      "ip route add 10.244.2.0/24 via 10.244.9.9 dev flannel.1 onlink metric 50",
    ],
    [
      "IPv6 with another metric",
      "ip -6 route add fd00:244:0:2::/64 via 2001:db8::99 dev eth0 proto 250 metric 50",
    ],
  ] as const) {
    it(`of two routes to one destination only the planned one stays: ${name}`, async () => {
      const plan = overlayPlan({ peers: 2, families: [4, 6] });
      await apply(plan);
      const before = await node.run("ip route", "ip -6 route");
      await node.run(command);
      applier.invalidate(["routes"]);
      expect(writes(await apply(plan))).toEqual({ routes: "+0 ~0 -1" });
      expect(await node.run("ip route", "ip -6 route")).toBe(before);
    });
  }

  it("replaces our route with two next hops", async () => {
    const plan = overlayPlan({ peers: 2, families: [4], direct: 2 });
    await apply(plan);
    await node.run(
      "ip route replace 10.244.2.0/24 proto 250 nexthop via 192.0.2.2 dev eth0 nexthop via 192.0.2.99 dev eth0",
    );
    applier.invalidate(["routes"]);
    expect(writes(await apply(plan))).toEqual({ routes: "+0 ~1 -0" });
    expect((await node.run("ip route show 10.244.2.0/24")).trim()).toBe(
      "10.244.2.0/24 via 192.0.2.2 dev eth0 proto 250",
    );
  });
});

it("starts no process for tables of devices where the plan has none", async () => {
  const tables = createNetTables({ ownership: { ...OWNERSHIP, devices: [] }, exec: node.exec });
  const before = processesStarted();
  expect(await tables.neighbors.list()).toEqual([]);
  expect(await tables.fdb.list()).toEqual([]);
  expect(await tables.addresses.list()).toEqual([]);
  expect(processesStarted()).toBe(before);
});

it("survives a change of the own subnet: the last address of a device takes routes and neighbors with it", async () => {
  const plan = overlayPlan({ peers: 3, families: [4] });
  await apply(plan);
  const [address] = plan.addresses;
  if (address === undefined) throw new Error("no address in the plan");
  await apply({ ...plan, addresses: [{ ...address, ip: peerRows(4, 250).base }] });
  applier.invalidate();
  const check = await apply({ ...plan, addresses: [{ ...address, ip: peerRows(4, 250).base }] });
  expect(writes(check)).toEqual(NO_WRITES);
});

it("reports a peer that is not on-link and programs the others", async () => {
  const plan = overlayPlan({ peers: 2, families: [4], direct: 2 });
  const unreachable = {
    dst: parseCidr("10.244.66.0/24"),
    type: "unicast" as const,
    via: peerRows(4, 2).base,
    dev: "eth0",
    onlink: false,
  };
  const report = await applier.apply({ ...plan, routes: [...plan.routes, unreachable] });
  expect(report.tables.flatMap(({ failed }) => failed)).toEqual([
    { key: "10.244.66.0/24", reason: "Error: Nexthop has invalid gateway." },
  ]);
  expect(await node.run("ip route show proto 250")).toContain("10.244.3.0/24 via 192.0.2.3 dev eth0");
});
