// The network devices that we create: created, changed in place, or made anew where the kernel allows no change.
import type { KernelTable, RowFailure } from "../host/kernel-table.ts";
import type { Link } from "../host/state.ts";
import { isAlreadyGone, runBatch } from "./batch.ts";
import type { BatchRow } from "./batch.ts";
import {
  attainableMtu,
  hasSameSettings,
  isOurLink,
  isSameDevice,
  LIST_LINKS,
  linkChangeLines,
  linkCreateLines,
  linkRemoveLine,
  parseLinks,
} from "./link-codec.ts";
import type { ListedLink } from "./link-codec.ts";
import type { TableModules } from "./table-modules.ts";

export function createLinksTable({ ownership, exec }: TableModules): KernelTable<Link> {
  const alias = ownership.linkAlias;

  async function readAll(): Promise<ReadonlyMap<string, ListedLink>> {
    const { stdout } = await exec("ip", LIST_LINKS);
    return new Map(parseLinks(stdout).map((link) => [link.name, link]));
  }

  function equal(actual: ListedLink, desired: Link): boolean {
    return isSameDevice(actual, desired) && hasSameSettings(actual, desired, alias);
  }

  /** Reads the devices first: what has to be written depends on what is there, ours or not. */
  async function put(rows: readonly Link[]): Promise<readonly RowFailure[]> {
    const before = await readAll();
    const foreign = rows.flatMap((row) => {
      const actual = before.get(row.name);
      return actual === undefined || isOurLink(ownership, actual) ? [] : [foreignDeviceFailure(actual)];
    });
    const refused = new Set(foreign.map((failure) => failure.key));
    const writes = rows
      .filter((row) => !refused.has(row.name))
      .map((row): BatchRow => ({ key: row.name, lines: linesFor(before.get(row.name), row, alias) }))
      .filter((row) => row.lines.length > 0);
    if (writes.length === 0) return foreign;
    // One process per device, since these lines may not run twice, and an unknown uplink makes `ip` give up on the rest.
    const failures: RowFailure[] = [];
    for (const write of writes) failures.push(...(await runBatch(exec, "ip", [write])));
    return [...foreign, ...failures, ...(await unlikeWanted(rows, failures, refused))];
  }

  /** Reads again: something may set a MAC of its own the moment a device appears. */
  async function unlikeWanted(
    rows: readonly Link[],
    failures: readonly RowFailure[],
    refused: ReadonlySet<string>,
  ): Promise<readonly RowFailure[]> {
    const after = await readAll();
    const failed = new Set(failures.map((failure) => failure.key));
    return rows.flatMap((row) => {
      if (failed.has(row.name) || refused.has(row.name)) return [];
      const actual = after.get(row.name);
      return actual !== undefined && equal(actual, row)
        ? []
        : [{ key: row.name, reason: explainMismatch(actual, row) }];
    });
  }

  return {
    name: "links",
    key: (row) => row.name,
    equal,
    async list() {
      return [...(await readAll()).values()].filter((link) => isOurLink(ownership, link));
    },
    put,
    remove: (rows) =>
      runBatch(
        exec,
        "ip",
        rows.map((row) => ({ key: row.name, lines: [linkRemoveLine(row.name)] })),
        { isHarmless: isAlreadyGone },
      ),
  };
}

function linesFor(actual: ListedLink | undefined, desired: Link, alias: string): BatchRow["lines"] {
  if (actual === undefined) return linkCreateLines(desired, alias);
  if (isSameDevice(actual, desired)) return linkChangeLines(actual, desired, alias);
  return [linkRemoveLine(actual.name), ...linkCreateLines(desired, alias)];
}

function foreignDeviceFailure(actual: ListedLink): RowFailure {
  const what = actual.deviation ?? "is not ours";
  const choice = actual.kind === "tun" ? "Device" : "VNI";
  const reason = `a device of this name exists already and ${what}: rename or delete it, or choose another ${choice}`;
  return { key: actual.name, reason };
}

function explainMismatch(actual: ListedLink | undefined, desired: Link): string {
  if (actual === undefined) return "the device vanished while it was set up";
  if (actual.kind === "vxlan" && desired.kind === "vxlan" && actual.mac !== desired.mac) {
    const cure =
      "something else sets MAC addresses: exclude the device from it (MACAddressPolicy=none in a .link file)";
    return `MAC address is ${actual.mac}, wanted ${desired.mac}; ${cure}`;
  }
  const mtu = attainableMtu(actual, desired);
  if (actual.mtu !== mtu) return `MTU is ${actual.mtu}, wanted ${mtu}`;
  return "the device is not as wanted though every command succeeded; something else changes it";
}
