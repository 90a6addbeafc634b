// What a vxlan node publishes of itself: flannel's BackendData for vxlan.
import type { Family } from "../net/ip.ts";
import { tryParseMac } from "../net/mac.ts";
import type { Mac } from "../net/mac.ts";
import { backendDataOf } from "./peers.ts";
import type { Lease } from "../ipam/lease.ts";

/** A peer's tunnel end point. */
export interface VtepData {
  /** Absent in what older flannel (0.11 among them) publishes; its nodes all have the configured one. */
  readonly vni: number | undefined;
  readonly mac: Mac;
}

/** The JSON value that flannel publishes. Key order is part of it: older flannel recovers the MAC by string surgery. */
export function formatVtepData({ vni, mac }: { readonly vni: number; readonly mac: Mac }): {
  readonly VNI: number;
  readonly VtepMAC: string;
} {
  return { VNI: vni, VtepMAC: mac };
}

/** Reads a lease's data for one family; the problem text says what is wrong with it. */
export function parseVtepData(lease: Lease, family: Family): VtepData | { readonly problem: string } {
  const data = backendDataOf(lease, family);
  const field = family === 4 ? "BackendData" : "BackendV6Data";
  if (typeof data !== "object" || data === null) return { problem: `its lease has no ${field}` };
  const { VNI: vni, VtepMAC: macText } = data as Record<string, unknown>;
  if (vni !== undefined && !isVni(vni)) return { problem: `its ${field} has no usable VNI (0 to 16777215)` };
  const mac = typeof macText === "string" ? tryParseMac(macText) : undefined;
  // A group address (bit 0 of the first byte) as VTEP would make the kernel flood.
  if (mac === undefined || (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1) {
    return { problem: `its ${field} has no usable VtepMAC` };
  }
  return { vni, mac };
}

function isVni(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 2 ** 24;
}
