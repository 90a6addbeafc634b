// Metrics: what is recorded is what a scrape reads, in a form that a strict reader takes.
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createMetrics } from "../../../src/daemon/metrics.ts";
import { parsePrometheusText } from "../../support/prometheus-text.ts";

const FAILURES = "flanneld_metric_read_failures_total";

describe("a scrape", () => {
  it("shows what was recorded, in the order of registration", async () => {
    const metrics = createMetrics();
    const passes = metrics.counter({ name: "flanneld_passes_total", help: "Passes.", labels: ["result"] });
    const peers = metrics.gauge({ name: "flanneld_peers", help: "Nodes that we reach." });
    const duration = metrics.histogram({
      name: "flanneld_pass_duration_seconds",
      help: "Time of a pass.",
      buckets: [0.01, 0.1],
    });
    passes.inc({ result: "ok" });
    passes.inc({ result: "ok" }, 2);
    passes.inc({ result: "failed" });
    peers.set(5);
    peers.set(4);
    for (const seconds of [0.005, 0.01, 0.05, 7]) duration.observe(seconds);
    expect(await metrics.render()).toBe(`# HELP ${FAILURES} Metrics that could not be read for a scrape.
# TYPE ${FAILURES} counter
${FAILURES} 0
# HELP flanneld_passes_total Passes.
# TYPE flanneld_passes_total counter
flanneld_passes_total{result="ok"} 3
flanneld_passes_total{result="failed"} 1
# HELP flanneld_peers Nodes that we reach.
# TYPE flanneld_peers gauge
flanneld_peers 4
# HELP flanneld_pass_duration_seconds Time of a pass.
# TYPE flanneld_pass_duration_seconds histogram
flanneld_pass_duration_seconds_bucket{le="0.01"} 2
flanneld_pass_duration_seconds_bucket{le="0.1"} 3
flanneld_pass_duration_seconds_bucket{le="+Inf"} 4
flanneld_pass_duration_seconds_sum 7.065
flanneld_pass_duration_seconds_count 4
`);
  });

  it("leaves a metric with labels out until it has a series", async () => {
    const metrics = createMetrics();
    metrics.counter({ name: "flanneld_denied_total", help: "Denied.", labels: ["pod"] });
    expect([...parsePrometheusText(await metrics.render()).keys()]).toEqual([FAILURES]);
  });

  it("reads what is collected anew each time", async () => {
    const metrics = createMetrics();
    let pods = ["a/x", "a/y"];
    metrics.collect({ name: "flanneld_pods", help: "Pods.", type: "gauge", labels: ["pod"] }, () =>
      pods.map((pod) => ({ labels: { pod }, value: 1 })),
    );
    expect(await metrics.render()).toContain('flanneld_pods{pod="a/y"} 1');
    pods = ["a/x"];
    expect(await metrics.render()).not.toContain("a/y");
  });

  it("goes on without a metric that cannot be read, and counts that", async () => {
    const metrics = createMetrics();
    metrics.collect({ name: "flanneld_bad", help: "Bad.", type: "gauge" }, () =>
      Promise.reject(new Error("no ipset")),
    );
    metrics.gauge({ name: "flanneld_good", help: "Good." }).set(1);
    expect(await metrics.render()).toContain("flanneld_good 1");
    const families = parsePrometheusText(await metrics.render());
    expect(families.has("flanneld_bad")).toBe(false);
    expect(families.get(FAILURES)?.series.get(FAILURES)).toBeGreaterThan(0);
  });

  it("never takes more series than it was told, and loses no count", async () => {
    const metrics = createMetrics();
    const denied = metrics.counter({
      name: "flanneld_denied_total", help: "Denied.", labels: ["pod", "direction"], maxSeries: 3,
    }); // prettier-ignore
    for (let i = 0; i < 1000; i += 1) denied.inc({ pod: `p${i}`, direction: "ingress" });
    const series = parsePrometheusText(await metrics.render()).get("flanneld_denied_total")?.series;
    expect(Object.fromEntries(series ?? [])).toEqual({
      'flanneld_denied_total{pod="p0",direction="ingress"}': 1,
      'flanneld_denied_total{pod="p1",direction="ingress"}': 1,
      'flanneld_denied_total{pod="p2",direction="ingress"}': 1,
      'flanneld_denied_total{pod="other",direction="other"}': 997,
    });
  });

  it("keeps its form whatever label values and numbers there are", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.string({ unit: "binary" }), fc.string(), fc.double({ noNaN: true }))),
        async (records) => {
          const metrics = createMetrics();
          const spec = { help: 'A "help" with \\ and\na line.', labels: ["pod", "kind"] };
          const total = metrics.counter({ name: "flanneld_a_total", ...spec });
          const level = metrics.gauge({ name: "flanneld_b", ...spec });
          const time = metrics.histogram({ name: "flanneld_c_seconds", ...spec });
          for (const [pod, kind, value] of records) {
            total.inc({ pod, kind }, value);
            level.set(value, { pod, kind });
            time.observe(value, { pod, kind });
          }
          const families = parsePrometheusText(await metrics.render());
          const pairs = new Set(records.map(([pod, kind]) => JSON.stringify([pod, kind])));
          expect(families.get("flanneld_b")?.series.size ?? 0).toBe(pairs.size);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe("a registration is refused", () => {
  it.each([
    [
      "a counter without _total",
      (m: ReturnType<typeof createMetrics>) => m.counter({ name: "flanneld_x", help: "X." }),
    ],
    [
      "a gauge with _total",
      (m: ReturnType<typeof createMetrics>) => m.gauge({ name: "flanneld_x_total", help: "X." }),
    ],
    [
      "a name that no metric has",
      (m: ReturnType<typeof createMetrics>) => m.gauge({ name: "flanneld-x", help: "X." }),
    ],
    [
      "a name that histograms need",
      (m: ReturnType<typeof createMetrics>) => m.gauge({ name: "x_count", help: "X." }),
    ],
    [
      "a label of Prometheus' own",
      (m: ReturnType<typeof createMetrics>) => m.histogram({ name: "x_seconds", help: "X.", labels: ["le"] }),
    ],
    ["no help", (m: ReturnType<typeof createMetrics>) => m.gauge({ name: "x", help: "" })],
    [
      "a second of the same name",
      (m: ReturnType<typeof createMetrics>) => m.counter({ name: FAILURES, help: "X." }),
    ],
  ])("for %s", (_, register) => {
    expect(() => register(createMetrics())).toThrow(RangeError);
  });
});

describe("the strict reader of these tests", () => {
  it.each([
    ["a sample without a block", "x 1\n"],
    ["a block without a type", "# HELP x X.\nx 1\n"],
    ["a text in a label that is not escaped", '# HELP x X.\n# TYPE x gauge\nx{a="b"c"} 1\n'],
    ["a series that is there twice", "# HELP x X.\n# TYPE x gauge\nx 1\nx 1\n"],
    [
      "buckets that fall",
      '# HELP x_seconds X.\n# TYPE x_seconds histogram\nx_seconds_bucket{le="1"} 2\nx_seconds_bucket{le="+Inf"} 1\nx_seconds_sum 1\nx_seconds_count 1\n',
    ],
    ["a counter without _total", "# HELP x X.\n# TYPE x counter\nx 1\n"],
    ["a line that does not end", "# HELP x X.\n# TYPE x gauge\nx 1"],
  ])("refuses %s", (_, text) => {
    expect(() => parsePrometheusText(text)).toThrow();
  });
});
