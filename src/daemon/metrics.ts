// The daemon's metrics: counters, gauges and histograms that parts register and record, and what a scrape is answered.
import type { Logger } from "../net/logger.ts";
import { SILENT_LOGGER } from "../net/logger.ts";
import type { Routes } from "./health-router.ts";
import { METRICS_CONTENT_TYPE, renderMetrics } from "./metrics-render.ts";
import type { MetricFamily, MetricLabels, MetricSample } from "./metrics-render.ts";

export interface MetricSpec {
  /** With `flanneld_` in front and the unit at the end: `_seconds`, `_bytes`; of a counter `_total`. */
  readonly name: string;
  /** One sentence. */
  readonly help: string;
  /** Names of the labels that every series has. */
  readonly labels?: readonly string[];
  /** More series than this are counted together under the label value `other`. Default 200. */
  readonly maxSeries?: number;
}

export interface Counter {
  /** @param by not negative */
  inc(labels?: MetricLabels, by?: number): void;
}

export interface Gauge {
  set(value: number, labels?: MetricLabels): void;
}

export interface Histogram {
  observe(value: number, labels?: MetricLabels): void;
}

export interface HistogramSpec extends MetricSpec {
  /** Upper bounds, rising. Default: `DURATION_BUCKETS`. */
  readonly buckets?: readonly number[];
}

export interface Metrics {
  /** All three begin at zero, and are shown from the start if they have no labels. @throws {RangeError} for a wrong spec */
  counter(spec: MetricSpec): Counter;
  gauge(spec: MetricSpec): Gauge;
  histogram(spec: HistogramSpec): Histogram;
  /** A metric whose series are read at each scrape; where that fails it is left out and the failure is counted. */
  collect(
    spec: MetricSpec & { readonly type: "counter" | "gauge" },
    read: () => Iterable<MetricSample> | Promise<Iterable<MetricSample>>,
  ): void;
  /** Answers a scrape. */
  render(): Promise<string>;
}

/** Seconds: from one millisecond, which no pass undercuts, to the half minute after which a child process is given up. */
export const DURATION_BUCKETS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

const DEFAULT_MAX_SERIES = 200;
const OTHER = "other";

export function createMetrics({ log = SILENT_LOGGER }: { readonly log?: Logger } = {}): Metrics {
  const readers = new Map<string, () => MetricFamily | Promise<MetricFamily>>();
  let failures = 0;
  const register = (
    spec: MetricSpec,
    type: MetricFamily["type"],
    read: () => MetricFamily | Promise<MetricFamily>,
  ) => {
    checkSpec(spec, type);
    if (readers.has(spec.name)) throw new RangeError(`metric ${spec.name} is registered twice`);
    readers.set(spec.name, read);
  };
  const readFamily = async (name: string, read: () => MetricFamily | Promise<MetricFamily>) => {
    try {
      return [await read()];
    } catch (error) {
      failures += 1;
      log.debug({ err: error, metric: name }, "a metric could not be read");
      return [];
    }
  };
  const metrics: Metrics = {
    counter(spec) {
      const values = createSeries(spec, () => ({ value: 0 }));
      register(spec, "counter", () => ({ ...nameOf(spec), type: "counter", samples: values.list() }));
      return {
        inc(labels, by = 1) {
          // A counter that falls would look like a restart.
          if (by > 0) values.of(labels).value += by;
        },
      };
    },
    gauge(spec) {
      const values = createSeries(spec, () => ({ value: 0 }));
      register(spec, "gauge", () => ({ ...nameOf(spec), type: "gauge", samples: values.list() }));
      return {
        set(value, labels) {
          values.of(labels).value = value;
        },
      };
    },
    histogram(spec) {
      const buckets = spec.buckets ?? DURATION_BUCKETS;
      const values = createSeries(spec, () => ({
        counts: Array<number>(buckets.length + 1).fill(0),
        sum: 0,
      }));
      register(spec, "histogram", () => ({
        ...nameOf(spec),
        type: "histogram",
        buckets,
        samples: values.list(),
      }));
      return {
        observe(value, labels) {
          const series = values.of(labels);
          const index = buckets.findIndex((bound) => value <= bound);
          const place = index < 0 ? buckets.length : index;
          series.counts[place] = (series.counts[place] ?? 0) + 1;
          series.sum += value;
        },
      };
    },
    collect(spec, read) {
      register(spec, spec.type, async () => {
        const values = createSeries(spec, () => ({ value: 0 }), false);
        for (const { labels, value } of await read()) values.of(labels).value += value;
        return { ...nameOf(spec), type: spec.type, samples: values.list() };
      });
    },
    async render() {
      const families = await Promise.all([...readers].map(([name, read]) => readFamily(name, read)));
      return renderMetrics(families.flat());
    },
  };
  metrics.collect(
    {
      name: "flanneld_metric_read_failures_total",
      help: "Metrics that could not be read for a scrape.",
      type: "counter",
    },
    () => [{ value: failures }],
  );
  return metrics;
}

/** `/metrics` for the health server. */
export function metricsRoutes(metrics: Metrics): Routes {
  return {
    "/metrics": async () => ({
      status: 200,
      contentType: METRICS_CONTENT_TYPE,
      body: await metrics.render(),
    }),
  };
}

function nameOf({ name, help }: MetricSpec): Pick<MetricFamily, "name" | "help"> {
  return { name, help };
}

interface Series<Value> {
  of(labels?: MetricLabels): Value;
  list(): readonly (Value & { readonly labels: MetricLabels })[];
}

/** The series of one metric, at most so many that no label value from outside can fill the memory. */
function createSeries<Value>(
  { labels: names = [], maxSeries = DEFAULT_MAX_SERIES }: MetricSpec,
  zero: () => Value,
  fromStart = true,
): Series<Value> {
  const series = new Map<string, Value & { readonly labels: MetricLabels }>();
  const find = (labels: MetricLabels): Value => {
    const key = JSON.stringify(names.map((name) => labels[name] ?? ""));
    const known = series.get(key);
    if (known !== undefined) return known;
    const isOther = names.every((name) => labels[name] === OTHER);
    if (names.length > 0 && series.size >= maxSeries && !isOther) return find(allOther(names));
    const added = { labels: Object.fromEntries(names.map((name) => [name, labels[name] ?? ""])), ...zero() };
    series.set(key, added);
    return added;
  };
  if (names.length === 0 && fromStart) find({});
  return { of: (labels = {}) => find(labels), list: () => [...series.values()] };
}

function allOther(names: readonly string[]): MetricLabels {
  return Object.fromEntries(names.map((name) => [name, OTHER]));
}

const METRIC_NAME = /^[a-z_][a-z0-9_]*$/;
/** `le` belongs to histograms, names that begin with two underscores to Prometheus. */
const LABEL_NAME = /^(?!__|le$)[a-z_][a-z0-9_]*$/;

function checkSpec({ name, help, labels = [] }: MetricSpec, type: MetricFamily["type"]): void {
  const isNamed = METRIC_NAME.test(name) && !/_(bucket|sum|count)$/.test(name);
  if (!isNamed || (type === "counter") !== name.endsWith("_total"))
    throw new RangeError(`${name} is no name for a ${type}: a counter ends in _total, and nothing else does`);
  if (help === "") throw new RangeError(`metric ${name} needs a help text`);
  for (const label of labels) {
    if (!LABEL_NAME.test(label)) throw new RangeError(`metric ${name}: ${label} is no name for a label`);
  }
}
