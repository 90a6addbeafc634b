// Credentials from exec plugins and auth providers, through @kubernetes/client-node. Never import this but lazily.
import type { RequestOptions } from "node:https";
import { KubeConfig } from "@kubernetes/client-node";
import type { KubeCredentials } from "./connection.ts";

/** By file; the library keeps what a plugin gave until it expires. */
const configs = new Map<string, KubeConfig>();

/**
 * Runs the plugin that the kubeconfig names for its current context.
 * @throws whatever the plugin fails with
 */
export async function pluginCredentials(
  file: string,
  { fresh }: { readonly fresh: boolean },
): Promise<KubeCredentials> {
  let config = configs.get(file);
  if (config === undefined || fresh) {
    config = new KubeConfig();
    config.loadFromFile(file);
    configs.set(file, config);
  }
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const headers = new Headers(options.headers as Record<string, string> | undefined);
  const authorization = headers.get("authorization") ?? undefined;
  return {
    ...(authorization !== undefined && { authorization, token: undefined }),
    ...pem("cert", options.cert),
    ...pem("key", options.key),
  };
}

function pem(name: "cert" | "key", value: unknown): Partial<KubeCredentials> {
  if (typeof value === "string") return { [name]: value };
  return value instanceof Uint8Array ? { [name]: Buffer.from(value).toString("utf8") } : {};
}
