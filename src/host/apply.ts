// Makes the whole host equal to the plan: every table, in the one order that never breaks traffic that should flow.
import type { KernelTables, TableName } from "./kernel-table.ts";
import type { HostState } from "./state.ts";
import { createTableReconciler } from "./table-reconciler.ts";
import type { TablePass, TableReport } from "./table-reconciler.ts";

export interface ApplyReport {
  /** One per table, in the order of the steps. */
  readonly tables: readonly TableReport[];
}

export interface HostApplier {
  /**
   * Writes the difference between the kernel and `desired`. Never throws: failures are in the report, and a table that
   * had one is listed again next time. One call at a time; the caller's loop sees to it.
   */
  apply(desired: HostState): Promise<ApplyReport>;
  /** Says that something may have changed these tables behind our back (all by default): the next `apply` lists them. */
  invalidate(names?: readonly TableName[]): void;
}

export const TABLE_NAMES: readonly TableName[] = [
  "links",
  "firewall",
  "addresses",
  "sysctls",
  "routes",
  "neighbors",
  "fdb",
];

/** What lives on a device, and goes when the device goes. */
const ON_DEVICES: readonly TableName[] = ["addresses", "sysctls", "routes", "neighbors", "fdb"];
/** What the kernel drops when an address goes: with the last one of a device, everything that used it. */
const ON_ADDRESSES: readonly TableName[] = ["routes", "neighbors"];

/** Two methods of every reconciler, whatever its rows are. */
type Reconcilers = ReturnType<typeof createReconcilers>;

function createReconcilers(tables: KernelTables) {
  return {
    links: createTableReconciler(tables.links),
    firewall: createTableReconciler(tables.firewall),
    addresses: createTableReconciler(tables.addresses),
    sysctls: createTableReconciler(tables.sysctls),
    routes: createTableReconciler(tables.routes),
    neighbors: createTableReconciler(tables.neighbors),
    fdb: createTableReconciler(tables.fdb),
  };
}

export function createHostApplier(tables: KernelTables): HostApplier {
  const reconcilers = createReconcilers(tables);
  return {
    apply: (desired) => applyInOrder(reconcilers, desired),
    invalidate(names = TABLE_NAMES) {
      for (const name of names) reconcilers[name].invalidate("outside");
    },
  };
}

async function applyInOrder(tables: Reconcilers, desired: HostState): Promise<ApplyReport> {
  // Devices come first: everything else names them.
  const links = await tables.links.plan(desired.links);
  await links.putMissing();
  // A device that was made anew has lost its rows, one that was down its routes; one that got its MAC back, its neighbors.
  mistrustAfter(links, ON_DEVICES, tables);

  // Before any route brings traffic: what is masqueraded and what may be forwarded.
  const firewall = await putThenRemove(tables.firewall.plan(desired.firewall));

  // New addresses before old ones go, so that no device is without one for a moment.
  const addresses = await putThenRemove(tables.addresses.plan(desired.addresses));
  if (addresses.report().removed > 0) mistrustAfter(addresses, ON_ADDRESSES, tables);
  const sysctls = await putThenRemove(tables.sysctls.plan(desired.sysctls));

  const [routes, neighbors, fdb] = await Promise.all([
    tables.routes.plan(desired.routes),
    tables.neighbors.plan(desired.neighbors),
    tables.fdb.plan(desired.fdb),
  ]);
  // A peer that left: its route goes first, so that no packet is sent to a neighbor or VTEP that has gone.
  await routes.removeStale();
  // A peer that came: its VTEP is known before a route leads there.
  await Promise.all([fdb.putMissing(), neighbors.putMissing()]);
  await routes.putMissing();
  // Only now: a route that moved off the overlay needed these until it had moved.
  await Promise.all([neighbors.removeStale(), fdb.removeStale()]);

  // Stale devices last: by now their routes lead elsewhere.
  await links.removeStale();

  return {
    tables: [links, firewall, addresses, sysctls, routes, neighbors, fdb].map((pass) => pass.report()),
  };
}

async function putThenRemove(planned: Promise<TablePass>): Promise<TablePass> {
  const pass = await planned;
  await pass.putMissing();
  await pass.removeStale();
  return pass;
}

/** The kernel drops rows of other tables with what `pass` wrote. Unless that was a repair, their loss is our own doing. */
function mistrustAfter(pass: TablePass, dependents: readonly TableName[], tables: Reconcilers): void {
  const { created, replaced, removed, repaired, failed } = pass.report();
  // A write that failed may have got half-way.
  if (created + replaced + removed + failed.length === 0) return;
  const repairs = repaired.created + repaired.replaced + repaired.removed;
  for (const name of dependents) tables[name].invalidate(repairs > 0 ? "outside" : "ourselves");
}
