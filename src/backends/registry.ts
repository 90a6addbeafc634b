// Backend type -> backend.
import type { NetworkConfig } from "../ipam/network-config.ts";
import { InvalidValueError } from "../net/errors.ts";
import { createAllocBackend } from "./alloc.ts";
import type { Backend } from "./backend.ts";
import { createHostGwBackend } from "./host-gw.ts";
import { createUdpBackend } from "./udp.ts";
import { createVxlanBackend } from "./vxlan.ts";

const BACKENDS: Readonly<Record<string, (config: NetworkConfig) => Backend>> = {
  vxlan: createVxlanBackend,
  "host-gw": createHostGwBackend,
  udp: createUdpBackend,
  alloc: createAllocBackend,
};

export const BACKEND_TYPES: readonly string[] = Object.keys(BACKENDS);

/** Makes the configured backend and validates its options. @throws {InvalidValueError} */
export function createBackend(config: NetworkConfig): Backend {
  const create = Object.hasOwn(BACKENDS, config.backend.type) ? BACKENDS[config.backend.type] : undefined;
  if (create === undefined) {
    throw new InvalidValueError(
      `unknown backend type: ${config.backend.type} (this version has ${BACKEND_TYPES.join(", ")}); ` +
        "change Backend.Type with `flanneld-ts config set`",
    );
  }
  return create(config);
}
