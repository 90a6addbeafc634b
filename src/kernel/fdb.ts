// The forwarding database of our vxlan devices: ours are the permanent entries on our devices.
import type { KernelTable } from "../host/kernel-table.ts";
import type { FdbEntry } from "../host/state.ts";
import { isAlreadyGone, runBatch } from "./batch.ts";
import { fdbPutArgs, fdbRemoveArgs, LIST_FDB, parseFdb } from "./fdb-codec.ts";
import type { TableModules } from "./table-modules.ts";

export function createFdbTable({ ownership, exec }: TableModules): KernelTable<FdbEntry> {
  const devices = new Set(ownership.devices);
  // Without the remote, so that a peer that moves is one replace. Only group and zero MACs can have several, never ours.
  const key = (row: FdbEntry) => `${row.dev} ${row.mac}`;
  return {
    name: "fdb",
    key,
    equal: (actual, desired) => actual.remote === desired.remote,
    async list() {
      if (devices.size === 0) return [];
      const { stdout } = await exec("bridge", LIST_FDB);
      return parseFdb(stdout).filter((row) => devices.has(row.dev));
    },
    put: (rows) =>
      runBatch(
        exec,
        "bridge",
        rows.map((row) => ({ key: key(row), lines: [fdbPutArgs(row)] })),
      ),
    remove: (rows) =>
      runBatch(
        exec,
        "bridge",
        rows.map((row) => ({ key: key(row), lines: [fdbRemoveArgs(row)] })),
        { isHarmless: isAlreadyGone },
      ),
  };
}
