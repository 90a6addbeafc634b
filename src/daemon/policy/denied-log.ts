// Log lines of denied packets, on request: read from the kernel's NFLOG group, at most so many a second.
import { loadNflogAddon } from "../../kernel/nflog/addon.ts";
import { watchNflog } from "../../kernel/nflog/watch-nflog.ts";
import type { LoggedPacket, NflogModules, NflogWatch } from "../../kernel/nflog/watch-nflog.ts";
import type { PolicySettings } from "../../policy/settings.ts";
import type { PolicySnapshot } from "../../policy/snapshot.ts";
import type { Clock } from "../clock.ts";
import { SYSTEM_CLOCK } from "../clock.ts";
import { createDeniedDescriber } from "./describe-denied.ts";

export interface DeniedLogOptions {
  /** `settings.logGroup` */
  readonly group: number;
  readonly settings: PolicySettings;
  readonly snapshot: () => PolicySnapshot;
  readonly signal: AbortSignal;
}

export interface DeniedLogModules extends NflogModules {
  readonly clock?: Pick<Clock, "now">;
}

/** Retries of one client make one line; a scan of many ports makes these, and a count. */
const LINES_PER_SECOND = 10;
const BURST = 50;
/** The snapshot that names pods and policies is at most this old. */
const DESCRIBER_MAX_AGE_MS = 3_000;

/**
 * Runs until the signal.
 * @param modules.addon default: the one that was built; where there is none, tcpdump, and without that it says so each minute
 */
export function startDeniedLog(options: DeniedLogOptions, modules: DeniedLogModules): NflogWatch {
  const { group, signal } = options;
  return watchNflog(
    { group, signal, onPacket: createDeniedLogger(options, modules) },
    { addon: loadNflogAddon(), ...modules },
  );
}

export function createDeniedLogger(
  { settings, snapshot }: Pick<DeniedLogOptions, "settings" | "snapshot">,
  { log, clock = SYSTEM_CLOCK }: Pick<DeniedLogModules, "log" | "clock">,
): (packet: LoggedPacket) => void {
  const allowance = createAllowance(clock);
  let describer:
    | { readonly at: number; readonly describe: ReturnType<typeof createDeniedDescriber> }
    | undefined;
  let suppressed = 0;
  return (packet) => {
    if (!allowance()) {
      suppressed += 1;
      return;
    }
    if (describer === undefined || clock.now() - describer.at > DESCRIBER_MAX_AGE_MS)
      describer = { at: clock.now(), describe: createDeniedDescriber(snapshot(), settings) };
    const described = describer.describe(packet);
    if (described === undefined) return;
    const { text, ...fields } = described;
    log.info({ ...fields, ...(suppressed > 0 && { suppressed }) }, text);
    suppressed = 0;
  };
}

/** A token bucket. */
function createAllowance(clock: Pick<Clock, "now">): () => boolean {
  let tokens = BURST;
  let at = clock.now();
  return () => {
    const now = clock.now();
    tokens = Math.min(BURST, tokens + ((now - at) / 1_000) * LINES_PER_SECOND);
    at = now;
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  };
}
