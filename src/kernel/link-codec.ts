// Devices as `ip link` reads and prints them, and what it takes to turn one into another. Pure.
import type { Ownership } from "../host/ownership.ts";
import type { Link, VxlanLink } from "../host/state.ts";
import type { Ip } from "../net/ip.ts";
import { familyOf, tryParseIp } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import { tryParseMac } from "../net/mac.ts";
import { arrayOf, numberOf, objectOf, parseJsonRows, textOf } from "./json.ts";
import type { JsonObject } from "./json.ts";
import { parseTun, tunCreateLines } from "./tun-codec.ts";

export const LIST_LINKS: readonly string[] = ["-j", "-d", "link", "show"];

/** What the kernel tells of a device beyond a plan's `Link`. Absent in a row that we have just put: then all is as wanted. */
export interface ListedLinkFacts {
  /** IFF_UP. */
  readonly up?: boolean;
  readonly alias?: string;
  /** Bytes: a larger MTU is cut down to this by the kernel. */
  readonly largestMtu?: number;
  /** Why this device can never be a planned one: another kind, or attributes that we never set. */
  readonly deviation?: string;
}

export type ListedLink = Link & ListedLinkFacts;

/** All devices, whoever made them. */
export function parseLinks(stdout: string): readonly ListedLink[] {
  const rows = parseJsonRows(stdout, "ip link");
  const mtus = new Map(rows.map((row) => [row["ifname"], numberOf(row["mtu"])]));
  return rows.flatMap((row): readonly ListedLink[] => {
    const name = textOf(row["ifname"]);
    if (name === undefined) return [];
    const link = parseLink(row, name);
    if (link.kind === "tun") return [link];
    const uplinkMtu = mtus.get(link.uplink);
    return [uplinkMtu === undefined ? link : { ...link, largestMtu: largestVxlanMtu(uplinkMtu, link.local) }];
  });
}

/**
 * What the kernel allows at most, bytes: the uplink's MTU less the outer headers (drivers/net/vxlan, vxlan_headroom). Flannel
 * asks for 50 bytes less in both families, so over IPv6 the device silently gets 20 less than asked for.
 */
export function largestVxlanMtu(uplinkMtu: number, local: Ip): number {
  return uplinkMtu - (familyOf(local) === 4 ? 50 : 70);
}

/** The MTU that the device can have. */
export function attainableMtu(actual: ListedLink, desired: Link): number {
  return Math.min(desired.mtu, actual.largestMtu ?? desired.mtu);
}

function parseLink(row: JsonObject, name: string): ListedLink {
  const info = objectOf(row["linkinfo"]);
  const kind = textOf(info["info_kind"]) ?? "plain device";
  const data = objectOf(info["info_data"]);
  const facts = {
    up: arrayOf(row["flags"]).includes("UP"),
    alias: textOf(row["ifalias"]) ?? "",
  };
  if (kind === "tun") return { ...parseTun(name, numberOf(row["mtu"]) ?? 0, data), ...facts };
  const deviation = kind === "vxlan" ? vxlanDeviation(data) : `is a ${kind}`;
  return {
    kind: "vxlan",
    name,
    ...facts,
    mac: tryParseMac(textOf(row["address"]) ?? "") ?? ("" as Mac),
    mtu: numberOf(row["mtu"]) ?? 0,
    vni: numberOf(data["id"]) ?? 0,
    port: numberOf(data["port"]) ?? 0,
    local: tryParseIp(textOf(data["local"]) ?? textOf(data["local6"]) ?? "") ?? ("" as Ip),
    uplink: textOf(data["link"]) ?? "",
    learning: data["learning"] === true,
    gbp: data["gbp"] === true,
    ...(deviation === undefined ? {} : { deviation }),
  };
}

/** Attributes that change how a vxlan device forwards and that flannel leaves off; Go flannel compares the same ones. */
function vxlanDeviation(data: JsonObject): string | undefined {
  const strange = [
    "group",
    "group6",
    "remote",
    "remote6",
    "external",
    "l2miss",
    "l3miss",
    "proxy",
    "rsc",
  ].find((name) => data[name] !== undefined && data[name] !== false);
  return strange === undefined ? undefined : `is a vxlan device with ${strange}`;
}

/** Ours: vxlan and TUN devices of a planned name, also when Go flannel made them, and every device with our alias. */
export function isOurLink(ownership: Ownership, link: ListedLink): boolean {
  if (link.alias === ownership.linkAlias) return true;
  return ownership.devices.includes(link.name) && isKindOfOurs(link);
}

function isKindOfOurs(link: ListedLink): boolean {
  return link.deviation === undefined || link.deviation.startsWith("is a vxlan");
}

/** True if only `ip link set` is needed to make `actual` the desired device, or nothing at all. */
export function isSameDevice(actual: ListedLink, desired: Link): boolean {
  if (actual.deviation !== undefined) return false;
  if (desired.kind === "tun" || actual.kind === "tun") return actual.kind === desired.kind;
  return (
    actual.vni === desired.vni &&
    actual.port === desired.port &&
    actual.local === desired.local &&
    actual.uplink === desired.uplink &&
    actual.learning === desired.learning &&
    actual.gbp === desired.gbp
  );
}

/** What `ip link set` can change. */
export function hasSameSettings(actual: ListedLink, desired: Link, alias: string): boolean {
  return (
    macOf(actual) === macOf(desired) &&
    actual.mtu === attainableMtu(actual, desired) &&
    (actual.up ?? true) &&
    (actual.alias ?? alias) === alias
  );
}

/** A TUN device carries IP packets and has none. */
function macOf(link: Link): Mac | undefined {
  return link.kind === "tun" ? undefined : link.mac;
}

/** Batch lines that create the device. */
export function linkCreateLines(link: Link, alias: string): readonly (readonly string[])[] {
  return link.kind === "tun" ? tunCreateLines(link, alias) : vxlanCreateLines(link, alias);
}

/**
 * MAC and MTU come with the creation, so that no program sees the device with another
 * MAC: udev's MACAddressPolicy leaves a device alone whose address was given (NET_ADDR_SET), flannel #1795. `dstport`
 * always, since iproute2 and the kernel disagree on the default. Attributes not named are off, as in flannel.
 */
function vxlanCreateLines(link: VxlanLink, alias: string): readonly (readonly string[])[] {
  return [
    [
      ...`link add name ${link.name} up address ${link.mac} mtu ${link.mtu} txqueuelen 0`.split(" "),
      ...`type vxlan id ${link.vni} local ${link.local} dev ${link.uplink} dstport ${link.port}`.split(" "),
      link.learning ? "learning" : "nolearning",
      ...(link.gbp ? ["gbp"] : []),
    ],
    ["link", "set", "dev", link.name, "alias", alias],
  ];
}

/** Batch lines that change an existing device in place: only what differs, up last. */
export function linkChangeLines(
  actual: ListedLink,
  desired: Link,
  alias: string,
): readonly (readonly string[])[] {
  const set = ["link", "set", "dev", desired.name];
  // `link add` cuts an MTU that is too large, `link set` refuses it.
  const mtu = attainableMtu(actual, desired);
  return [
    ...(desired.kind === "tun" || macOf(actual) === desired.mac ? [] : [[...set, "address", desired.mac]]),
    ...(actual.mtu === mtu ? [] : [[...set, "mtu", String(mtu)]]),
    ...((actual.alias ?? alias) === alias ? [] : [[...set, "alias", alias]]),
    ...((actual.up ?? true) ? [] : [[...set, "up"]]),
  ];
}

export function linkRemoveLine(name: string): readonly string[] {
  return ["link", "del", "dev", name];
}
