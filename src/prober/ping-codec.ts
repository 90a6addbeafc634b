// Command line and output of iputils' ping (ping(8)). Pure.
import { familyOf, tryParseIp } from "../net/ip.ts";
import type { Ip } from "../net/ip.ts";
import type { ProbeOutcome } from "./probe.ts";
import { HEADER_BYTES } from "./probe.ts";

/** One packet of `bytes` bytes with "don't fragment". */
export function pingArguments(address: Ip, bytes: number, timeoutMs: number): readonly string[] {
  const family = familyOf(address);
  const seconds = String(Math.max(1, Math.ceil(timeoutMs / 1000)));
  const payload = String(Math.max(0, bytes - HEADER_BYTES[family]));
  return [`-${family}`, "-n", "-c", "1", "-W", seconds, "-M", "do", "-s", payload, address];
}

/** BusyBox's ping, for one, cannot forbid fragmentation. */
export function isIputils(versionOutput: string): boolean {
  return /\biputils\b/.test(versionOutput);
}

/**
 * How a probe ended. ping exits 1 without an answer and prints the reason on either stream.
 * @param output both streams
 */
export function parsePing(exitCode: number, output: string): ProbeOutcome {
  const rtt = /\btime[=<]([\d.]+) ms/.exec(output)?.[1];
  if (exitCode === 0 && rtt !== undefined) return { kind: "answered", rttMs: Number(rtt) };
  // "ping: local error: message too long, mtu=1400", "From 192.0.2.9 icmp_seq=1 Frag needed and DF set (mtu = 1400)",
  // "From 2001:db8::9 icmp_seq=1 Packet too big: mtu=1400"
  const tooBig = /(?:message too long|Frag needed|Packet too big).*?mtu ?= ?(\d+)/i.exec(output)?.[1];
  if (tooBig !== undefined || /message too long/i.test(output)) {
    const by = tryParseIp(/^From ([0-9a-f.:]*[0-9a-f])[: ]/im.exec(output)?.[1] ?? "");
    const mtu = Number(tooBig ?? 0);
    return { kind: "too big", ...(by !== undefined && { by }), ...(mtu > 0 && { mtu }) };
  }
  const reason = /^ping: (?:connect: |sendmsg: )?(.+)$/m.exec(output)?.[1];
  return { kind: "lost", ...(reason !== undefined && { reason }) };
}
