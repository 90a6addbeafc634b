// One object of a store (untrusted JSON) as an entry for the feed: its key, what is left of it, and what is wrong with it.
import { formatProblem, isObject } from "./problems.ts";
import type { Problem } from "./problems.ts";
import { objectKey } from "./snapshot.ts";
import type { PolicyKind, PolicyObjects } from "./source.ts";
import { translateNamespace, translateNode, translatePod } from "./translate-objects.ts";
import { translatePolicy } from "./translate-policy.ts";

export interface FeedEntry<Kind extends PolicyKind> {
  readonly key: string;
  /** Absent if nothing of it can be used. */
  readonly object?: PolicyObjects[Kind];
  /** What is wrong; there may be a usable object all the same. */
  readonly reason?: string;
  /** The store's version of it, where versions of all kinds can be compared. */
  readonly version?: string;
}

interface Read<T> {
  readonly object?: T;
  readonly problems: readonly Problem[];
}

const READERS: { readonly [Kind in PolicyKind]: (input: unknown) => Read<PolicyObjects[Kind]> } = {
  pods: (input) => refuseBrokenLabels(translatePod(input)),
  namespaces: (input) => refuseBrokenLabels(translateNamespace(input)),
  nodes: translateNode,
  policies: (input) => {
    const { policy, problems } = translatePolicy(input, { mode: "lenient" });
    return { ...(policy && { object: policy }), problems };
  },
};

/**
 * `key` is for an object that does not say who it is.
 * @throws {TypeError} without either, so that nobody could say what it is
 */
export function readEntry<Kind extends PolicyKind>(
  kind: Kind,
  input: unknown,
  key?: string,
): FeedEntry<Kind> {
  const { object, problems } = READERS[kind](input);
  const reason = problems.map(formatProblem).join("; ");
  const ownKey = object === undefined ? key : keyOf(object);
  if (ownKey === undefined) throw new TypeError(`${kind}: ${reason}`);
  return { key: ownKey, ...(object && { object }), ...(reason !== "" && { reason }) };
}

export function keyOf(object: PolicyObjects[PolicyKind]): string {
  return "namespace" in object ? objectKey(object) : object.name;
}

/** A label less may match more: NotIn and DoesNotExist select what lacks a key. */
function refuseBrokenLabels<T>(read: Read<T>): Read<T> {
  const isBroken = read.problems.some(({ path }) => path.startsWith("metadata"));
  return isBroken ? { problems: read.problems } : read;
}

/** `metadata.resourceVersion`, if there is one. */
export function versionOf(input: unknown): string | undefined {
  const metadata = isObject(input) ? input["metadata"] : undefined;
  const version = isObject(metadata) ? metadata["resourceVersion"] : undefined;
  return typeof version === "string" ? version : undefined;
}
