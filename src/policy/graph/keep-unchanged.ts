// Gives what is as it was the identity that it had, so that whoever applies rows compares objects and not text.
import type { FirewallRow } from "../../host/state.ts";
import type { CompiledPolicy } from "../compile.ts";
import { sameItems } from "../reuse.ts";
import { sameData } from "./same-data.ts";

/** `next` with every part of `last` that says the same; `last` itself if all does. */
export function keepUnchanged(last: CompiledPolicy | undefined, next: CompiledPolicy): CompiledPolicy {
  if (last === undefined) return next;
  const kept: CompiledPolicy = {
    firewall: keepItems(last.firewall, next.firewall, firewallKey),
    sets: keepItems(last.sets, next.sets, ({ name }) => name),
    profiles: keepItems(last.profiles, next.profiles, ({ family, chain }) => `${family} ${chain}`),
    // A name says what its spec is.
    specs: sameItems([...last.specs.keys()], [...next.specs.keys()]) ? last.specs : next.specs,
  };
  const isSame =
    kept.firewall === last.firewall &&
    kept.sets === last.sets &&
    kept.profiles === last.profiles &&
    kept.specs === last.specs;
  return isSame ? last : kept;
}

function firewallKey(row: FirewallRow): string {
  return `${row.family} ${row.table} ${row.kind === "chain" ? row.name : `from ${row.from}`}`;
}

/** Most items are the same objects already; only the others are compared with what was there under their keys. */
function keepItems<T>(last: readonly T[], next: readonly T[], keyOf: (item: T) => string): readonly T[] {
  if (sameItems(last, next)) return last;
  const had = new Set(last);
  const has = new Set(next);
  const gone = new Map<string, T>();
  for (const item of last) if (!has.has(item)) gone.set(keyOf(item), item);
  const kept = next.map((item) => {
    if (had.has(item)) return item;
    const before = gone.get(keyOf(item));
    return before !== undefined && sameData(before, item) ? before : item;
  });
  return sameItems(last, kept) ? last : kept;
}
