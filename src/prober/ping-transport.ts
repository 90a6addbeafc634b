// Probes by the system's ping, one process each: for hosts where raw-socket cannot load.
import type { Ip } from "../net/ip.ts";
import { ExecError } from "../kernel/exec.ts";
import type { Exec } from "../kernel/exec.ts";
import { isIputils, parsePing, pingArguments } from "./ping-codec.ts";
import type { ProbeOutcome, ProbeTransport } from "./probe.ts";

/** Up to 9 milliseconds of CPU each (bench/prober.ts): 0.9% of a core. A prober of many peers is slow this way, and no burden. */
const MAX_PER_SECOND = 1;
const MAX_IN_FLIGHT = 8;
/** ping ends by itself in time; this is for one that hangs. */
const PATIENCE_MS = 3_000;

export interface PingTransportModules {
  readonly exec: Exec;
  /** For tests. */
  readonly maxPerSecond?: number;
}

/** @throws {Error} where there is no ping that fits, with the cure */
export async function createPingTransport({
  exec,
  maxPerSecond = MAX_PER_SECOND,
}: PingTransportModules): Promise<ProbeTransport> {
  const { stdout } = await exec("ping", ["-V"], { allowFailure: true });
  if (!isIputils(stdout))
    throw new Error("ping is not iputils', which alone can forbid fragmentation (Debian: iputils-ping)");
  let closed = false;
  return {
    name: "ping",
    maxPerSecond,
    maxInFlight: MAX_IN_FLIGHT,
    probe: (address, bytes, timeoutMs) =>
      closed
        ? Promise.resolve({ kind: "lost", reason: "the prober has ended" })
        : ping(address, bytes, timeoutMs, exec),
    close: () => {
      closed = true;
    },
  };
}

async function ping(address: Ip, bytes: number, timeoutMs: number, exec: Exec): Promise<ProbeOutcome> {
  try {
    const { exitCode, stdout, stderr } = await exec("ping", pingArguments(address, bytes, timeoutMs), {
      allowFailure: true,
      timeoutMs: timeoutMs + PATIENCE_MS,
    });
    return parsePing(exitCode, `${stdout}\n${stderr}`);
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return { kind: "lost", reason: error.message };
  }
}
