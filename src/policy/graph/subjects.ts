// The pods of this node and the policies that isolate them: from these follow all chains, and which sets are needed.
import type { Family, Ip } from "../../net/ip.ts";
import { familyOf } from "../../net/ip.ts";
import type { FamilyPlan } from "../compile-family.ts";
import { sameItems } from "../reuse.ts";
import { sameData } from "../same-data.ts";
import { selects } from "../selector.ts";
import type { PolicySettings } from "../settings.ts";
import type { Direction, Labels, Pod, Policy } from "../snapshot.ts";
import { createPlanner, selectionOf } from "./planner.ts";
import type { PlannedPod, Selection } from "./planner.ts";

export interface Subjects {
  /** The pod with this key is now so; absent: it is no pod of this node, or has no address. */
  readonly pod: (key: string, pod: Pod | undefined, ips: readonly Ip[]) => void;
  readonly policy: (before: Policy | undefined, after: Policy | undefined) => void;
  /** One plan for each family of the settings; undefined if nothing that matters has changed since the last call. */
  readonly changedPlans: () => readonly FamilyPlan[] | undefined;
}

interface Subject extends PlannedPod {
  readonly namespace: string;
  readonly labels: Labels;
  readonly allIps: readonly Ip[];
  /** Policies that select it, of whatever types, in no order. */
  readonly selectedBy: ReadonlySet<Policy>;
}

export function createSubjects(
  settings: PolicySettings,
  policiesIn: (namespace: string) => Iterable<Policy>,
): Subjects {
  const subjects = new Map<string, Subject>();
  const planner = createPlanner(settings);
  let isChanged = true;
  const set = (subject: Omit<Subject, "selections">): void => {
    subjects.set(subject.key, { ...subject, selections: selectionsOf(subject.selectedBy) });
    isChanged = true;
  };
  return {
    pod: (key, pod, ips) => {
      const known = subjects.get(key);
      if (pod === undefined) {
        if (subjects.delete(key)) isChanged = true;
        return;
      }
      const { namespace, labels } = pod;
      if (known !== undefined && sameData(known.labels, labels) && sameItems(known.allIps, ips)) return;
      const selectedBy = selecting(labels, policiesIn(namespace));
      set({
        key,
        namespace,
        labels,
        allIps: ips,
        ips: { 4: ofFamily(4, ips), 6: ofFamily(6, ips) },
        selectedBy,
      });
    },
    policy: (before, after) => {
      const { namespace } = before ?? after ?? { namespace: "" };
      for (const subject of subjects.values()) {
        if (subject.namespace !== namespace) continue;
        const selectedBy = new Set(subject.selectedBy);
        const wasSelected = before !== undefined && selectedBy.delete(before);
        const isSelected = after !== undefined && selects(after.podSelector, subject.labels);
        if (isSelected) selectedBy.add(after);
        if (wasSelected || isSelected) set({ ...subject, selectedBy });
      }
    },
    changedPlans: () => {
      if (!isChanged) return undefined;
      isChanged = false;
      return planner([...subjects.values()]);
    },
  };
}

function ofFamily(family: Family, ips: readonly Ip[]): readonly Ip[] {
  return ips.filter((ip) => familyOf(ip) === family);
}

function selecting(labels: Labels, policies: Iterable<Policy>): ReadonlySet<Policy> {
  return new Set([...policies].filter(({ podSelector }) => selects(podSelector, labels)));
}

function selectionsOf(policies: ReadonlySet<Policy>): Readonly<Record<Direction, Selection>> {
  const selection = (direction: Direction): Selection =>
    selectionOf([...policies].filter(({ types }) => types.includes(direction)));
  return { egress: selection("egress"), ingress: selection("ingress") };
}
