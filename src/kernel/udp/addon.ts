// The native packet path (native/udp), loaded when it is needed; its functions as C has them.
import { createRequire } from "node:module";
import { findNativeAddon } from "../native-addon.ts";

declare const handleBrand: unique symbol;
/** A running packet path. */
export type UdpHandle = { readonly [handleBrand]: true };

/** What the kernel offers, and whether all is well. */
export interface UdpState {
  /** Index of the TUN device; 0 if it has gone. */
  readonly tunIndex: number;
  /** Of what ended a thread; 0 while both run. */
  readonly errno: number;
  /** TCP super-packets from and to the TUN device (TUN_F_TSO4, TUN_F_TSO6). */
  readonly tcpSegmentation: boolean;
  /** The same for UDP (TUN_F_USO4, TUN_F_USO6). */
  readonly udpSegmentation: boolean;
  /** Many datagrams in one send (UDP_SEGMENT). */
  readonly udpSegment: boolean;
  /** Many datagrams in one receive (UDP_GRO). */
  readonly udpGro: boolean;
}

/** Addresses are 4 or 16 bytes; empty where there is none. */
export interface UdpAddon {
  /** @throws {Error} `code` is the step that failed, `errno` the kernel's answer */
  start(
    tun: string,
    port: number,
    local4: Uint8Array,
    local6: Uint8Array,
    inner4: Uint8Array,
    inner6: Uint8Array,
    offload: boolean,
    open: boolean,
  ): UdpHandle;
  stop(handle: UdpHandle): void;
  /** Swaps the whole table; see peer-codec.ts. */
  setPeers(handle: UdpHandle, records: Uint8Array): void;
  counters(handle: UdpHandle): Readonly<Record<string, number>>;
  state(handle: UdpHandle): UdpState;
}

export class AddonMissingError extends Error {
  override readonly name = "AddonMissingError";
}

/**
 * Loads udp.node.
 * @param file default: where the build puts it
 * @throws {AddonMissingError} with the cure
 */
export function loadUdpAddon(file?: string): UdpAddon {
  const found = file ?? findNativeAddon("udp");
  const cure =
    "on this machine: apt-get install gcc libc6-dev, then npm run build; or choose another Backend.Type, such as vxlan";
  if (found === undefined) {
    throw new AddonMissingError(
      `the udp backend needs udp.node beside the daemon, and there is none: it was built without a C compiler. ${cure}`,
    );
  }
  try {
    return createRequire(import.meta.url)(found) as UdpAddon;
  } catch (error) {
    throw new AddonMissingError(
      `the udp backend cannot load ${found}: ${(error as Error).message.split("\n", 1)[0]} ` +
        `(it is for ${process.platform} ${process.arch} with glibc, and must be built where it runs). ${cure}`,
      { cause: error },
    );
  }
}
