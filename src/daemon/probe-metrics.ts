// The prober's findings as metrics: round trip, loss and path MTU of every path to every peer.
import type { PathReport, ProbeReport } from "../prober/report.ts";
import type { MetricSample } from "./metrics-render.ts";
import type { Metrics } from "./metrics.ts";

/** Peer, via and family: four paths each for 5,000 dual-stack peers. */
const MAX_SERIES = 20_000;
const LABELS = ["peer", "via", "family"];

export function registerProbeMetrics(metrics: Metrics, report: () => ProbeReport): void {
  const perPath = (name: string, help: string, value: (path: PathReport) => number | undefined): void =>
    metrics.collect({ name, help, type: "gauge", labels: LABELS, maxSeries: MAX_SERIES }, () =>
      samplesOf(report(), value),
    );
  perPath(
    "flanneld_probe_rtt_seconds",
    "Smoothed round trip to a peer; via tells underlay from overlay.",
    ({ rttMs }) => (rttMs === undefined ? undefined : rttMs / 1000),
  );
  perPath(
    "flanneld_probe_loss_ratio",
    "Share of the last 20 echoes to a peer that were lost.",
    ({ loss }) => loss,
  );
  perPath(
    "flanneld_probe_mtu_bytes",
    "Largest packet that was seen to pass to a peer unfragmented.",
    ({ passesBytes }) => passesBytes,
  );
  perPath(
    "flanneld_probe_wanted_mtu_bytes",
    "Packet size that should pass to a peer.",
    ({ fullBytes }) => fullBytes,
  );
  perPath(
    "flanneld_probe_black_hole",
    "1 where big packets to a peer vanish without a word.",
    ({ condition }) => (condition === "black hole" ? 1 : 0),
  );
  metrics.collect(
    {
      name: "flanneld_probe_packets_total",
      help: "Probes sent, and those answered.",
      type: "counter",
      labels: ["event"],
    },
    () => {
      const { sent, answered } = report().summary;
      return [
        { labels: { event: "sent" }, value: sent },
        { labels: { event: "answered" }, value: answered },
      ];
    },
  );
}

function samplesOf(
  report: ProbeReport,
  value: (path: PathReport) => number | undefined,
): readonly MetricSample[] {
  const samples: MetricSample[] = [];
  for (const [peer, paths] of report.peers) {
    for (const path of paths) {
      const figure = value(path);
      if (figure === undefined) continue;
      samples.push({ labels: { peer, via: path.via, family: String(path.family) }, value: figure });
    }
  }
  return samples;
}
