// All kernel tables but the firewall, for the composition root.
import type { KernelTables } from "../host/kernel-table.ts";
import { createAddressesTable } from "./addresses.ts";
import { createFdbTable } from "./fdb.ts";
import { createLinksTable } from "./links.ts";
import { createNeighborsTable } from "./neighbors.ts";
import { createRoutesTable } from "./routes.ts";
import { createSysctlsTable } from "./sysctls.ts";
import type { SysctlFiles } from "./sysctls.ts";
import type { TableModules } from "./table-modules.ts";

export interface NetTableModules extends TableModules {
  /** /proc/sys of the network namespace that `exec` works in; the process's own by default. */
  readonly sysctlFiles?: SysctlFiles;
}

export function createNetTables(modules: NetTableModules): Omit<KernelTables, "firewall"> {
  return {
    links: createLinksTable(modules),
    addresses: createAddressesTable(modules),
    sysctls: createSysctlsTable(modules.sysctlFiles),
    routes: createRoutesTable(modules),
    neighbors: createNeighborsTable(modules),
    fdb: createFdbTable(modules),
  };
}
