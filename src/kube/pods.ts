// Reads the one thing we need of our own Pod: the node it runs on.
import type { KubeClient } from "./api-client.ts";

/** @returns undefined while the pod is not bound @throws {KubeApiError} */
export async function readNodeOfPod(
  client: KubeClient,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  const pod = await client.call({
    what: `get pod ${namespace}/${name}`,
    path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`,
    signal,
  });
  const { spec } = pod as { spec?: { nodeName?: unknown } };
  return typeof spec?.nodeName === "string" && spec.nodeName !== "" ? spec.nodeName : undefined;
}
