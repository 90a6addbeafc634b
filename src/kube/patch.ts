// Patches of a Node's status: where annotations and conditions of a node agent are written (RBAC: patch nodes/status).
import type { KubeClient } from "./api-client.ts";
import { NODES_PATH } from "./nodes.ts";

export interface NodeCondition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
}

export interface NodePatch {
  /** null removes one. Others stay. */
  readonly annotations?: Readonly<Record<string, string | null>>;
  /** Merged by type into those that are there. */
  readonly conditions?: readonly NodeCondition[];
}

/**
 * Strategic merge, like flannel: what is not named stays as it is, so there is nothing to conflict with.
 * @returns the Node as it is now
 * @throws {KubeApiError}
 */
export function patchNodeStatus(
  client: KubeClient,
  nodeName: string,
  patch: NodePatch,
  options: { readonly now: () => number; readonly signal?: AbortSignal | undefined },
): Promise<unknown> {
  const at = formatTime(options.now());
  const conditions = patch.conditions?.map((condition) => ({
    ...condition,
    lastTransitionTime: at,
    lastHeartbeatTime: at,
  }));
  return client.call({
    what: `patch nodes/status of ${nodeName}`,
    method: "PATCH",
    path: `${NODES_PATH}/${encodeURIComponent(nodeName)}/status`,
    patchType: "strategic-merge",
    body: {
      ...(patch.annotations && { metadata: { annotations: patch.annotations } }),
      ...(conditions && { status: { conditions } }),
    },
    signal: options.signal,
  });
}

/** metav1.Time: RFC 3339 in whole seconds. */
export function formatTime(atMs: number): string {
  return new Date(atMs).toISOString().replace(/\.\d+Z$/, "Z");
}
