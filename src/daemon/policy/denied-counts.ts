// How many packets of each pod of this node were denied, as the kernel has counted them.
import type { Exec } from "../../kernel/exec.ts";
import { readSetCounters } from "../../kernel/set-counters.ts";
import { policyNames } from "../../policy/names.ts";
import type { PolicySettings } from "../../policy/settings.ts";
import { DIRECTIONS } from "../../policy/snapshot.ts";
import type { Direction } from "../../policy/snapshot.ts";
import type { Clock } from "../clock.ts";
import { SYSTEM_CLOCK } from "../clock.ts";

export interface DeniedCount {
  readonly direction: Direction;
  /** Address of the pod that the policies are about. */
  readonly ip: string;
  readonly packets: number;
}

/** Anybody who reaches the health server can ask, so asking often starts no processes. */
const MAX_AGE_MS = 2_000;

/** @throws {ExecError} from the function it returns, if there is no ipset */
export function createDeniedCounts(
  settings: PolicySettings,
  { exec, clock = SYSTEM_CLOCK }: { readonly exec: Exec; readonly clock?: Pick<Clock, "now"> },
): () => Promise<readonly DeniedCount[]> {
  let last: { readonly at: number; readonly counts: Promise<readonly DeniedCount[]> } | undefined;
  return () => {
    if (last === undefined || clock.now() - last.at > MAX_AGE_MS)
      last = { at: clock.now(), counts: readDeniedCounts(settings, exec) };
    return last.counts;
  };
}

async function readDeniedCounts(settings: PolicySettings, exec: Exec): Promise<readonly DeniedCount[]> {
  if (!settings.countDenied) return [];
  const names = policyNames(settings.prefix);
  const sets = settings.families.flatMap((family) =>
    DIRECTIONS.map((direction) => ({ direction, name: names.deniedSet(direction, family) })),
  );
  const counts = sets.map(async ({ direction, name }) => {
    const members = await readSetCounters(name, { exec });
    return members.map(({ member, packets }) => ({ direction, ip: member, packets }));
  });
  return (await Promise.all(counts)).flat();
}
