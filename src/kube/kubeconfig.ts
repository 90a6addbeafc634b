// Reads a kubeconfig file (client-go, tools/clientcmd/api/v1): one context's server, trust and credentials.
import { readFileSync } from "node:fs";
import path from "node:path";
import { parse as parseYaml } from "yaml";
import { InvalidValueError } from "../net/errors.ts";
import { isJsonObject } from "../net/go-json.ts";
import type { JsonObject } from "../net/go-json.ts";
import type { KubeConnection, KubeCredentials } from "./connection.ts";
import { RereadFile } from "./reread-file.ts";
import { parseServerUrl } from "./server-url.ts";

/** Exec plugins cache by themselves; asking again this often is cheap. */
const PLUGIN_INTERVAL_MS = 30_000;

export interface KubeconfigOptions {
  readonly file: string;
  /** Overrides the cluster's server. */
  readonly apiUrl?: string | undefined;
  readonly now?: (() => number) | undefined;
}

/**
 * Reads the file's current context. Files that it names are read again from time to time.
 * @throws {InvalidValueError} naming the file, the field and what would be right
 */
export function readKubeconfig(options: KubeconfigOptions): KubeConnection {
  const { file } = options;
  const document = readDocument(file);
  const contextName = document["current-context"];
  if (typeof contextName !== "string" || contextName === "")
    throw new InvalidValueError(
      `${file}: current-context is not set; kubectl config use-context NAME sets it`,
    );
  const context = namedEntry(document, file, "contexts", contextName, "context");
  const clusterName = readText(context, "cluster", file) ?? "";
  const cluster = namedEntry(document, file, "clusters", clusterName, "cluster");
  const userName = readText(context, "user", file);
  const user = userName === undefined ? {} : namedEntry(document, file, "users", userName, "user");
  if (readText(cluster, "proxy-url", file) !== undefined) {
    throw new InvalidValueError(
      `${file}: cluster ${clusterName} has a proxy-url, which is not supported; name an address that needs no proxy with --kube-api-url`,
    );
  }
  const server = readText(cluster, "server", file);
  if (server === undefined && options.apiUrl === undefined)
    throw new InvalidValueError(`${file}: cluster ${clusterName} has no server`);
  return {
    baseUrl: options.apiUrl ?? parseServerUrl(server ?? "", `${file}: server of cluster ${clusterName}`),
    source: `kubeconfig ${file}, context ${contextName}`,
    serverName: readText(cluster, "tls-server-name", file),
    insecure: cluster["insecure-skip-tls-verify"] === true,
    credentials: credentialsOf(cluster, user, options),
  };
}

function readDocument(file: string): JsonObject {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new InvalidValueError(`--kubeconfig-file: ${(error as Error).message}`, { cause: error });
  }
  let document: unknown;
  try {
    document = parseYaml(text);
  } catch (error) {
    // The parser's message quotes the text around the fault, which may be a key.
    const { line } = (error as { linePos?: readonly { line: number }[] }).linePos?.[0] ?? {};
    throw new InvalidValueError(`${file}: not valid YAML${line === undefined ? "" : ` (line ${line})`}`);
  }
  if (!isJsonObject(document)) throw new InvalidValueError(`${file}: not a kubeconfig`);
  return document;
}

/** The entry `{name, <field>: {...}}` of one of the three lists. */
function namedEntry(
  document: JsonObject,
  file: string,
  list: string,
  name: string,
  field: string,
): JsonObject {
  const entries = Array.isArray(document[list]) ? (document[list] as readonly unknown[]) : [];
  const entry = entries.filter(isJsonObject).find((candidate) => candidate["name"] === name);
  if (entry === undefined)
    throw new InvalidValueError(`${file}: there is no ${field} named "${name}" in ${list}`);
  const value = entry[field];
  if (!isJsonObject(value)) throw new InvalidValueError(`${file}: ${list} "${name}" has no ${field}`);
  return value;
}

function readText(object: JsonObject, key: string, file: string): string | undefined {
  const value = object[key] ?? undefined;
  if (value === undefined || value === "") return undefined;
  if (typeof value !== "string") throw new InvalidValueError(`${file}: ${key} must be a text`);
  return value;
}

/** Either inline base64 (`key-data`), which wins, or a file, whose path may be relative to the kubeconfig. */
function pemSource(
  object: JsonObject,
  key: string,
  { file, now }: KubeconfigOptions,
): ((fresh: boolean) => string) | undefined {
  const data = readText(object, `${key}-data`, file);
  if (data !== undefined) {
    const text = Buffer.from(data, "base64").toString("utf8");
    if (!text.includes("-----BEGIN"))
      throw new InvalidValueError(`${file}: ${key}-data is not PEM in base64`);
    return () => text;
  }
  const name = readText(object, key, file);
  return name === undefined ? undefined : fileSource(name, key, file, now);
}

function fileSource(
  name: string,
  key: string,
  file: string,
  now: (() => number) | undefined,
): (fresh: boolean) => string {
  const source = new RereadFile(path.resolve(path.dirname(file), name), now);
  try {
    source.read();
  } catch (error) {
    throw new InvalidValueError(`${file}: ${key}: ${(error as Error).message}`, { cause: error });
  }
  return (fresh) => source.read(fresh);
}

function credentialsOf(
  cluster: JsonObject,
  user: JsonObject,
  options: KubeconfigOptions,
): KubeConnection["credentials"] {
  const { file, now = Date.now } = options;
  const ca = pemSource(cluster, "certificate-authority", options);
  const cert = pemSource(user, "client-certificate", options);
  const key = pemSource(user, "client-key", options);
  const tokenFile = readText(user, "tokenFile", file);
  const fixedToken = readText(user, "token", file);
  // A token file wins over a token (client-go, AuthInfo).
  const token =
    tokenFile === undefined ? () => fixedToken : fileSource(tokenFile, "tokenFile", file, options.now);
  const username = readText(user, "username", file);
  const basic =
    username === undefined
      ? undefined
      : `Basic ${Buffer.from(`${username}:${readText(user, "password", file) ?? ""}`).toString("base64")}`;
  const headers = impersonationHeaders(user, file);
  const usesPlugin = user["exec"] !== undefined || user["auth-provider"] !== undefined;
  const plugin = usesPlugin ? createPlugin(file, now) : undefined;
  return async ({ fresh = false } = {}): Promise<KubeCredentials> => ({
    token: token(fresh)?.trim(),
    authorization: basic,
    ca: ca?.(fresh),
    cert: cert?.(fresh),
    key: key?.(fresh),
    headers,
    ...(await plugin?.(fresh)),
  });
}

function impersonationHeaders(user: JsonObject, file: string): KubeCredentials["headers"] {
  const as = readText(user, "as", file);
  if (as === undefined) return undefined;
  const groups = Array.isArray(user["as-groups"]) ? user["as-groups"].map(String) : [];
  return { "Impersonate-User": as, ...(groups.length > 0 && { "Impersonate-Group": groups }) };
}

function createPlugin(file: string, now: () => number): (fresh: boolean) => Promise<KubeCredentials> {
  let cached: KubeCredentials | undefined;
  let askedAt = 0;
  return async (fresh) => {
    if (cached === undefined || fresh || now() - askedAt > PLUGIN_INTERVAL_MS) {
      // 60 MB of memory: only where a user's kubeconfig needs a plugin.
      const { pluginCredentials } = await import("./auth-plugin.ts");
      cached = await pluginCredentials(file, { fresh });
      askedAt = now();
    }
    return cached;
  };
}
