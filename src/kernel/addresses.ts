// The addresses of our devices: ours are IPv4 addresses inside our networks and every global IPv6 address.
import type { KernelTable } from "../host/kernel-table.ts";
import type { Address } from "../host/state.ts";
import {
  addressPutArgs,
  addressRemoveArgs,
  isOurAddress,
  LIST_ADDRESSES,
  parseInterfaces,
} from "./address-codec.ts";
import { isAlreadyGone, runBatch } from "./batch.ts";
import type { TableModules } from "./table-modules.ts";

export function createAddressesTable({ ownership, exec }: TableModules): KernelTable<Address> {
  const key = (row: Address) => `${row.dev} ${row.ip}/${row.prefixLength}`;
  return {
    name: "addresses",
    key,
    equal: () => true,
    async list() {
      if (ownership.devices.length === 0) return [];
      const { stdout } = await exec("ip", LIST_ADDRESSES);
      return parseInterfaces(stdout)
        .flatMap(({ name, addresses }) =>
          addresses.map(({ ip, prefixLength }) => ({ dev: name, ip, prefixLength })),
        )
        .filter((row) => isOurAddress(ownership, row));
    },
    put: (rows) =>
      runBatch(
        exec,
        "ip",
        rows.map((row) => ({ key: key(row), lines: [addressPutArgs(row)] })),
      ),
    remove: (rows) =>
      runBatch(
        exec,
        "ip",
        rows.map((row) => ({ key: key(row), lines: [addressRemoveArgs(row)] })),
        { isHarmless: isAlreadyGone },
      ),
  };
}
