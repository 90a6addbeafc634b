// The alloc backend: a lease and subnet.env, no data path (flannel 4.8); routing is somebody else's.
import { EMPTY_HOST_STATE } from "../host/state.ts";
import { subnetKeyOf } from "../ipam/lease.ts";
import type { Backend } from "./backend.ts";

export function createAllocBackend(): Backend {
  return {
    type: "alloc",
    devices: [],
    macFamilies: [],
    podMtu: (uplink) => uplink.mtu,
    attributes: () => ({ backendType: "" }),
    publishedMacs: () => ({}),
    plan: ({ peers }) => ({
      state: EMPTY_HOST_STATE,
      reach: peers.map((peer) => ({
        subnetKey: subnetKeyOf(peer),
        how: "ignored",
        problem: "backend alloc programs no routes; something else must",
      })),
    }),
  };
}
