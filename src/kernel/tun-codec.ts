// TUN devices as `ip link` prints and `ip tuntap` makes them. Pure.
import type { TunLink } from "../host/state.ts";
import type { JsonObject } from "./json.ts";

/** @param data `linkinfo.info_data` of `ip -j -d link` */
export function parseTun(
  name: string,
  mtu: number,
  data: JsonObject,
): TunLink & { readonly deviation?: string } {
  const deviation = tunDeviation(data);
  return { kind: "tun", name, mtu, ...(deviation !== undefined && { deviation }) };
}

function tunDeviation(data: JsonObject): string | undefined {
  if (data["type"] !== "tun") return "is a TAP device";
  // Go flannel's, for one: its device goes with the process.
  if (data["persist"] !== true) return "is the TUN device of a running program";
  return undefined;
}

/** Batch lines that create the device, which stays when whoever attaches to it has gone. */
export function tunCreateLines({ name, mtu }: TunLink, alias: string): readonly (readonly string[])[] {
  return [
    ["tuntap", "add", "dev", name, "mode", "tun"],
    ["link", "set", "dev", name, "mtu", String(mtu), "alias", alias, "up"],
  ];
}
