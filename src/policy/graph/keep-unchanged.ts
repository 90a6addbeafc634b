// Gives an answer whose parts are those of the last one the identity that it had, so that nobody looks at it again.
import type { CompiledPolicy } from "../compile.ts";
import { sameItems } from "../reuse.ts";

/** `next` with every list of `last` that has the same objects; `last` itself if all have. */
export function keepUnchanged(last: CompiledPolicy, next: CompiledPolicy): CompiledPolicy {
  const kept: CompiledPolicy = {
    firewall: keepItems(last.firewall, next.firewall),
    sets: keepItems(last.sets, next.sets),
    profiles: keepItems(last.profiles, next.profiles),
    specs: next.specs,
  };
  const isSame =
    kept.firewall === last.firewall &&
    kept.sets === last.sets &&
    kept.profiles === last.profiles &&
    kept.specs === last.specs;
  return isSame ? last : kept;
}

function keepItems<T>(last: readonly T[], next: readonly T[]): readonly T[] {
  return sameItems(last, next) ? last : next;
}
