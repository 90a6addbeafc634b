// Forwarding entries of vxlan devices as `bridge fdb` reads and prints them. Pure.
import type { FdbEntry } from "../host/state.ts";
import { tryParseIp } from "../net/ip.ts";
import { tryParseMac } from "../net/mac.ts";
import { arrayOf, mapJsonRows, textOf } from "./json.ts";

export const LIST_FDB: readonly string[] = ["-j", "fdb", "show"];

/** Permanent entries with a remote, of all devices. Multicast memberships and bridge ports have no remote. */
export function parseFdb(stdout: string): readonly FdbEntry[] {
  return mapJsonRows(stdout, "bridge fdb", (row) => {
    const dev = textOf(row["ifname"]);
    const mac = tryParseMac(textOf(row["mac"]) ?? "");
    const remote = tryParseIp(textOf(row["dst"]) ?? "");
    const isOurs = row["state"] === "permanent" && arrayOf(row["flags"]).includes("self");
    return isOurs && dev !== undefined && mac !== undefined && remote !== undefined
      ? { dev, mac, remote }
      : undefined;
  });
}

/** `permanent` in bridge(8) is NUD_PERMANENT | NUD_NOARP; `self` is the device's own table, not its bridge's. */
export function fdbPutArgs({ dev, mac, remote }: FdbEntry): readonly string[] {
  return ["fdb", "replace", mac, "dev", dev, "dst", remote, "self", "permanent"];
}

/** With the remote: of several remotes of the zero MAC (flooding) only this one goes. */
export function fdbRemoveArgs({ dev, mac, remote }: FdbEntry): readonly string[] {
  return ["fdb", "del", mac, "dev", dev, "dst", remote, "self"];
}
