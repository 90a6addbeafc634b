// Neighbor entries as `ip neigh` reads and prints them. Pure.
import type { Neighbor } from "../host/state.ts";
import { tryParseIp } from "../net/ip.ts";
import { tryParseMac } from "../net/mac.ts";
import { mapJsonRows, textOf } from "./json.ts";

export const LIST_NEIGHBORS: readonly string[] = ["-j", "neigh", "show", "nud", "permanent"];

export function parseNeighbors(stdout: string): readonly Neighbor[] {
  return mapJsonRows(stdout, "ip neigh", (row) => {
    const ip = tryParseIp(textOf(row["dst"]) ?? "");
    const mac = tryParseMac(textOf(row["lladdr"]) ?? "");
    const dev = textOf(row["dev"]);
    return ip === undefined || mac === undefined || dev === undefined ? undefined : { dev, ip, mac };
  });
}

export function neighborPutArgs({ dev, ip, mac }: Neighbor): readonly string[] {
  return ["neigh", "replace", ip, "lladdr", mac, "dev", dev, "nud", "permanent"];
}

export function neighborRemoveArgs({ dev, ip }: Neighbor): readonly string[] {
  return ["neigh", "del", ip, "dev", dev];
}
