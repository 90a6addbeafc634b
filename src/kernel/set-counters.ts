// Reads the counters that an ipset keeps per member (`counters`).
import type { Exec } from "./exec.ts";

export interface MemberCounter {
  /** As ipset prints it. */
  readonly member: string;
  readonly packets: number;
}

const TIMEOUT_MS = 5_000;

/** A set that is absent has no counters: it may come or go at any time. @throws {ExecError} if there is no ipset */
export async function readSetCounters(
  name: string,
  { exec }: { readonly exec: Exec },
): Promise<readonly MemberCounter[]> {
  const { exitCode, stdout } = await exec("ipset", ["save", name], {
    allowFailure: true,
    timeoutMs: TIMEOUT_MS,
  });
  return exitCode === 0 ? parseSetCounters(stdout) : [];
}

/** Lines of `ipset save`: `add NAME MEMBER packets N bytes N`; numbers above 2^53 are rounded. */
export function parseSetCounters(text: string): readonly MemberCounter[] {
  return [...text.matchAll(/^add \S+ (\S+) packets (\d+) /gm)].map(([, member = "", packets]) => ({
    member,
    packets: Number(packets),
  }));
}
