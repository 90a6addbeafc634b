// A Kubernetes API server in this process, for tests: faithful to the real 1.20 in what network daemons use of it.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import type { FakeUser, TokenTable } from "./authenticate.ts";
import { createFaults } from "./faults.ts";
import type { Faults } from "./faults.ts";
import { objectKey } from "./objects.ts";
import type { KubeObject } from "./objects.ts";
import { resourceType } from "./resources.ts";
import type { ResourceName } from "./resources.ts";
import { serveRequest } from "./serve.ts";
import type { RequestRecord } from "./serve.ts";
import { Store } from "./store.ts";
import type { WatchStream } from "./watch.ts";
import { withServerFields } from "./writes.ts";

export interface FakeKubeOptions {
  /** Paths of PEM files; without, it speaks plain HTTP. */
  readonly tls?: { readonly ca: string; readonly serverCert: string; readonly serverKey: string };
  /** Path of the authority of client certificates; wants `tls`. */
  readonly clientCa?: string;
  /** Who may ask, by bearer token. Without tokens and clientCa everybody may do everything. */
  readonly tokens?: TokenTable;
  /** What owners of client certificates may do, by common name; others may do everything. */
  readonly certificateUsers?: Readonly<Record<string, FakeUser>>;
  /** Default 60 s, as the real server's. */
  readonly bookmarkIntervalMs?: number;
  /** Events kept per resource, and the reach of watches and pages with it. Default 10,000. */
  readonly historyLimit?: number;
  readonly host?: string;
  /** Default: a free one. */
  readonly port?: number;
}

export interface KubeconfigUser {
  readonly token?: string;
  /** Paths of PEM files. */
  readonly certificate?: { readonly cert: string; readonly key: string };
}

export interface FakeKube {
  /** http://127.0.0.1:PORT or https://... */
  readonly url: string;
  readonly port: number;
  readonly faults: Faults;
  /** Every request in order, refused ones too. Empty it with `requests.length = 0`. */
  readonly requests: RequestRecord[];
  /** How many watches are open. */
  watchCount(resource?: ResourceName): number;
  /** Creates or replaces an object, status and all, past every check. */
  put(resource: ResourceName, object: KubeObject): KubeObject;
  /** Removes an object at once, whatever its finalizers; false when there is none. */
  delete(resource: ResourceName, name: string, namespace?: string): boolean;
  get(resource: ResourceName, name: string, namespace?: string): KubeObject | undefined;
  list(resource: ResourceName): readonly KubeObject[];
  /** The revision of the last write. */
  revision(): number;
  /** Who may ask from now on: rotates tokens. */
  setTokens(tokens: TokenTable): void;
  /** The text of a kubeconfig for this server. Default: the first of `tokens`, if any. */
  kubeconfig(user?: KubeconfigUser): string;
  /** Writes token, ca.crt and namespace as a pod's service account has them; gives the variables that go with them. */
  inClusterFiles(dir: string, token?: string): Readonly<Record<string, string>>;
  close(): Promise<void>;
}

/** Starts it on loopback with namespaces default and kube-system. The caller closes it. */
export async function startFakeKube(options: FakeKubeOptions = {}): Promise<FakeKube> {
  const store = new Store(options.historyLimit === undefined ? {} : { historyLimit: options.historyLimit });
  const requests: RequestRecord[] = [];
  const streams = new Set<WatchStream>();
  const sockets = new Set<Socket>();
  let tokens = options.tokens ?? (options.clientCa === undefined ? undefined : {});

  const { tls, clientCa, host = "127.0.0.1" } = options;
  const server =
    tls === undefined
      ? createHttpServer()
      : createHttpsServer({
          cert: readFileSync(tls.serverCert),
          key: readFileSync(tls.serverKey),
          ...(clientCa === undefined
            ? {}
            : { ca: readFileSync(clientCa), requestCert: true, rejectUnauthorized: false }),
        });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  let port = options.port ?? 0;
  const listen = async (): Promise<void> => {
    server.listen(port, host);
    await once(server, "listening");
    ({ port } = server.address() as AddressInfo);
  };
  const closeListener = async (): Promise<void> => {
    const closed = once(server, "close");
    server.close();
    await closed;
  };
  const faults = createFaults({ store, streams, sockets, listen, closeListener });
  server.on("request", (request, response) => {
    void serveRequest(request, response, {
      store,
      faults,
      streams,
      requests,
      authentication: () => ({ tokens, certificateUsers: options.certificateUsers ?? {} }),
      bookmarkIntervalMs: options.bookmarkIntervalMs ?? 60_000,
    });
  });
  await listen();
  const url = `${tls === undefined ? "http" : "https"}://${host.includes(":") ? `[${host}]` : host}:${port}`;

  const fake: FakeKube = {
    url,
    port,
    faults,
    requests,
    watchCount: (resource) =>
      [...streams].filter(({ type }) => resource === undefined || type.resource === resource).length,
    put: (resource, object) => {
      const key = objectKey(object.metadata);
      const before = store.get(resource, key)?.metadata;
      const kept =
        before === undefined ? {} : { uid: before.uid, creationTimestamp: before.creationTimestamp };
      const copy = structuredClone({ ...object, metadata: { ...kept, ...object.metadata } }) as KubeObject;
      return store.put(resource, key, withServerFields(resourceType(resource), copy));
    },
    delete: (resource, name, namespace) =>
      store.remove(resource, objectKey({ name, namespace })) !== undefined,
    get: (resource, name, namespace) => store.get(resource, objectKey({ name, namespace })),
    list: (resource) => (store.snapshot(resource)?.entries ?? []).map(([, object]) => object),
    revision: () => store.revision,
    setTokens: (table) => {
      tokens = table;
    },
    kubeconfig: (user = defaultUser(tokens)) => renderKubeconfig(url, tls?.ca, user),
    inClusterFiles: (dir, token = Object.keys(tokens ?? {})[0] ?? "") => {
      mkdirSync(dir, { recursive: true });
      writeFileSync(join(dir, "token"), token);
      writeFileSync(join(dir, "namespace"), "kube-system");
      if (tls !== undefined) writeFileSync(join(dir, "ca.crt"), readFileSync(tls.ca));
      return { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: String(port) };
    },
    close: async () => {
      faults.clear();
      if (server.listening) await faults.down();
    },
  };
  for (const name of ["default", "kube-system"]) fake.put("namespaces", { metadata: { name } });
  return fake;
}

function defaultUser(tokens: TokenTable | undefined): KubeconfigUser {
  const token = Object.keys(tokens ?? {})[0];
  return token === undefined ? {} : { token };
}

/** JSON is YAML, and needs no quoting rules. */
function renderKubeconfig(
  url: string,
  ca: string | undefined,
  { token, certificate }: KubeconfigUser,
): string {
  const pem = (path: string): string => readFileSync(path).toString("base64");
  const user = {
    ...(token === undefined ? {} : { token }),
    ...(certificate === undefined
      ? {}
      : { "client-certificate-data": pem(certificate.cert), "client-key-data": pem(certificate.key) }),
  };
  const cluster = {
    server: url,
    ...(ca === undefined ? { "insecure-skip-tls-verify": true } : { "certificate-authority-data": pem(ca) }),
  };
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "fake", cluster }],
    users: [{ name: "fake", user }],
    contexts: [{ name: "fake", context: { cluster: "fake", user: "fake" } }],
    "current-context": "fake",
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
