// What a daemon writes to etcd so that its pods are registered as they should be; pure.
import type { EtcdLeaseId, EtcdWrite, KeyValue } from "../etcd/client.ts";

export interface RegistrationInput {
  /** Key -> value, of all that is to be registered. */
  readonly desired: ReadonlyMap<string, string>;
  /** Of our node. */
  readonly actual: ReadonlyMap<string, Pick<KeyValue, "value" | "leaseId">>;
  readonly leaseId: EtcdLeaseId;
  /** Stays, if nothing is desired of it: an address of a daemon that is starting is as good as its last one. */
  readonly nodeKey: string;
  /** `desired` is all there should be: what is there besides goes. */
  readonly complete: boolean;
  /** Keys that are to go nevertheless, if they are of the pod with this uid. */
  readonly unregistered: ReadonlyMap<string, string>;
}

export interface RegistrationPlan {
  readonly writes: readonly EtcdWrite[];
  /** Of `unregistered`, what needs no further thought after that. */
  readonly done: readonly (readonly [key: string, uid: string])[];
}

export function planRegistration(input: RegistrationInput): RegistrationPlan {
  const { desired, actual, leaseId, nodeKey, complete, unregistered } = input;
  const puts = [...desired].flatMap(([key, value]): readonly EtcdWrite[] => {
    const stored = actual.get(key);
    return stored?.value === value && stored.leaseId === leaseId
      ? []
      : [{ type: "put", key, value, leaseId }];
  });
  const extra = [...actual].filter(([key, { value }]) => {
    if (desired.has(key) || key === nodeKey) return false;
    const uid = unregistered.get(key);
    return complete || (uid !== undefined && uid === uidOf(value));
  });
  const deletes = extra.map(([key]): EtcdWrite => ({ type: "delete", key }));
  return { writes: [...deletes, ...puts], done: [...unregistered] };
}

/** A value that cannot be read is of no pod that we know. */
function uidOf(value: string): string | undefined {
  try {
    const { metadata } = JSON.parse(value) as { metadata?: { uid?: unknown } };
    return typeof metadata?.uid === "string" ? metadata.uid : undefined;
  } catch {
    return undefined;
  }
}
