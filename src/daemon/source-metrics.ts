// Metrics of the sources of events: how often a list or a watch had to begin anew.
import type { SourceTally } from "../net/source-tally.ts";
import type { Metrics } from "./metrics.ts";

export function registerSourceMetrics(metrics: Metrics): SourceTally {
  const relists = metrics.counter({
    name: "flanneld_source_relists_total",
    help: "Lists of all objects of a source after the first one, by what made them necessary.",
    labels: ["source", "reason"],
  });
  const cuts = metrics.counter({
    name: "flanneld_source_watch_cuts_total",
    help: "Watches of a source that lost their stream before their time, and went on where they were.",
    labels: ["source"],
  });
  return {
    relist: (source, reason) => relists.inc({ source, reason }),
    cut: (source) => cuts.inc({ source }),
  };
}
