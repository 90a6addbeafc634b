// The main routing table, both families.
import type { KernelTable, RowFailure } from "../host/kernel-table.ts";
import type { Route } from "../host/state.ts";
import { isAlreadyGone, runBatch } from "./batch.ts";
import {
  familiesOf,
  isOurRoute,
  listRoutesArgs,
  needsRoom,
  ownRouteOf,
  parseRoutes,
  routeMakeRoomArgs,
  routePutArgs,
  routeRemoveArgs,
  sameRoute,
} from "./route-codec.ts";
import type { TableModules } from "./table-modules.ts";

export function createRoutesTable({ ownership, exec }: TableModules): KernelTable<Route> {
  const key = (row: Route): string => row.dst;

  async function put(rows: readonly Route[]): Promise<readonly RowFailure[]> {
    const failures = await runBatch(
      exec,
      "ip",
      rows.map((row) => ({ key: key(row), lines: [routePutArgs(row)] })),
    );
    const reasons = new Map(failures.map((failure) => [failure.key, failure.reason]));
    const obstructed = rows.filter((row) => needsRoom(row, reasons.get(key(row)) ?? ""));
    if (obstructed.length === 0) return failures;
    const again = new Set(obstructed.map(key));
    const stillFailing = await runBatch(
      exec,
      "ip",
      obstructed.map((row) => ({ key: key(row), lines: [routeMakeRoomArgs(row), routePutArgs(row)] })),
      // The row in the way may have gone by itself (ESRCH, from the first line only).
      { isHarmless: (message) => message.includes("No such process") },
    );
    return [...failures.filter((failure) => !again.has(failure.key)), ...stillFailing.map(explain)];
  }

  return {
    name: "routes",
    key,
    equal: sameRoute,
    async list() {
      const families = familiesOf(ownership.networks);
      const dumps = await Promise.all(
        families.map(async (family) =>
          parseRoutes((await exec("ip", listRoutesArgs(family))).stdout, family),
        ),
      );
      return dumps
        .flat()
        .filter((route) => isOurRoute(ownership, route))
        .map(ownRouteOf);
    },
    put,
    remove: (rows) =>
      runBatch(
        exec,
        "ip",
        rows.map((row) => ({ key: key(row), lines: [routeRemoveArgs(row)] })),
        { isHarmless: isAlreadyGone },
      ),
  };
}

function explain(failure: RowFailure): RowFailure {
  if (!failure.reason.includes("device mismatch")) return failure;
  const cure = "a wider route of another program covers this prefix on another device; remove or narrow it";
  return { key: failure.key, reason: `${failure.reason} (${cure})` };
}
