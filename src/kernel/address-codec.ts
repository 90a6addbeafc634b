// Interface addresses as `ip address` reads and prints them, and whose they are. Pure.
import type { Ownership } from "../host/ownership.ts";
import type { Address } from "../host/state.ts";
import type { HostInterface, InterfaceAddress } from "../host/uplink.ts";
import { cidrContainsIp } from "../net/cidr.ts";
import { familyOf, isLinkLocal, tryParseIp } from "../net/ip.ts";
import { arrayOf, numberOf, objectOf, parseJsonRows, textOf } from "./json.ts";

export const LIST_ADDRESSES: readonly string[] = ["-j", "address", "show"];

/** All interfaces with their addresses. */
export function parseInterfaces(stdout: string): readonly HostInterface[] {
  return parseJsonRows(stdout, "ip address").flatMap((row) => {
    const name = textOf(row["ifname"]);
    const index = numberOf(row["ifindex"]);
    if (name === undefined || index === undefined) return [];
    const addresses = arrayOf(row["addr_info"]).flatMap((info) => parseAddress(info) ?? []);
    const up = arrayOf(row["flags"]).includes("UP");
    const master = textOf(row["master"]);
    return [
      { name, index, mtu: numberOf(row["mtu"]) ?? 0, up, ...(master !== undefined && { master }), addresses },
    ];
  });
}

function parseAddress(value: unknown): InterfaceAddress | undefined {
  const info = objectOf(value);
  const ip = tryParseIp(textOf(info["local"]) ?? "");
  const prefixLength = numberOf(info["prefixlen"]);
  if (ip === undefined || prefixLength === undefined) return undefined;
  return {
    ip,
    prefixLength,
    scope: scopeOf(textOf(info["scope"])),
    dynamic: info["dynamic"] === true,
    temporary: info["temporary"] === true,
    deprecated: info["deprecated"] === true,
  };
}

/** Scopes of one's own making (/etc/iproute2/rt_scopes) count as global, which is what the kernel does for IPv4. */
function scopeOf(text: string | undefined): InterfaceAddress["scope"] {
  return text === "site" || text === "link" || text === "host" ? text : "global";
}

/** As Go flannel decides it (flannel, EnsureV4AddressOnLink and its IPv6 twin). */
export function isOurAddress(ownership: Ownership, { dev, ip }: Pick<Address, "dev" | "ip">): boolean {
  if (!ownership.devices.includes(dev)) return false;
  return familyOf(ip) === 6
    ? !isLinkLocal(ip)
    : ownership.networks.some((network) => cidrContainsIp(network, ip));
}

/** `nodad`: no other host can have the address, and a tentative one cannot be the source of traffic for a second. */
export function addressPutArgs({ dev, ip, prefixLength }: Address): readonly string[] {
  return [
    "address",
    "replace",
    `${ip}/${prefixLength}`,
    "dev",
    dev,
    ...(familyOf(ip) === 6 ? ["nodad"] : []),
  ];
}

export function addressRemoveArgs({ dev, ip, prefixLength }: Address): readonly string[] {
  return ["address", "del", `${ip}/${prefixLength}`, "dev", dev];
}
