// Applies a batch as a whole, and when that fails finds the rows at fault, so that the others still get in.
import type { RowFailure } from "../../host/kernel-table.ts";
import type { FirewallRow } from "../../host/state.ts";
import type { RestoreFailure } from "./restore-failure.ts";
import { firewallKey } from "./saved-rows.ts";

/** One transaction for the rows; undefined is success. */
export type ApplyRows = (rows: readonly FirewallRow[]) => Promise<RestoreFailure | undefined>;

/** Failed transactions per batch after which the rest is given up until the next pass: a bound on time, not on rows. */
const MAX_FAILED_ATTEMPTS = 64;

/** `rows` must be sorted so that no row needs a later one. */
export async function applyIsolated(
  rows: readonly FirewallRow[],
  apply: ApplyRows,
): Promise<readonly RowFailure[]> {
  const failures: RowFailure[] = [];
  const fail = (failed: Iterable<FirewallRow>, reason: string): void => {
    for (const row of failed) failures.push({ key: firewallKey(row), reason });
  };
  let failedAttempts = 0;
  const attempt = async (some: readonly FirewallRow[]): Promise<void> => {
    if (some.length === 0) return;
    const failure = await apply(some);
    if (failure === undefined) return;
    failedAttempts += 1;
    if (failure.systemic || some.length === 1 || failedAttempts >= MAX_FAILED_ATTEMPTS) {
      fail(some, failure.reason);
      return;
    }
    if (failure.blamed.size > 0) {
      fail(failure.blamed, failure.reason);
      await attempt(some.filter((row) => !failure.blamed.has(row)));
      return;
    }
    const half = Math.ceil(some.length / 2);
    await attempt(some.slice(0, half));
    await attempt(some.slice(half));
  };
  await attempt(rows);
  return failures;
}
