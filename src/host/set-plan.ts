// What must be written so that the kernel's ipsets become the desired ones, in an order that never opens anything. Pure.
import type { IpsetRow } from "./ipset-state.ts";
import { diffMembers, mergeMembers } from "./member-list.ts";
import { headerFits } from "./set-table.ts";
import type { ActualSet, SetRole, SetWrite } from "./set-table.ts";

/** A change of a set, or a set that is made anew with the members given. */
export type SetStep = SetWrite | { readonly kind: "replace"; readonly set: IpsetRow };

/**
 * A packet passes if both of its ends allow it, and one event can change both: a pod that is relabelled is isolated in
 * another way, and is a peer of others no more. For addresses whose isolation or ports change, what closes comes first at either
 * end, and what opens comes last. For all others nothing closes that stays allowed: a peer is in its next set before it
 * leaves the last. Inside of one end a pod is in its next chain before it leaves the last, too.
 */
export interface SetPlan {
  /** Before the rules change: new sets (no rule names them yet), peers, pods that come. */
  readonly early: readonly SetStep[];
  /** When the rules have changed: pods that go, peers, sets that nobody wants. */
  readonly late: readonly SetStep[];
}

/** What the kernel holds: as listed, or as we know it from writing it. */
export type KnownSets = ReadonlyMap<string, ActualSet | IpsetRow>;

/**
 * A set that is the same object as the known one costs one comparison, whatever its size.
 * @param isAllowing true for sets whose members are let through
 */
export function planSets(
  known: KnownSets,
  desired: readonly IpsetRow[],
  isAllowing: (name: string) => boolean,
): SetPlan {
  const created: SetStep[] = [];
  const isolating: SetStep[] = [];
  const releasing: SetStep[] = [];
  const peers: PeerChange[] = [];
  /** Addresses whose isolation changes, or that have another owner, with other ports. */
  const moving = new Set<string>();
  const wanted = new Set<string>();
  for (const set of desired) {
    wanted.add(set.name);
    const actual = known.get(set.name);
    if (actual === set) continue;
    const role: SetRole = isAllowing(set.name) ? "allow" : "isolate";
    if (actual === undefined) {
      created.push({ kind: "create", role, set, members: [...set.members] });
      if (role === "isolate") for (const member of set.members) moving.add(member);
      continue;
    }
    const comparable = actual.type === set.type && actual.family === set.family;
    const diff = diffMembers(comparable ? actual.members : [], set.members);
    // Members that are to go stay for now: the present rules may count on them.
    const replacing: SetStep[] = headerFits(actual, set)
      ? []
      : [{ kind: "replace", set: { ...set, members: mergeMembers(set.members, diff.removed) } }];
    const added = replacing.length > 0 ? [] : diff.added;
    if (role === "allow") {
      created.push(...replacing);
      peers.push({ set, added, removed: diff.removed });
      if (set.type === "hash:ip,port")
        for (const member of [...diff.added, ...diff.removed]) moving.add(addressOf(member));
    } else {
      for (const member of [...diff.added, ...diff.removed]) moving.add(member);
      isolating.push(...replacing, ...changeOf("add", role, set, added));
      releasing.push(...changeOf("remove", role, set, diff.removed));
    }
  }
  const peerSteps = planPeers(peers, moving);
  const destroyed = [...known.values()].filter(({ name }) => !wanted.has(name));
  return {
    early: [...created, ...peerSteps.early, ...isolating],
    late: [
      ...releasing.toReversed(),
      ...peerSteps.late,
      ...destroyed.toReversed().map((set): SetStep => ({ kind: "destroy", set })),
    ],
  };
}

interface PeerChange {
  readonly set: IpsetRow;
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

function planPeers(peers: readonly PeerChange[], moving: ReadonlySet<string>): SetPlan {
  const isMoving = (member: string): boolean => moving.has(addressOf(member));
  const steps = (kind: "add" | "remove", wantsMoving: boolean): readonly SetStep[] =>
    peers.flatMap(({ set, added, removed }) =>
      changeOf(
        kind,
        "allow",
        set,
        (kind === "add" ? added : removed).filter((member) => isMoving(member) === wantsMoving),
      ),
    );
  return {
    early: [...steps("add", false), ...steps("remove", true)],
    late: [...steps("add", true), ...steps("remove", false)],
  };
}

/** Of `10.244.1.5,tcp:80`; a prefix is itself. */
function addressOf(member: string): string {
  const comma = member.indexOf(",");
  return comma < 0 ? member : member.slice(0, comma);
}

function changeOf(
  kind: "add" | "remove",
  role: SetRole,
  set: IpsetRow,
  members: readonly string[],
): readonly SetStep[] {
  return members.length === 0 ? [] : [{ kind, role, set, members }];
}

/** Only takes peers away: right also where the rules stay the old ones. */
export function onlyCloses(step: SetStep): boolean {
  return step.kind === "remove" && step.role === "allow";
}
