// Since when each policy is in force on this node as it stands now.
import { objectKey } from "./snapshot.ts";
import type { Policy } from "./snapshot.ts";
import type { PolicyEvent } from "./source.ts";

export interface InForceBook {
  /** Every event that the graph is told. */
  onEvent(event: PolicyEvent): void;
  /** To be called when a pass takes its plan: what the events said so far is in it. */
  beginPass(): {
    /** All of it is in the kernel. @param at milliseconds since 1970 */
    done(at: number): void;
    /** Some of it is not; the next pass tries again. */
    failed(): void;
  };
  /** Milliseconds since 1970; undefined while it is not in force yet. @param key `namespace/name` */
  since(key: string): number | undefined;
}

interface Entry {
  readonly policy: Policy;
  since: number | undefined;
}

export function createInForceBook(): InForceBook {
  const entries = new Map<string, Entry>();
  let waiting = new Set<Entry>();
  const put = (policy: Policy): void => {
    const known = entries.get(objectKey(policy));
    // A list that is read again brings every policy anew.
    if (known !== undefined && saysTheSame(known.policy, policy)) return;
    if (known !== undefined) waiting.delete(known);
    const entry: Entry = { policy, since: undefined };
    entries.set(objectKey(policy), entry);
    waiting.add(entry);
  };
  const remove = (key: string): void => {
    const known = entries.get(key);
    if (known !== undefined) waiting.delete(known);
    entries.delete(key);
  };
  return {
    onEvent(event) {
      if (event.kind !== "policies") return;
      if (event.type === "put") put(event.object);
      else if (event.type === "removed") remove(event.key);
      else {
        const present = new Set(event.objects.map(objectKey));
        for (const key of [...entries.keys()].filter((key) => !present.has(key))) remove(key);
        for (const policy of event.objects) put(policy);
      }
    },
    beginPass() {
      const taken = waiting;
      waiting = new Set();
      return {
        done(at) {
          for (const entry of taken) entry.since = at;
        },
        failed() {
          for (const entry of taken) waiting.add(entry);
        },
      };
    },
    since: (key) => entries.get(key)?.since,
  };
}

/** The generation rises with each change of the spec (API: ObjectMeta.generation); etcd's objects may have none. */
function saysTheSame(a: Policy, b: Policy): boolean {
  if (a === b) return true;
  const hasGenerations = a.generation !== undefined && b.generation !== undefined;
  if (hasGenerations && a.uid !== undefined) return a.uid === b.uid && a.generation === b.generation;
  return JSON.stringify(a) === JSON.stringify(b);
}
