// Makes the data path of a backend whose packets pass through this program; other backends do not even load its code.
import type { Backend } from "../backends/backend.ts";
import type { DataPath } from "../host/data-path.ts";
import type { Logger } from "../net/logger.ts";

/** @throws {AddonMissingError} with the cure, where the native part cannot be loaded */
export async function openDataPath({ type }: Backend, log: Logger): Promise<DataPath | undefined> {
  if (type !== "udp") return undefined;
  const [{ createDataPath }, { loadUdpAddon }] = await Promise.all([
    import("../kernel/udp/data-path.ts"),
    import("../kernel/udp/addon.ts"),
  ]);
  // At once: a daemon that can never carry a packet must not take a lease.
  const addon = loadUdpAddon();
  return createDataPath({ loadAddon: () => addon, log });
}
