// Reads what choosing and watching an uplink needs: interfaces, their addresses, and the routes of others.
import type { Ownership } from "../host/ownership.ts";
import type { ForeignRoute, HostFacts } from "../host/uplink.ts";
import { FAMILIES } from "../net/ip.ts";
import { LIST_ADDRESSES, parseInterfaces } from "./address-codec.ts";
import type { Exec } from "./exec.ts";
import { isOurRoute, listRoutesArgs, parseRoutes, PROTOCOL_BOOT } from "./route-codec.ts";
import type { ListedRoute } from "./route-codec.ts";

export interface HostFactsModules {
  /** Whose routes to leave out. */
  readonly ownership: Ownership;
  readonly exec: Exec;
}

/** Three processes, side by side. @throws {ExecError} if one fails */
export async function readHostFacts({ ownership, exec }: HostFactsModules): Promise<HostFacts> {
  const [addresses, ...dumps] = await Promise.all([
    exec("ip", LIST_ADDRESSES),
    ...FAMILIES.map(async (family) => parseRoutes((await exec("ip", listRoutesArgs(family))).stdout, family)),
  ]);
  const routes = dumps.flat().filter((route) => !isOurRoute(ownership, route));
  return { interfaces: parseInterfaces(addresses.stdout), routes: routes.map(foreignRouteOf) };
}

function foreignRouteOf({ dst, via, dev, src, metric, protocol }: ListedRoute): ForeignRoute {
  return {
    dst,
    metric,
    ...(via === undefined ? {} : { via }),
    ...(dev === undefined ? {} : { dev }),
    ...(src === undefined ? {} : { src }),
    ...(protocol === PROTOCOL_BOOT && { fromBoot: true }),
  };
}
