// The kernel's neighbor table (ARP and NDP): ours are the permanent entries on our devices.
import type { KernelTable } from "../host/kernel-table.ts";
import type { Neighbor } from "../host/state.ts";
import { isAlreadyGone, runBatch } from "./batch.ts";
import { LIST_NEIGHBORS, neighborPutArgs, neighborRemoveArgs, parseNeighbors } from "./neighbor-codec.ts";
import type { TableModules } from "./table-modules.ts";

export function createNeighborsTable({ ownership, exec }: TableModules): KernelTable<Neighbor> {
  const devices = new Set(ownership.devices);
  const key = (row: Neighbor) => `${row.dev} ${row.ip}`;
  return {
    name: "neighbors",
    key,
    equal: (actual, desired) => actual.mac === desired.mac,
    async list() {
      if (devices.size === 0) return [];
      const { stdout } = await exec("ip", LIST_NEIGHBORS);
      return parseNeighbors(stdout).filter((row) => devices.has(row.dev));
    },
    put: (rows) =>
      runBatch(
        exec,
        "ip",
        rows.map((row) => ({ key: key(row), lines: [neighborPutArgs(row)] })),
      ),
    remove: (rows) =>
      runBatch(
        exec,
        "ip",
        rows.map((row) => ({ key: key(row), lines: [neighborRemoveArgs(row)] })),
        { isHarmless: isAlreadyGone },
      ),
  };
}
