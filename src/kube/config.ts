// Finds the API server and our credentials: --kubeconfig-file, --kube-api-url, or the service account of our pod.
import { existsSync } from "node:fs";
import path from "node:path";
import { InvalidValueError } from "../net/errors.ts";
import type { KubeConnection, KubeCredentials } from "./connection.ts";
import { RereadFile } from "./reread-file.ts";
import { parseServerUrl } from "./server-url.ts";

/** Where a kubelet puts the service account's files. */
const SERVICE_ACCOUNT_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount";

export interface KubeConfigOptions {
  readonly apiUrl?: string | undefined;
  readonly kubeconfigFile?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly serviceAccountDirectory?: string | undefined;
  readonly now?: (() => number) | undefined;
}

/**
 * flannel's order (clientcmd.BuildConfigFromFlags): a kubeconfig, whose server `apiUrl` overrides; a URL alone; the pod's
 * service account. A URL alone gets the service account's credentials if it is https and they are there, where flannel
 * would come as nobody.
 * @throws {InvalidValueError} saying what is missing and the ways to give it
 */
export async function loadKubeConnection(options: KubeConfigOptions): Promise<KubeConnection> {
  if (options.kubeconfigFile !== undefined) {
    // The YAML reader is only paid for where there is a kubeconfig.
    const { readKubeconfig } = await import("./kubeconfig.ts");
    const { kubeconfigFile: file, now } = options;
    return readKubeconfig({ file, apiUrl: parseApiUrl(options.apiUrl), now });
  }
  const apiUrl = parseApiUrl(options.apiUrl);
  if (apiUrl !== undefined) return fromUrl(apiUrl, options);
  return fromServiceAccount(options);
}

function parseApiUrl(text: string | undefined): string | undefined {
  return text === undefined ? undefined : parseServerUrl(text, "--kube-api-url");
}

function fromUrl(apiUrl: string, options: KubeConfigOptions): KubeConnection {
  const directory = options.serviceAccountDirectory ?? SERVICE_ACCOUNT_DIRECTORY;
  const source = "--kube-api-url";
  if (apiUrl.startsWith("https:") && existsSync(path.join(directory, "token"))) {
    return {
      baseUrl: apiUrl,
      source: `${source}, with the pod's service account`,
      credentials: serviceAccountCredentials(directory, options.now),
    };
  }
  return { baseUrl: apiUrl, source, credentials: () => Promise.resolve({}) };
}

function fromServiceAccount({ env, serviceAccountDirectory, now }: KubeConfigOptions): KubeConnection {
  const host = env["KUBERNETES_SERVICE_HOST"];
  const port = env["KUBERNETES_SERVICE_PORT"];
  if (host === undefined || host === "" || port === undefined || port === "") {
    throw new InvalidValueError(
      "no way to the Kubernetes API: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod of a " +
        "cluster; name the API server with --kubeconfig-file or --kube-api-url",
    );
  }
  const directory = serviceAccountDirectory ?? SERVICE_ACCOUNT_DIRECTORY;
  const tokenFile = path.join(directory, "token");
  if (!existsSync(tokenFile)) {
    throw new InvalidValueError(
      `no way to the Kubernetes API: ${tokenFile} is not there; the pod needs a service account and ` +
        "automountServiceAccountToken must not be false",
    );
  }
  return {
    baseUrl: parseServerUrl(
      `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
      "KUBERNETES_SERVICE_HOST",
    ),
    source: "the pod's service account",
    credentials: serviceAccountCredentials(directory, now),
  };
}

function serviceAccountCredentials(
  directory: string,
  now: (() => number) | undefined,
): KubeConnection["credentials"] {
  const token = new RereadFile(path.join(directory, "token"), now);
  const caFile = path.join(directory, "ca.crt");
  const ca = existsSync(caFile) ? new RereadFile(caFile, now) : undefined;
  return (wish): Promise<KubeCredentials> =>
    Promise.resolve({
      token: token.read(wish?.fresh).trim(),
      ...(ca !== undefined && { ca: ca.read(wish?.fresh) }),
    });
}
