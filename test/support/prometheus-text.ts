// Reads the Prometheus text format and refuses whatever promtool would refuse, and some of what it would only warn of.

export interface ParsedFamily {
  readonly type: string;
  readonly help: string;
  /** By the series as it is written, e.g. `x_bucket{le="1"}`. */
  readonly series: ReadonlyMap<string, number>;
}

interface OpenFamily {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly series: Map<string, number>;
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = `[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"`;
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})? (\\S+)$`);
const UNITS_NOT_BASE = /_(milliseconds|ms|minutes|hours|kilobytes|megabytes|percent)(_total)?$/;

/** @throws {Error} naming the line that is wrong */
export function parsePrometheusText(text: string): ReadonlyMap<string, ParsedFamily> {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, OpenFamily>();
  const lines = text.split("\n").slice(0, -1);
  let open: OpenFamily | undefined;
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index] ?? "";
    const fail = (why: string): never => {
      throw new Error(`line ${index + 1}: ${why}: ${line}`);
    };
    const help = /^# HELP (\S+) (.+)$/.exec(line);
    if (help) {
      const [, name = "", words = ""] = help;
      const type = new RegExp(`^# TYPE ${name} (counter|gauge|histogram)$`).exec(lines[index + 1] ?? "")?.[1];
      if (type === undefined) return fail("TYPE must follow");
      if (families.has(name)) fail("a second block for this metric");
      open = { name, type, help: words, series: new Map() };
      families.set(name, open);
      index += 1;
      continue;
    }
    const [, name = "", labels, number = ""] = SAMPLE.exec(line) ?? fail("neither comment nor sample");
    if (open === undefined) return fail("a sample before any HELP");
    checkSampleName(open, name, fail);
    const value = /^[+-]Inf$/.test(number) ? Number(number.replace("Inf", "Infinity")) : Number(number);
    if (Number.isNaN(value)) fail("the value is no number");
    const key = labels === undefined ? name : `${name}{${labels}}`;
    if (open.series.has(key)) fail("the series is there twice");
    open.series.set(key, value);
  }
  for (const family of families.values()) checkFamily(family);
  return families;
}

function checkSampleName({ name, type }: OpenFamily, sample: string, fail: (why: string) => never): void {
  const names = type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name];
  if (!names.includes(sample)) fail(`does not belong to ${name}`);
}

function checkFamily({ name, type, series }: OpenFamily): void {
  const fail = (why: string): never => {
    throw new Error(`${name}: ${why}`);
  };
  if (series.size === 0) fail("no samples");
  if ((type === "counter") !== name.endsWith("_total")) fail("only counters end in _total");
  if (UNITS_NOT_BASE.test(name)) fail("the unit is no base unit");
  if (type === "counter" && [...series.values()].some((value) => value < 0)) fail("a counter below zero");
  if (type === "histogram") checkHistogram(name, series, fail);
}

function checkHistogram(name: string, series: OpenFamily["series"], fail: (why: string) => never): void {
  const groups = new Map<string, (readonly [bound: number, count: number])[]>();
  for (const [key, value] of series) {
    const [, before, bound = ""] = /^.*_bucket\{(.*?)le="([^"]*)"\}$/.exec(key) ?? [];
    if (before === undefined) continue;
    const group = groups.get(before) ?? [];
    group.push([bound === "+Inf" ? Number.POSITIVE_INFINITY : Number(bound), value]);
    groups.set(before, group);
  }
  if (groups.size === 0) fail("no buckets");
  for (const [before, buckets] of groups) {
    const labels = before === "" ? "" : `{${before.replace(/,$/, "")}}`;
    const rises = buckets.every(([bound, count], i) => {
      const last = buckets[i - 1];
      return last === undefined || (bound > last[0] && count >= last[1]);
    });
    if (!rises) fail("buckets must be cumulative and rise");
    const [bound, count] = buckets.at(-1) ?? [0, 0];
    if (bound !== Number.POSITIVE_INFINITY) fail("the last bucket must be +Inf");
    if (series.get(`${name}_count${labels}`) !== count) fail("_count must be the last bucket");
    if (!series.has(`${name}_sum${labels}`)) fail("_sum is missing");
  }
}
