// The udp backend's own data path as metrics: packets and bytes that it carried, and what it dropped and why.
import type { DataPathCounters } from "../host/data-path.ts";
import type { MetricSample } from "./metrics-render.ts";
import type { Metrics } from "./metrics.ts";

/** Why a packet was dropped, by the counter that tells (native/udp/counters.h). */
const DROPS: readonly (readonly [counter: string, direction: "sent" | "received", reason: string])[] = [
  ["noRoute", "sent", "no peer"],
  ["sentTtlExpired", "sent", "ttl expired"],
  ["sentMalformed", "sent", "malformed"],
  ["sendErrors", "sent", "send error"],
  ["foreignSource", "received", "foreign source"],
  ["malformed", "received", "malformed"],
  ["truncated", "received", "truncated"],
  ["ttlExpired", "received", "ttl expired"],
  ["writeErrors", "received", "device error"],
];

export function registerDataPathMetrics(metrics: Metrics, read: () => DataPathCounters): void {
  const counter = (
    name: string,
    help: string,
    labels: readonly string[],
    samples: (counters: DataPathCounters) => readonly MetricSample[],
  ): void =>
    metrics.collect({ name: `flanneld_udp_${name}_total`, help, type: "counter", labels }, () =>
      samples(read()),
    );
  const both = (sent: string, received: string) => (counters: DataPathCounters) => [
    { labels: { direction: "sent" }, value: counters[sent] ?? 0 },
    { labels: { direction: "received" }, value: counters[received] ?? 0 },
  ];
  const directions = ["direction"];
  counter(
    "packets",
    "Packets that the udp backend carried.",
    directions,
    both("sentPackets", "receivedPackets"),
  );
  counter("bytes", "Bytes of these packets.", directions, both("sentBytes", "receivedBytes"));
  counter(
    "calls",
    "System calls that carried them; many packets a call is what offload is for.",
    directions,
    both("sentMessages", "receivedMessages"),
  );
  counter(
    "drops",
    "Packets that the udp backend dropped, with the reason.",
    ["direction", "reason"],
    (counters) =>
      DROPS.map(([name, direction, reason]) => ({
        labels: { direction, reason },
        value: counters[name] ?? 0,
      })),
  );
  counter(
    "fragmented",
    "Packets longer than the path allows, sent in fragments: the pods' MTU is too large for it.",
    [],
    ({ sendFragmented = 0 }) => [{ value: sendFragmented }],
  );
  counter("icmp", "ICMP errors that the udp backend answered with.", [], ({ icmpSent = 0 }) => [
    { value: icmpSent },
  ]);
}
