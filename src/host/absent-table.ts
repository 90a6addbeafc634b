// A kernel table of which nothing is wanted, so that what it stands for need not be there (no iptables on the host).
import type { KernelTable, TableName } from "./kernel-table.ts";

/** Lists nothing and writes nothing. */
export function createAbsentTable<Row>(name: TableName): KernelTable<Row> {
  return {
    name,
    key: () => "",
    equal: () => true,
    list: () => Promise.resolve([]),
    put: () => Promise.resolve([]),
    remove: () => Promise.resolve([]),
  };
}
