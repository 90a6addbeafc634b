// A kernel in memory: the same contract as the real tables, with references checked, side effects and injected faults.
import type { KernelTable, KernelTables, RowFailure, TableName } from "../../src/host/kernel-table.ts";
import type { Address, FdbEntry, Link, Neighbor, Route } from "../../src/host/state.ts";
import { familyOf } from "../../src/net/ip.ts";

export interface FakeTable<Row> extends KernelTable<Row> {
  /** What the kernel holds; tests may change it behind everybody's back. */
  readonly rows: Map<string, Row>;
  /** Rows that the kernel refuses to take, by key, with its words. */
  readonly refusals: Map<string, string>;
  /** Set to make every call throw. */
  broken: string | undefined;
  listCalls: number;
}

export interface FakeTableOptions<Row> {
  readonly name: TableName;
  readonly key: (row: Row) => string;
  readonly equal?: (actual: Row, desired: Row) => boolean;
  /** Why the kernel would refuse the row now. */
  readonly objection?: (row: Row) => string | undefined;
  readonly afterPut?: (row: Row, before: Row | undefined) => void;
  readonly afterRemove?: (row: Row) => void;
  /** Told of every write, e.g. "routes.put 10.244.2.0/24". */
  readonly journal?: string[];
}

export function createFakeTable<Row>(options: FakeTableOptions<Row>): FakeTable<Row> {
  const { name, key, journal = [] } = options;
  const rows = new Map<string, Row>();
  const refusals = new Map<string, string>();

  function write(operation: "put" | "remove", row: Row): readonly RowFailure[] {
    const rowKey = key(row);
    const reason = refusals.get(rowKey) ?? (operation === "put" ? options.objection?.(row) : undefined);
    if (reason !== undefined) return [{ key: rowKey, reason }];
    const before = rows.get(rowKey);
    if (operation === "put") {
      rows.set(rowKey, row);
      options.afterPut?.(row, before);
    } else if (rows.delete(rowKey)) {
      options.afterRemove?.(row);
    }
    journal.push(`${name}.${operation} ${rowKey}`);
    return [];
  }

  const table: FakeTable<Row> = {
    name,
    rows,
    refusals,
    broken: undefined,
    listCalls: 0,
    key,
    equal: options.equal ?? ((actual, desired) => JSON.stringify(actual) === JSON.stringify(desired)),
    list: () => {
      table.listCalls += 1;
      return answer(() => [...rows.values()]);
    },
    put: (batch) => answer(() => batch.flatMap((row) => write("put", row))),
    remove: (batch) => answer(() => batch.flatMap((row) => write("remove", row))),
  };

  async function answer<T>(work: () => T): Promise<T> {
    if (table.broken !== undefined) throw new Error(table.broken);
    return await Promise.resolve(work());
  }

  return table;
}

export interface FakeKernel {
  readonly tables: { readonly [Name in keyof KernelTables]: FakeTableOf<KernelTables[Name]> };
  /** Every write, in order. */
  readonly journal: string[];
  /**
   * Moments in which a packet would have been lost though before and after it would not: a route over the overlay
   * without the neighbor or the FDB entry that it needs.
   */
  readonly hazards: string[];
}

type FakeTableOf<Table> = Table extends KernelTable<infer Row> ? FakeTable<Row> : never;

/** The tables together: rows need their device, go with it, and drop what the kernel drops. */
export function createFakeKernel(otherDevices: readonly string[] = ["eth0"]): FakeKernel {
  const journal: string[] = [];
  const hazards: string[] = [];
  const onMissingDevice = (dev: string | undefined): string | undefined =>
    dev === undefined || otherDevices.includes(dev) || links.rows.has(dev)
      ? undefined
      : `Cannot find device "${dev}"`;

  function checkOverlay(moment: string): void {
    for (const { dev, via, dst } of routes.rows.values()) {
      if (dev === undefined || via === undefined || !links.rows.has(dev)) continue;
      const neighbor = neighbors.rows.get(`${dev} ${via}`);
      if (neighbor === undefined)
        hazards.push(`${moment}: ${dst} leads to ${via}, which has no neighbor entry`);
      else if (!fdb.rows.has(`${dev} ${neighbor.mac}`))
        hazards.push(`${moment}: ${dst}: no FDB entry for ${neighbor.mac}`);
    }
  }

  function dropWhere<Row>(table: FakeTable<Row>, goes: (row: Row) => boolean): void {
    for (const [key, row] of table.rows) if (goes(row)) table.rows.delete(key);
  }

  function dropDevice(name: string): void {
    const isOnIt = (row: { readonly dev?: string }) => row.dev === name;
    dropWhere(routes, isOnIt);
    dropWhere(addresses, isOnIt);
    dropWhere(neighbors, isOnIt);
    dropWhere(fdb, isOnIt);
  }

  const links = createFakeTable<Link>({
    name: "links",
    key: (row) => row.name,
    journal,
    afterPut: (row, before) => {
      if (before?.kind !== "vxlan" || row.kind !== "vxlan") return;
      if (before.port !== row.port) dropDevice(row.name);
      if (before.mac !== row.mac) dropWhere(neighbors, ({ dev }) => dev === row.name);
    },
    afterRemove: (row) => dropDevice(row.name),
  });
  const addresses = createFakeTable<Address>({
    name: "addresses",
    key: (row) => `${row.dev} ${row.ip}/${row.prefixLength}`,
    journal,
    objection: ({ dev }) => onMissingDevice(dev),
    afterRemove({ dev, ip }) {
      const family = familyOf(ip);
      if ([...addresses.rows.values()].some((row) => row.dev === dev && familyOf(row.ip) === family)) return;
      dropWhere(routes, (row) => row.dev === dev && row.dst.includes(":") === (family === 6));
      dropWhere(neighbors, (row) => row.dev === dev && familyOf(row.ip) === family);
    },
  });
  const routes = createFakeTable<Route>({
    name: "routes",
    key: (row) => row.dst,
    journal,
    objection: ({ dev }) => onMissingDevice(dev),
    afterPut: (row) => checkOverlay(`after putting route ${row.dst}`),
  });
  const neighbors = createFakeTable<Neighbor>({
    name: "neighbors",
    key: (row) => `${row.dev} ${row.ip}`,
    journal,
    objection: ({ dev }) => onMissingDevice(dev),
    afterRemove: (row) => checkOverlay(`after removing neighbor ${row.ip}`),
  });
  const fdb = createFakeTable<FdbEntry>({
    name: "fdb",
    key: (row) => `${row.dev} ${row.mac}`,
    journal,
    objection: ({ dev }) => onMissingDevice(dev),
    afterRemove: (row) => checkOverlay(`after removing FDB entry ${row.mac}`),
  });
  const tables = {
    links,
    addresses,
    sysctls: createFakeTable<KernelRow<"sysctls">>({ name: "sysctls", key: (row) => row.key, journal }),
    routes,
    neighbors,
    fdb,
    firewall: createFakeTable<KernelRow<"firewall">>({
      name: "firewall",
      key: (row) =>
        row.kind === "chain" ? `${row.family} ${row.table} ${row.name}` : `${row.from} ${row.rule.join(" ")}`,
      journal,
    }),
  };
  return { tables, journal, hazards };
}

type KernelRow<Name extends keyof KernelTables> =
  KernelTables[Name] extends KernelTable<infer Row> ? Row : never;
