// The cluster as the policy engine has been told of it, event by event, and what follows from it for this node.
import { joinPlans, joinSpecs } from "./compile.ts";
import type { CompiledPolicy } from "./compile.ts";
import type { FamilyPlan } from "./compile-family.ts";
import { createBook, writeEvent } from "./graph/books.ts";
import type { Book } from "./graph/books.ts";
import { createClaims } from "./graph/claims.ts";
import { keepUnchanged } from "./graph/keep-unchanged.ts";
import { createMembers } from "./graph/members.ts";
import { createSubjects } from "./graph/subjects.ts";
import { createMemory } from "./reuse.ts";
import type { PolicySettings } from "./settings.ts";
import { objectKey } from "./snapshot.ts";
import type { Pod, PolicySnapshot } from "./snapshot.ts";
import { POLICY_KINDS } from "./source.ts";
import type { PolicyEvent, PolicyKind, PolicyObjects } from "./source.ts";

export interface PolicyGraphOptions {
  /** The node whose rules are compiled. */
  readonly nodeName: string;
  readonly settings: PolicySettings;
}

/**
 * Work follows what an event touches: a pod costs the sets that its addresses are in or come to, a policy the pods of this
 * node that it selects, labels of a namespace the pods in it.
 *
 * Policies of a namespace that is gone stay until their own removal is told: kinds are watched apart, so that a namespace's
 * end may be heard after the policies of its successor, and to drop those would open pods. Kubernetes deletes what is in a
 * namespace before the namespace; other stores must do the same. A pod in a namespace that is not known matches no
 * namespaceSelector.
 */
export interface PolicyGraph {
  /** Only memory changes. Repeated, reordered and needless events are normal. */
  apply(event: PolicyEvent): void;
  /** True once a snapshot of each kind has been seen: before, what is not known may only not be known yet. */
  synced(): boolean;
  /**
   * Equals `compilePolicy(snapshot(), settings)`. What is as it was is the same object as in the last answer: the whole
   * answer, the array of firewall rows, each row, each set whose members did not change.
   */
  compiled(): CompiledPolicy;
  /** All that is known, in no particular order. */
  snapshot(): PolicySnapshot;
}

type Books = { readonly [Kind in PolicyKind]: Book<PolicyObjects[Kind]> };

export function createPolicyGraph({ nodeName, settings }: PolicyGraphOptions): PolicyGraph {
  const books: Books = {
    pods: createBook(),
    namespaces: createBook(),
    nodes: createBook(),
    policies: createBook(),
  };
  const seen = new Set<PolicyKind>();
  const claims = createClaims();
  const subjects = createSubjects(settings, books.policies.objects);
  const members = createMembers({
    nodeName,
    namespaces: books.pods.namespaces,
    podsIn: books.pods.objects,
    labelsOf: (namespace) => books.namespaces.get(namespace)?.labels,
    owned: claims.owned,
  });

  const podChanged = (before: Pod | undefined, after: Pod | undefined): void => {
    const touched = new Set<string>();
    for (const change of claims.replace(before, after)) {
      members.move(change);
      for (const pod of [change.before, change.after])
        if (pod?.nodeName === nodeName) touched.add(objectKey(pod));
    }
    for (const key of touched) {
      const pod = books.pods.get(key);
      const ips = pod?.nodeName === nodeName ? claims.owned(pod) : [];
      subjects.pod(key, ips.length > 0 ? pod : undefined, ips);
    }
  };
  const apply = (event: PolicyEvent): void => {
    if (event.type === "snapshot") seen.add(event.kind);
    switch (event.kind) {
      case "pods":
        return writeEvent(books.pods, event, { keyOf: objectKey, changed: podChanged });
      case "policies":
        return writeEvent(books.policies, event, { keyOf: objectKey, changed: subjects.policy });
      case "namespaces":
        return writeEvent(books.namespaces, event, {
          keyOf: nameOf,
          changed: (before, after) => members.relabel((before ?? after)?.name ?? "", before?.labels),
        });
      case "nodes":
        return writeEvent(books.nodes, event, { keyOf: nameOf, changed: () => {} });
    }
  };

  const specsOf = createMemory().reuse((_, specs: readonly FamilyPlan["specs"][]) => joinSpecs(specs));
  let last: CompiledPolicy = { firewall: [], sets: [], profiles: [], specs: new Map() };
  const compiled = (): CompiledPolicy => {
    const plans = subjects.changedPlans();
    if (plans === undefined) {
      const { specs } = last;
      const sets = last.sets.map((row) => (specs.has(row.name) ? members.rowOf(row.name) : row));
      last = keepUnchanged(last, { ...last, sets });
    } else {
      const specs = specsOf(
        "all families",
        plans.map((plan) => plan.specs),
      );
      if (specs !== last.specs) members.choose(specs);
      last = keepUnchanged(last, joinPlans(plans, specs, members.rowOf));
    }
    return last;
  };
  return {
    apply,
    synced: () => POLICY_KINDS.every((kind) => seen.has(kind)),
    compiled,
    snapshot: () => ({
      nodeName,
      nodes: [...books.nodes.objects()],
      namespaces: [...books.namespaces.objects()],
      pods: [...books.pods.objects()],
      policies: [...books.policies.objects()],
    }),
  };
}

function nameOf({ name }: { readonly name: string }): string {
  return name;
}
