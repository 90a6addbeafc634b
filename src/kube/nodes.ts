// What we keep of a Node object (core/v1): a few hundred bytes of the ten thousand that the API sends.
import { isJsonObject } from "../net/go-json.ts";
import type { JsonObject } from "../net/go-json.ts";

export const NODES_PATH = "/api/v1/nodes";

export interface KubeNode {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Only those that begin with the prefix that `pruneNode` was given. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly podCidr: string | undefined;
  readonly podCidrs: readonly string[];
  /** InternalIP and the others of status.addresses. */
  readonly addresses: readonly { readonly type: string; readonly address: string }[];
  /** Status of the NetworkUnavailable condition: "True", "False", "Unknown"; absent when there is none. */
  readonly networkUnavailable: string | undefined;
}

export interface NodePruning {
  /** Annotations to keep. */
  readonly annotationPrefix: string;
  /** Keep labels and addresses too; leases do not need them. */
  readonly wide?: boolean;
}

/** @throws {TypeError} for an object without a name */
export function pruneNode(object: unknown, { annotationPrefix, wide = false }: NodePruning): KubeNode {
  const { metadata, spec, status } = fields(object);
  const { name, uid, resourceVersion, labels, annotations } = fields(metadata);
  if (typeof name !== "string" || name === "") throw new TypeError("a Node without a name");
  const { podCIDR, podCIDRs } = fields(spec);
  const { addresses, conditions } = fields(status);
  return {
    name,
    uid: text(uid),
    resourceVersion: text(resourceVersion),
    labels: wide ? textMap(labels, "") : NO_TEXTS,
    annotations: textMap(annotations, annotationPrefix),
    podCidr: text(podCIDR) || undefined,
    podCidrs: list(podCIDRs).filter((cidr): cidr is string => typeof cidr === "string"),
    addresses: wide
      ? list(addresses)
          .map(fields)
          .map(({ type, address }) => ({ type: text(type), address: text(address) }))
      : [],
    networkUnavailable:
      text(
        list(conditions)
          .map(fields)
          .find(({ type }) => type === "NetworkUnavailable")?.["status"],
      ) || undefined,
  };
}

const NO_TEXTS: Readonly<Record<string, string>> = {};

function fields(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textMap(value: unknown, prefix: string): Readonly<Record<string, string>> {
  const kept = Object.entries(fields(value)).filter(
    (entry): entry is [string, string] => typeof entry[1] === "string" && entry[0].startsWith(prefix),
  );
  return kept.length === 0 ? NO_TEXTS : Object.fromEntries(kept);
}
