// Start-up decisions of a node, one function each: which uplink, which MACs, which lease.
import { randomBytes } from "node:crypto";
import type { Backend, LocalNode } from "../backends/backend.ts";
import { familiesOf } from "../backends/peers.ts";
import type { UplinkWish } from "../host/choose-uplink.ts";
import type { Link } from "../host/state.ts";
import type { Uplink } from "../host/uplink.ts";
import type { Lease, LeaseAttributes } from "../ipam/lease.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import type { AcquireRequest, PublicIpWish } from "../ipam/subnet-manager.ts";
import type { Family } from "../net/ip.ts";
import { localMacFrom } from "../net/mac.ts";
import type { Mac } from "../net/mac.ts";
import type { Options } from "./options.ts";

/**
 * What the flags and the network's families ask of the uplink (flannel 1.3).
 * @param stored addresses that an administrator has set in the store: they win over the flags (flannel 1.2)
 */
export function uplinkWish(options: Options, config: NetworkConfig, stored: PublicIpWish = {}): UplinkWish {
  const publicIp = stored[4] ?? options.publicIp;
  const publicIp6 = stored[6] ?? options.publicIpv6;
  return {
    families: familiesOf(config),
    ifaces: options.iface,
    ifaceRegexes: options.ifaceRegex,
    ...(options.ifaceCanReach !== undefined && { canReach: options.ifaceCanReach }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIp6 !== undefined && { publicIp6 }),
  };
}

/**
 * The MACs that our overlay devices get. What peers have been told comes first, since their forwarding entries name it;
 * then that of a device that is there already (a daemon before us); else a new one.
 */
export function chooseMacs(
  backend: Backend,
  existing: Lease | undefined,
  links: readonly Link[],
  random: (length: number) => Uint8Array = randomBytes,
): LocalNode["macs"] {
  const published = existing === undefined ? {} : backend.publishedMacs(existing);
  const macs: Partial<Record<Family, Mac>> = {};
  for (const [i, family] of backend.macFamilies.entries()) {
    const device = links.find(({ name }) => name === backend.devices[i]);
    const present = device?.kind === "vxlan" ? device.mac : undefined;
    macs[family] = published[family] ?? present ?? localMacFrom(random(6));
  }
  return macs;
}

/** The request for our lease. `onNode` receives the node as finally described to the peers. */
export function acquireRequest(
  backend: Backend,
  place: { readonly uplink: Uplink; readonly publicIps: LocalNode["publicIps"] },
  host: { readonly links: readonly Link[]; readonly previous: AcquireRequest["previous"] },
  onNode: (node: LocalNode) => void,
): AcquireRequest {
  const publicIp = place.publicIps[4];
  const publicIp6 = place.publicIps[6];
  const publicIps = {
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIp6 !== undefined && { publicIp6 }),
  };
  return {
    ...publicIps,
    ...(host.previous && { previous: host.previous }),
    attributes: (existing): LeaseAttributes => {
      const node: LocalNode = { ...place, macs: chooseMacs(backend, existing, host.links) };
      onNode(node);
      return { ...publicIps, ...backend.attributes(node) };
    },
  };
}
