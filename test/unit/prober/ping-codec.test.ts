// What iputils' ping is called with, and what it says.
import { expect, it } from "vitest";
import { parseIp } from "../../../src/net/ip.ts";
import { isIputils, parsePing, pingArguments } from "../../../src/prober/ping-codec.ts";

it("asks for one unfragmented packet of the wanted size", () => {
  expect(pingArguments(parseIp("192.0.2.9"), 1500, 2000).join(" ")).toBe(
    "-4 -n -c 1 -W 2 -M do -s 1472 192.0.2.9",
  );
  expect(pingArguments(parseIp("2001:db8::9"), 1500, 500).join(" ")).toBe(
    "-6 -n -c 1 -W 1 -M do -s 1452 2001:db8::9",
  );
});

it("knows iputils from BusyBox", () => {
  expect(isIputils("ping from iputils 20221126\n")).toBe(true);
  expect(isIputils("BusyBox v1.35.0 multi-call binary.\n")).toBe(false);
});

it.each([
  ["64 bytes from 192.0.2.9: icmp_seq=1 ttl=64 time=0.345 ms", 0, { kind: "answered", rttMs: 0.345 }],
  ["64 bytes from 2001:db8::9: icmp_seq=1 ttl=64 time=12 ms", 0, { kind: "answered", rttMs: 12 }],
  ["1 packets transmitted, 0 received, 100% packet loss, time 0ms", 1, { kind: "lost" }],
  ["ping: local error: message too long, mtu=1400", 1, { kind: "too big", mtu: 1400 }],
  ["ping: sendmsg: Message too long", 1, { kind: "too big" }],
  [
    "From 192.0.2.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)",
    1,
    { kind: "too big", by: "192.0.2.1", mtu: 1400 },
  ],
  [
    "From 2001:db8::1 icmp_seq=1 Packet too big: mtu=1400",
    1,
    { kind: "too big", by: "2001:db8::1", mtu: 1400 },
  ],
  ["From 192.0.2.1 icmp_seq=1 Destination Host Unreachable", 1, { kind: "lost" }],
  ["ping: connect: Network is unreachable", 2, { kind: "lost", reason: "Network is unreachable" }],
  ["ping: sendmsg: Operation not permitted", 1, { kind: "lost", reason: "Operation not permitted" }],
] as const)("%s", (output, exitCode, outcome) => {
  expect(parsePing(exitCode, `PING x\n${output}\n`)).toEqual(outcome);
});
