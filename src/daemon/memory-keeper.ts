// Keeps the resident set small: most of a Node process's is code of the node binary that ran once, at start.
import type { MemoryAddon } from "../kernel/memory/addon.ts";
import type { Logger } from "../net/logger.ts";
import { SYSTEM_CLOCK } from "./clock.ts";
import type { Clock } from "./clock.ts";

/** Start-up touches 55 MB of files within seconds; afterwards a look each second is 0.05 ms of CPU. */
const INTERVAL_MS = 1_000;
/** Steady work stays below; what lies above is mostly of a pass every few seconds. */
const LIMIT_BYTES = 20_000_000;

export interface MemoryKeeperModules {
  /** Undefined: nothing is done. */
  readonly addon: MemoryAddon | undefined;
  readonly residentFileBytes: () => number;
  readonly log: Logger;
  readonly clock?: Clock;
}

/**
 * Gives pages of the executable back whenever too many are resident, from now until the signal. Costs a few milliseconds of
 * CPU each time: the call, and the faults by which pages in use come back.
 */
export function keepMemorySmall(
  { addon, residentFileBytes, log, clock = SYSTEM_CLOCK }: MemoryKeeperModules,
  signal: AbortSignal,
): void {
  if (addon === undefined) {
    log.debug({}, "no memory.node beside the daemon: it keeps some 30 MB more of node's code resident");
    return;
  }
  let cancel = (): void => undefined;
  const look = (): void => {
    try {
      if (residentFileBytes() > LIMIT_BYTES) addon.release();
    } catch (error) {
      log.debug({ err: error }, "cannot give pages of node's code back; they stay resident");
      return;
    }
    cancel = clock.after(INTERVAL_MS, look);
  };
  look();
  signal.addEventListener("abort", () => cancel(), { once: true });
}
