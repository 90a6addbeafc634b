// The pods of this node and the policies that isolate them: from these follow all chains, and which sets are needed.
import type { Family, Ip } from "../../net/ip.ts";
import { familyOf } from "../../net/ip.ts";
import { compileDirection } from "../compile-direction.ts";
import type { DirectionPlan, IsolatedPod } from "../compile-direction.ts";
import { compileFamily } from "../compile-family.ts";
import type { FamilyPlan } from "../compile-family.ts";
import { compileProfile } from "../compile-profile.ts";
import type { PolicyChain } from "../compile-profile.ts";
import { contentDigest } from "../digest.ts";
import type { DigestOf } from "../dispatch.ts";
import { selects } from "../selector.ts";
import type { PolicySettings } from "../settings.ts";
import { objectKey } from "../snapshot.ts";
import type { Direction, Pod, Policy } from "../snapshot.ts";

export interface Subjects {
  /** The pod with this key is now so; absent: it is no pod of this node, or has no address. */
  readonly pod: (key: string, pod: Pod | undefined, ips: readonly Ip[]) => void;
  readonly policy: (before: Policy | undefined, after: Policy | undefined) => void;
  /** One plan for each family of the settings; the same array as long as nothing that matters has changed. */
  readonly plans: () => readonly FamilyPlan[];
}

/** The policies that isolate a pod in one direction. */
interface Selection {
  /** Equal for equal policies. */
  readonly id: string;
  readonly policies: readonly Policy[];
}

interface Subject {
  readonly key: string;
  readonly pod: Pod;
  readonly ips: readonly Ip[];
  /** Policies that select it, of whatever types, in no order. */
  readonly selectedBy: ReadonlySet<Policy>;
  readonly selections: Readonly<Record<Direction, Selection>>;
}

/** A chain with the names of the policies that it was compiled of. */
interface CachedChain {
  readonly chain: PolicyChain;
  readonly policies: readonly string[];
}

export function createSubjects(
  settings: PolicySettings,
  policiesIn: (namespace: string) => Iterable<Policy>,
): Subjects {
  const subjects = new Map<string, Subject>();
  const idOf = createIds();
  const compiler = createPlanner(settings);
  let plans: readonly FamilyPlan[] | undefined;
  const subjectOf = (rest: Omit<Subject, "selections">): Subject => {
    const selectionOf = (direction: Direction): Selection => {
      const ids = [...rest.selectedBy]
        .filter(({ types }) => types.includes(direction))
        .map((policy) => ({ policy, id: idOf(policy) }));
      ids.sort((a, b) => a.id - b.id);
      return { id: ids.map(({ id }) => id).join(" "), policies: ids.map(({ policy }) => policy) };
    };
    return { ...rest, selections: { egress: selectionOf("egress"), ingress: selectionOf("ingress") } };
  };
  return {
    pod: (key, pod, ips) => {
      const known = subjects.get(key);
      if (pod === undefined) {
        if (subjects.delete(key)) plans = undefined;
        return;
      }
      const isSame = known !== undefined && known.pod.labels === pod.labels && sameList(known.ips, ips);
      if (!isSame) plans = undefined;
      if (isSame) subjects.set(key, { ...known, pod });
      else
        subjects.set(
          key,
          subjectOf({ key, pod, ips, selectedBy: selecting(pod, policiesIn(pod.namespace)) }),
        );
    },
    policy: (before, after) => {
      const { namespace } = before ?? after ?? { namespace: "" };
      for (const subject of subjects.values()) {
        if (subject.pod.namespace !== namespace) continue;
        const selectedBy = new Set(subject.selectedBy);
        const wasSelected = before !== undefined && selectedBy.delete(before);
        const isSelected = after !== undefined && selects(after.podSelector, subject.pod.labels);
        if (isSelected) selectedBy.add(after);
        if (!wasSelected && !isSelected) continue;
        subjects.set(subject.key, subjectOf({ ...subject, selectedBy }));
        plans = undefined;
      }
    },
    plans: () => (plans ??= compiler([...subjects.values()])),
  };
}

function selecting(pod: Pod, policies: Iterable<Policy>): ReadonlySet<Policy> {
  return new Set([...policies].filter(({ podSelector }) => selects(podSelector, pod.labels)));
}

function sameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

/** Numbers objects in the order in which they are first asked for. */
function createIds(): (object: object) => number {
  const ids = new WeakMap<object, number>();
  let last = 0;
  return (object) => {
    const known = ids.get(object);
    if (known !== undefined) return known;
    last += 1;
    ids.set(object, last);
    return last;
  };
}

/** Compiles chains once for all pods with the same policies, and a direction only if one of its pods has changed. */
function createPlanner(settings: PolicySettings): (subjects: readonly Subject[]) => readonly FamilyPlan[] {
  let chains = new Map<string, CachedChain>();
  const digestOf = rememberDigests();
  const directions = new Map<string, CachedDirection>();
  return (subjects) => {
    const used = new Map<string, CachedChain>();
    const chainOf = (family: Family, direction: Direction, { id, policies }: Selection): CachedChain => {
      const key = `${family} ${direction} ${id}`;
      const cached = used.get(key) ??
        chains.get(key) ?? {
          chain: compileProfile(policies, { settings, family, direction }),
          policies: policies.map(objectKey).sort(),
        };
      used.set(key, cached);
      return cached;
    };
    const planOf = (family: Family, direction: Direction): DirectionPlan => {
      const isolated = subjects.flatMap(({ key, ips: all, selections }): readonly IsolatedPod[] => {
        const selection = selections[direction];
        const ips = selection.policies.length > 0 ? ofFamily(family, all) : [];
        if (ips.length === 0) return [];
        const { chain, policies } = chainOf(family, direction, selection);
        return [{ key, ips, chain, policies }];
      });
      const last = directions.get(`${family} ${direction}`);
      if (last !== undefined && sameIsolation(last.isolated, isolated)) return last.plan;
      const plan = compileDirection(isolated, { settings, family, direction }, digestOf);
      directions.set(`${family} ${direction}`, { isolated, plan });
      return plan;
    };
    const plans = settings.families.map((family) => {
      const known = subjects.flatMap(({ ips }) => ofFamily(family, ips));
      const both = { egress: planOf(family, "egress"), ingress: planOf(family, "ingress") };
      return compileFamily(settings, family, both, known);
    });
    chains = used;
    return plans;
  };
}

/** Texts of branches; a node has a few dozen of them. */
const MAX_DIGESTS = 512;

/** Remembers digests, since most branches are those of the last plan. */
function rememberDigests(): DigestOf {
  let recent = new Map<string, string>();
  let older = new Map<string, string>();
  return (text) => {
    const digest = recent.get(text) ?? older.get(text) ?? contentDigest(text);
    if (recent.size >= MAX_DIGESTS) {
      older = recent;
      recent = new Map();
    }
    recent.set(text, digest);
    return digest;
  };
}

interface CachedDirection {
  readonly isolated: readonly IsolatedPod[];
  readonly plan: DirectionPlan;
}

/** A chain is one object for the same policies. */
function sameIsolation(a: readonly IsolatedPod[], b: readonly IsolatedPod[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ key, ips, chain }, index) => {
      const other = b[index];
      return other !== undefined && key === other.key && chain === other.chain && sameList(ips, other.ips);
    })
  );
}

function ofFamily(family: Family, ips: readonly Ip[]): readonly Ip[] {
  return ips.filter((ip) => familyOf(ip) === family);
}
