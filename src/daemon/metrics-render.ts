// Metrics as text in the Prometheus exposition format, version 0.0.4. Pure.

/** Content type of the format (prometheus.io/docs/instrumenting/exposition_formats). */
export const METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export type MetricLabels = Readonly<Record<string, string>>;

export interface MetricSample {
  readonly labels?: MetricLabels;
  readonly value: number;
}

/** What a histogram has seen under one set of labels. */
export interface HistogramSample {
  readonly labels?: MetricLabels;
  /** Observations in each bucket alone, not in those below it; one more than there are bounds, for what is above all. */
  readonly counts: readonly number[];
  readonly sum: number;
}

/** One metric with all of its series. */
export type MetricFamily = { readonly name: string; readonly help: string } & (
  | { readonly type: "counter" | "gauge"; readonly samples: readonly MetricSample[] }
  | {
      readonly type: "histogram";
      /** Upper bounds, inclusive and rising, without the infinite one. */
      readonly buckets: readonly number[];
      readonly samples: readonly HistogramSample[];
    }
);

/** The whole answer to a scrape. A metric without series is left out. */
export function renderMetrics(families: readonly MetricFamily[]): string {
  return families
    .filter(({ samples }) => samples.length > 0)
    .map(renderFamily)
    .join("");
}

function renderFamily(family: MetricFamily): string {
  const { name, help, type } = family;
  const head = [`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`];
  const lines =
    family.type === "histogram"
      ? family.samples.flatMap((sample) => renderHistogram(name, family.buckets, sample))
      : family.samples.map(({ labels, value }) => renderLine(name, labels, value));
  return `${[...head, ...lines].join("\n")}\n`;
}

/** Buckets are cumulative on the wire. */
function renderHistogram(
  name: string,
  buckets: readonly number[],
  { labels, counts, sum }: HistogramSample,
): readonly string[] {
  let total = 0;
  const lines = [...buckets, Number.POSITIVE_INFINITY].map((bound, index) => {
    total += counts[index] ?? 0;
    return renderLine(`${name}_bucket`, { ...labels, le: formatNumber(bound) }, total);
  });
  return [...lines, renderLine(`${name}_sum`, labels, sum), renderLine(`${name}_count`, labels, total)];
}

function renderLine(name: string, labels: MetricLabels = {}, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${formatNumber(value)}`;
}

/** As Go's strconv.ParseFloat reads them. */
function formatNumber(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
