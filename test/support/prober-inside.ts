// Runs inside a namespace: probes the given paths and prints, as lines of JSON, what the prober tells and logs.
import { exec } from "../../src/kernel/exec.ts";
import { chooseTransport } from "../../src/prober/choose-transport.ts";
import { createPingTransport } from "../../src/prober/ping-transport.ts";
import type { ProbePath } from "../../src/prober/probe.ts";
import { Prober } from "../../src/prober/prober.ts";
import type { ProberTiming } from "../../src/prober/prober.ts";

export interface InsideOptions {
  /** `chosen`: what a daemon would take. */
  readonly transport: "chosen" | "ping";
  readonly intervalMs: number;
  readonly timing: Partial<ProberTiming>;
  readonly paths: readonly ProbePath[];
}

const REPORT_MS = 50;
/** A test cannot wait as long as an operator. */
const PINGS_PER_SECOND = 8;

const { transport: wanted, intervalMs, timing, paths } = JSON.parse(process.argv[2] ?? "") as InsideOptions;
const { transport, note } =
  wanted === "ping"
    ? { transport: await createPingTransport({ exec, maxPerSecond: PINGS_PER_SECOND }) }
    : await chooseTransport({ exec });
const print = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const log = (_fields: object, message: string): void => print({ log: message });
const prober = new Prober(
  { intervalMs, timing, paths: () => paths, note },
  { transport, log: { debug: log, info: log, warn: log, error: log } },
);
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
const reports = setInterval(() => {
  const { peers, summary } = prober.report();
  print({ report: { ...summary, peers: [...peers.values()].flat() } });
}, REPORT_MS);
await prober.run(stop.signal);
clearInterval(reports);
