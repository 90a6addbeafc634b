// Figures of a benchmark: quantiles, CPU time of this process and its children, Markdown tables.
import { readFileSync } from "node:fs";

export function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** Clock ticks per second of /proc (USER_HZ, which is 100 on every Linux). */
const TICKS_PER_SECOND = 100;

/** CPU milliseconds of a process and of its children that have ended (proc_pid_stat(5), fields 14 to 17). */
export function cpuMs(pid: number | "self" = "self"): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return (ticks * 1000) / TICKS_PER_SECOND;
}

/** Resident set, MB (10^6 bytes). */
export function residentMb(pid: number): number {
  const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(kib) * 1024) / 1e6;
}

export type Cell = string | number;

/** One line of RESULTS.md: what was measured, the figure, and the target it was to reach. */
export interface Figure {
  readonly what: string;
  readonly ours: string;
  /** The alternative in the same run. */
  readonly beside?: string;
  readonly target?: string;
  readonly met?: boolean;
}

export function formatFigures(figures: readonly Figure[]): string {
  const lines = figures.map(({ what, ours, beside = "", target = "", met }) => {
    const verdict = met === undefined ? "" : met ? " (met)" : " (**not met**)";
    return `| ${what} | ${ours} | ${beside} | ${target}${verdict} |`;
  });
  return ["| what | ours | beside | target |", "|---|---|---|---|", ...lines].join("\n");
}

/** Milliseconds for people. */
export function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}
