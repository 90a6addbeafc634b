// One set of peers or ports whose members come and go; its row changes only when its members do.
import type { IpsetRow } from "../../host/ipset-state.ts";
import type { Family } from "../../net/ip.ts";
import { compileSet } from "../compile-family.ts";
import { resolveBlock } from "../resolve.ts";
import type { SetSpec } from "../sets.ts";

export interface LiveSet {
  readonly name: string;
  readonly spec: SetSpec;
  readonly family: Family;
  /** Says of one member whether pods want it there. What blocks hold stays in any case. */
  readonly want: (member: string, isWanted: boolean) => void;
  /** The same object as long as the members are the same. */
  readonly row: () => IpsetRow;
}

/** `members`: what pods want of a new set, in any order, repeated or not. */
export function createLiveSet(name: string, spec: SetSpec, members: string[]): LiveSet {
  const fixed = fixedMembers(spec);
  members.push(...fixed);
  let row = compileSet(name, spec, sortUnique(members));
  let changes = new Map<string, boolean>();
  return {
    name,
    spec,
    family: spec.family,
    want: (member, isWanted) => void changes.set(member, isWanted || fixed.has(member)),
    row: () => {
      if (changes.size > 0) {
        const next = changeMembers(row.members, changes);
        if (next !== row.members) row = compileSet(name, spec, next);
        changes = new Map();
      }
      return row;
    },
  };
}

function fixedMembers(spec: SetSpec): ReadonlySet<string> {
  const peers = spec.kind === "peers" ? spec.peers : [];
  return new Set(peers.flatMap((peer) => (peer.kind === "block" ? resolveBlock(peer) : [])));
}

/** Sorts `members` itself on the way. */
function sortUnique(members: string[]): readonly string[] {
  members.sort();
  let kept = 0;
  for (const member of members) {
    if (kept === 0 || members[kept - 1] !== member) {
      members[kept] = member;
      kept += 1;
    }
  }
  // Without the room that an array which grew has at its end.
  return members.slice(0, kept);
}

/** Up to here each change copies the array in one go; more changes are merged in one walk. */
const MAX_SPLICES = 4;

/** `members` itself if they stay as they are. */
export function changeMembers(
  members: readonly string[],
  changes: ReadonlyMap<string, boolean>,
): readonly string[] {
  const real = [...changes].filter(([member, isWanted]) => {
    return (members[placeOf(members, member)] === member) !== isWanted;
  });
  if (real.length === 0) return members;
  if (real.length > MAX_SPLICES) return mergeChanges(members, real);
  return real.reduce((all, [member, isWanted]) => {
    const at = placeOf(all, member);
    return isWanted ? all.toSpliced(at, 0, member) : all.toSpliced(at, 1);
  }, members);
}

function mergeChanges(
  members: readonly string[],
  changes: readonly (readonly [member: string, isWanted: boolean])[],
): readonly string[] {
  const next: string[] = [];
  let from = 0;
  for (const [member, isWanted] of changes.toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const at = placeOf(members, member);
    for (; from < at; from += 1) next.push(members[from] ?? "");
    if (isWanted) next.push(member);
    else from += 1;
  }
  for (; from < members.length; from += 1) next.push(members[from] ?? "");
  return next.slice();
}

/** Where the member is, or would be. */
function placeOf(members: readonly string[], member: string): number {
  let [low, high] = [0, members.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((members[middle] ?? "") < member) low = middle + 1;
    else high = middle;
  }
  return low;
}
