// Runs iptables-save and iptables-restore of one variant.
import type { FirewallRow } from "../../host/state.ts";
import type { Family } from "../../net/ip.ts";
import { ExecError } from "../exec.ts";
import type { Exec } from "../exec.ts";
import { explainRestoreFailure } from "./restore-failure.ts";
import type { RestoreFailure } from "./restore-failure.ts";
import type { RestoreInput } from "./restore-render.ts";
import { parseIptablesSave } from "./save-codec.ts";
import type { SavedRules } from "./save-codec.ts";
import type { IptablesBinaries, IptablesVariant } from "./variant.ts";

/** Seconds to wait for /run/xtables.lock, which kube-proxy may hold for long on a busy node. */
const LOCK_WAIT_SECONDS = 10;
/** Milliseconds for one tool to end, the wait for the lock included; 10,000 rules take a quarter of a second. */
const TOOL_TIMEOUT_MS = 30_000;

export interface RestoreTool {
  /** Tables that the last `save` could not read. */
  unreadable(family: Family): ReadonlySet<string>;
  /** @throws {ExecError} if the tool is missing, failed, or gave no answer in time */
  save(family: Family): Promise<SavedRules>;
  /** Undefined is success. @throws {ExecError} if the tool is missing or gave no answer in time */
  restore(
    family: Family,
    rows: readonly FirewallRow[],
    input: RestoreInput,
  ): Promise<RestoreFailure | undefined>;
}

export function createRestoreTool(variant: IptablesVariant, exec: Exec): RestoreTool {
  const binaries = (family: Family): IptablesBinaries => {
    const found = variant.binaries[family];
    if (found === undefined) {
      const name = family === 4 ? "iptables" : "ip6tables";
      throw new ExecError(
        `${name}-${variant.mode}: not found; install the package that has it (Debian: iptables)`,
      );
    }
    return found;
  };
  const restoreArgs = ["--noflush", ...(variant.wait ? ["-w", String(LOCK_WAIT_SECONDS)] : [])];
  const unreadable = new Map<Family, ReadonlySet<string>>();
  return {
    unreadable: (family) => unreadable.get(family) ?? new Set(),
    async save(family) {
      const { stdout } = await exec(binaries(family).save, [], { timeoutMs: TOOL_TIMEOUT_MS });
      const saved = parseIptablesSave(stdout);
      unreadable.set(family, saved.unreadable);
      return saved;
    },
    async restore(family, rows, input) {
      if (input.text === "") return undefined;
      const options = { input: input.text, timeoutMs: TOOL_TIMEOUT_MS, allowFailure: true };
      const { exitCode, stderr, stdout } = await exec(binaries(family).restore, restoreArgs, options);
      return exitCode === 0 ? undefined : explainRestoreFailure(stderr || stdout, rows, input);
    },
  };
}
