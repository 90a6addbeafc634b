// What a failure of the native packet path means, and its cure; what missing offloads cost. Pure.
import { constants } from "node:os";
import type { DataPathPlan } from "../../host/data-path.ts";
import type { UdpState } from "./addon.ts";

/** As the addon throws it: `code` names the step. */
export interface StartFailure {
  readonly code?: string | undefined;
  readonly errno?: number | undefined;
  readonly message: string;
}

/** In words for a person. */
export function explainStartFailure({ code, errno, message }: StartFailure, plan: DataPathPlan): string {
  const what = `the udp data path does not start: ${code ?? "start"}: ${message}`;
  const cure = cureOf(errno ?? 0, code, plan);
  return cure === undefined ? what : `${what}: ${cure}`;
}

function cureOf(errno: number, step: string | undefined, plan: DataPathPlan): string | undefined {
  const address = plan.locals[step === "bind6" ? 6 : 4] ?? "the uplink's address";
  const denied =
    "/dev/net/tun may not be opened or attached; run as root with CAP_NET_ADMIN, in Kubernetes as a privileged container";
  const { ENOENT, ENODEV, EPERM, EACCES, EBUSY, EADDRINUSE, EADDRNOTAVAIL } = constants.errno;
  const noTun =
    "there is no /dev/net/tun; load the module (modprobe tun), and in a container mount /dev/net/tun";
  const cures: readonly (readonly [number, string])[] = [
    [ENOENT, noTun],
    [ENODEV, step === "tun-missing" ? `the device ${plan.device} has gone` : noTun],
    [EPERM, denied],
    [EACCES, denied],
    [
      EBUSY,
      `another program is attached to ${plan.device}; stop it (a flanneld that still runs?), or choose another Backend.Device`,
    ],
    [
      EADDRINUSE,
      `another program has UDP port ${plan.port}; stop it, or choose another Backend.Port for the whole cluster`,
    ],
    [EADDRNOTAVAIL, `${address} is not this host's at the moment`],
  ];
  return cures.find(([number]) => number === errno)?.[1];
}

/** What the kernel does not offer and what that costs; undefined when nothing is missing. */
export function explainOffloads(state: UdpState): string | undefined {
  const missing = [
    ...(state.tcpSegmentation ? [] : ["TCP segmentation on TUN devices (TUN_F_TSO4)"]),
    ...(state.udpSegmentation ? [] : ["UDP segmentation on TUN devices (TUN_F_USO4, Linux 6.2)"]),
    ...(state.udpSegment ? [] : ["UDP_SEGMENT (Linux 4.18, and a device with checksum offload)"]),
    ...(state.udpGro ? [] : ["UDP_GRO (Linux 5.0)"]),
  ];
  if (missing.length === 0) return undefined;
  const cost = state.tcpSegmentation
    ? "throughput is lower than it could be"
    : "each packet is a read and a write of its own: expect about a tenth of the TCP throughput";
  return `without ${missing.join(", ")}: ${cost}`;
}
