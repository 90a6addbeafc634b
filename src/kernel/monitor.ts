// Tells of changes in the kernel as they happen: one `ip monitor` child, kept alive.
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../net/logger.ts";
import type { LineProcess, SpawnLines } from "./exec.ts";
import { MONITOR_ARGS, parseMonitorLine } from "./monitor-codec.ts";
import type { KernelEvent } from "./monitor-codec.ts";

export interface MonitorOptions {
  /** Stops the child and the restarts. */
  readonly signal: AbortSignal;
  /**
   * Called for every event. `everything` comes whenever events may have been missed: after each start of the child, as
   * soon as it listens, and when the kernel's event queue overflowed. Must not throw.
   */
  readonly onEvent: (event: KernelEvent) => void;
}

export interface MonitorModules {
  readonly spawnLines: SpawnLines;
  readonly log: Logger;
}

export interface Monitor {
  /** Resolves when the first child listens, or the monitor was stopped before. From then on no change is missed. */
  readonly listening: Promise<void>;
  /** Resolves when the monitor was stopped and its child has gone. */
  readonly ended: Promise<void>;
}

const FIRST_RESTART_MS = 200;
const LAST_RESTART_MS = 10_000;
/** A child that lived this long was well; the next restart is quick again. */
const HEALTHY_MS = 10_000;
const LISTENING_POLL_MS = 20;
const LISTENING_POLLS = 100;

/** Milliseconds to wait, given the last wait (0 at first) and how long the child lived after it. */
export function restartDelayMs(previousMs: number, livedMs: number): number {
  if (previousMs === 0 || livedMs > HEALTHY_MS) return FIRST_RESTART_MS;
  return Math.min(previousMs * 2, LAST_RESTART_MS);
}

export function startMonitor(options: MonitorOptions, modules: MonitorModules): Monitor {
  const { promise: listening, resolve: reportListening } = Promise.withResolvers<void>();
  const ended = keepMonitoring(options, modules, reportListening).finally(reportListening);
  return { listening, ended };
}

async function keepMonitoring(
  options: MonitorOptions,
  { spawnLines, log }: MonitorModules,
  onListening: () => void,
): Promise<void> {
  const { signal, onEvent } = options;
  let restartMs = 0;
  while (!signal.aborted) {
    const startedAt = performance.now();
    const child = spawnLines("ip", MONITOR_ARGS, {
      signal,
      onLine(line) {
        const event = parseMonitorLine(line);
        if (event !== undefined) onEvent(event);
      },
      onErrorLine(line) {
        // ENOBUFS: the kernel dropped events; `ip` goes on (iproute2 lib/libnetlink.c, rtnl_listen).
        if (line.includes("No buffer space"))
          onEvent({ kind: "everything", reason: "kernel events were lost" });
        else log.debug({ line }, "ip monitor says");
      },
    });
    void reportWhenListening(child, options).then(onListening);
    const reason = await child.ended;
    if (signal.aborted) return;
    restartMs = restartDelayMs(restartMs, performance.now() - startedAt);
    log.warn(
      { reason, restartMs },
      "ip monitor ended; changes are noticed only by full passes until it runs again",
    );
    await delay(restartMs, undefined, { signal }).catch(() => {});
  }
}

/** What changed before the child's socket was bound has gone unseen, so everything is suspect once it is. */
async function reportWhenListening(child: LineProcess, { signal, onEvent }: MonitorOptions): Promise<void> {
  let hasEnded = false;
  void child.ended.then(() => {
    hasEnded = true;
  });
  for (let poll = 0; poll < LISTENING_POLLS && !(await isListening(child.pid)); poll += 1) {
    if (hasEnded || signal.aborted) return;
    await delay(LISTENING_POLL_MS, undefined, { signal }).catch(() => {});
  }
  if (!hasEnded && !signal.aborted) onEvent({ kind: "everything", reason: "ip monitor started" });
}

/** True if the process has a bound rtnetlink socket (proc_pid_net(5), /proc/PID/net/netlink: port id and groups). */
async function isListening(pid: number | undefined): Promise<boolean> {
  if (pid === undefined) return false;
  const table = await readFile(`/proc/${pid}/net/netlink`, "utf8").catch(() => "");
  return table.split("\n").some((line) => {
    const [, protocol, portId, groups] = line.trim().split(/\s+/);
    return protocol === "0" && portId === String(pid) && Number.parseInt(groups ?? "0", 16) !== 0;
  });
}
