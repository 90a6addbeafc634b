// ipsets as the text of `ipset save` and `ipset restore`, both ways; pure.
import type { IpsetRow, IpsetType } from "../../host/ipset-state.ts";
import type { ActualSet } from "../../host/set-table.ts";
import type { Family } from "../../net/ip.ts";
import { canonicalMember } from "./member-codec.ts";

/**
 * Most members of a set. The kernel's default of 65,536 is less than the pods of a cluster of 5000 nodes with 110 pods each,
 * which one `namespaceSelector: {}` puts into one set. Only a limit: memory grows with the members (ipset(8), maxelem).
 */
export const MAX_MEMBERS = 1_048_576;

/** IPSET_MAXNAMELEN - 1. */
export const MAX_SET_NAME_LENGTH = 31;

/** Letters first, so that no name reads as an option; nothing that `ipset restore` could split or quote. */
const SET_NAME = /^[A-Za-z][\w.:-]*$/;

/** Why this cannot be the name of a set of ours, or undefined. */
export function setNameProblem(name: string, prefix: string): string | undefined {
  if (!SET_NAME.test(name) || name.length > MAX_SET_NAME_LENGTH)
    return `${JSON.stringify(name)} cannot be a set's name: letters, digits, "-", "_", ".", ":", at most ${MAX_SET_NAME_LENGTH}`;
  return name.startsWith(prefix)
    ? undefined
    : `set ${name} is not ours: its name does not begin with ${prefix}`;
}

const FAMILY_NAMES: Readonly<Record<Family, string>> = { 4: "inet", 6: "inet6" };

/** The line that creates the set, empty, under its own or another name. */
export function renderCreate({ name, type, family, counters }: IpsetRow, as = name): string {
  const extensions = counters ? " counters" : "";
  return `create ${as} ${type} family ${FAMILY_NAMES[family]} maxelem ${MAX_MEMBERS}${extensions}`;
}

const TYPES: ReadonlySet<string> = new Set<IpsetType>(["hash:ip", "hash:net", "hash:ip,port"]);
const isOurType = (type: string): type is IpsetType => TYPES.has(type);

/** Options of `create` that say how the kernel stores the set, not what it holds. */
const STORAGE_OPTIONS: ReadonlySet<string> = new Set(["hashsize", "bucketsize", "initval"]);

/** The sets of a dump whose names begin with `prefix`, with sorted members. All other lines cost one comparison. */
export function parseIpsetSave(text: string, prefix: string): readonly ActualSet[] {
  const sets = new Map<string, { set: ActualSet; members: string[]; isPlain: boolean }>();
  const [create, add] = [`create ${prefix}`, `add ${prefix}`];
  let current: { set: ActualSet; members: string[]; isPlain: boolean } | undefined;
  for (let at = 0, end = 0; at < text.length; at = end + 1) {
    end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    if (text.startsWith(add, at)) {
      const [, name = "", member = "", ...options] = text.slice(at, end).split(" ");
      if (current?.set.name !== name) current = sets.get(name);
      if (current === undefined || current.set.type === "other") continue;
      current.members.push(canonicalMember(current.set.type, current.set.family, member));
      // The opposite of a member: "all of the prefix but this" (ipset(8), nomatch).
      if (options.includes("nomatch")) current.isPlain = false;
    } else if (text.startsWith(create, at)) {
      const set = parseCreate(text.slice(at, end));
      current = { set, members: [], isPlain: set.plain };
      sets.set(set.name, current);
    }
  }
  return Array.from(sets.values(), ({ set, members, isPlain }) => ({
    ...set,
    plain: isPlain,
    members: members.sort(),
  }));
}

/** `create FTSP-x hash:ip family inet hashsize 1024 maxelem 1048576 counters bucketsize 12 initval 0x1`. */
function parseCreate(line: string): ActualSet {
  const [, name = "", type = "", ...options] = line.split(" ").filter(Boolean);
  let family: Family = 4;
  let counters = false;
  let plain = isOurType(type);
  let maxMembers = "";
  for (let at = 0; at < options.length; at += 1) {
    const option = options[at] ?? "";
    if (option === "counters") counters = true;
    else if (option === "family") family = options[(at += 1)] === FAMILY_NAMES[6] ? 6 : 4;
    else if (option === "maxelem") maxMembers = options[(at += 1)] ?? "";
    else if (STORAGE_OPTIONS.has(option)) at += 1;
    else plain = false;
  }
  return {
    kind: "set",
    name,
    type: isOurType(type) ? type : "other",
    family,
    counters,
    members: [],
    plain: plain && maxMembers === String(MAX_MEMBERS),
  };
}
