// The order of the tables, and that one broken table does not stop the others.
import { beforeEach, expect, it } from "vitest";
import { createHostApplier } from "../../../src/host/apply.ts";
import type { HostApplier } from "../../../src/host/apply.ts";
import { EMPTY_HOST_STATE, mergeHostStates } from "../../../src/host/state.ts";
import type { Chain } from "../../../src/host/state.ts";
import { createFakeKernel } from "../../support/fake-kernel-table.ts";
import type { FakeKernel } from "../../support/fake-kernel-table.ts";
import { FLANNEL_1 } from "../../support/overlay-node.ts";
import { overlayPlan, peerRows } from "../../support/overlay-plan.ts";

let kernel: FakeKernel;
let applier: HostApplier;
beforeEach(() => {
  kernel = createFakeKernel();
  applier = createHostApplier(kernel.tables);
});

const CHAIN: Chain = { kind: "chain", family: 4, table: "nat", name: "FLANNEL-POSTRTG", rules: [] };
const ONE_PEER = mergeHostStates(overlayPlan({ peers: 1, families: [4] }), { firewall: [CHAIN] });

it("builds from the device up to the route", async () => {
  await applier.apply(ONE_PEER);
  expect(kernel.journal).toEqual([
    "links.put flannel.1",
    "firewall.put 4 nat FLANNEL-POSTRTG",
    "addresses.put flannel.1 10.244.1.0/32",
    "sysctls.put net/ipv6/conf/flannel.1/accept_ra",
    "fdb.put flannel.1 02:00:00:04:00:02",
    "neighbors.put flannel.1 10.244.2.0",
    "routes.put 10.244.2.0/24",
  ]);
});

it("takes away from the route down to the device", async () => {
  await applier.apply(ONE_PEER);
  kernel.journal.length = 0;
  await applier.apply(EMPTY_HOST_STATE);
  expect(kernel.journal[0]).toBe("firewall.remove 4 nat FLANNEL-POSTRTG");
  expect(kernel.journal.at(-1)).toBe("links.remove flannel.1");
  expect(kernel.hazards).toEqual([]);
});

it("moves a peer from the overlay to a direct route without a moment in which neither works", async () => {
  await applier.apply(overlayPlan({ peers: 3, families: [4], direct: 0 }));
  kernel.journal.length = 0;
  await applier.apply(overlayPlan({ peers: 3, families: [4], direct: 1 }));
  expect(kernel.journal).toEqual([
    "routes.put 10.244.4.0/24",
    "neighbors.remove flannel.1 10.244.4.0",
    "fdb.remove flannel.1 02:00:00:04:00:04",
  ]);
});

it("puts a new address before it takes the old one, and what the kernel dropped with it", async () => {
  await applier.apply(ONE_PEER);
  kernel.journal.length = 0;
  const moved = { dev: "flannel.1", ip: peerRows(4, 9).base, prefixLength: 32 };
  await applier.apply({ ...ONE_PEER, addresses: [moved] });
  expect(kernel.journal).toEqual([
    "addresses.put flannel.1 10.244.9.0/32",
    "addresses.remove flannel.1 10.244.1.0/32",
  ]);
});

it("programs everything again on a device that had to be made anew, in the same pass", async () => {
  await applier.apply(ONE_PEER);
  const report = await applier.apply({ ...ONE_PEER, links: [{ ...FLANNEL_1, port: 4789 }] });
  expect(kernel.tables.routes.rows.size).toBe(1);
  expect(kernel.tables.neighbors.rows.size).toBe(1);
  expect(kernel.tables.fdb.rows.size).toBe(1);
  expect(report.tables.flatMap(({ repaired }) => Object.values(repaired))).not.toContain(1);
});

it("counts what came back with a device that others deleted as repaired", async () => {
  await applier.apply(ONE_PEER);
  await kernel.tables.links.remove([FLANNEL_1]);
  applier.invalidate(["links"]);
  const report = await applier.apply(ONE_PEER);
  const repaired = report.tables.filter((table) => table.repaired.created > 0).map(({ table }) => table);
  expect(repaired).toEqual(["links", "addresses", "routes", "neighbors", "fdb"]);
});

it("does all other tables when one cannot be reached, and says which", async () => {
  for (const name of ["links", "addresses", "sysctls", "routes", "neighbors", "fdb", "firewall"] as const) {
    const { tables } = createFakeKernel(["eth0", "flannel.1"]);
    tables[name].broken = "no permission";
    const report = await createHostApplier(tables).apply(ONE_PEER);
    expect(report.tables.filter(({ failed }) => failed.length > 0)).toMatchObject([
      { table: name, failed: [{ key: "*", reason: "no permission" }] },
    ]);
    const created = report.tables.filter((table) => table.created > 0).map(({ table }) => table);
    expect(created).toHaveLength(6);
  }
});

it("reports rows whose device could not be made, and programs them when it can", async () => {
  kernel.tables.links.refusals.set("flannel.1", 'Cannot find device "eth0"');
  const first = await applier.apply(ONE_PEER);
  expect(first.tables.filter(({ failed }) => failed.length > 0).map(({ table }) => table)).toEqual([
    "links",
    "addresses",
    "routes",
    "neighbors",
    "fdb",
  ]);
  kernel.tables.links.refusals.clear();
  const second = await applier.apply(ONE_PEER);
  expect(second.tables.flatMap(({ failed }) => failed)).toEqual([]);
  expect(kernel.tables.routes.rows.size).toBe(1);
});

it("lists only the tables that were invalidated", async () => {
  await applier.apply(ONE_PEER);
  applier.invalidate(["routes", "fdb"]);
  const { tables } = await applier.apply(ONE_PEER);
  expect(tables.filter(({ listed }) => listed).map(({ table }) => table)).toEqual(["routes", "fdb"]);
});
