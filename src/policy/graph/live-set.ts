// One set of peers or ports whose members come and go; its row changes only when its members do.
import type { IpsetRow } from "../../host/ipset-state.ts";
import { changeMembers, pageMembers } from "../../host/member-list.ts";
import type { Family } from "../../net/ip.ts";
import { compileSet } from "../compile-family.ts";
import { resolveBlock, sortUnique } from "../resolve.ts";
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
  let row = compileSet(name, spec, pageMembers(sortUnique(members)));
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
