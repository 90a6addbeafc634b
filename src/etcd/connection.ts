// What the operator says of etcd (endpoints, certificates, user) turned into addresses to dial; pure.
import { InvalidValueError } from "../net/errors.ts";

/** flannel's --etcd-* flags. Secrets stay in here: they are never logged and never part of an error. */
export interface EtcdConnection {
  /** URLs; a bare `host:port` is accepted as flannel's client does. */
  readonly endpoints: readonly string[];
  /** PEM files. */
  readonly keyFile?: string;
  readonly certFile?: string;
  readonly caFile?: string;
  readonly username?: string;
  readonly password?: string;
}

export interface EtcdEndpoint {
  /** For people: `https://10.0.0.1:2379`. */
  readonly url: string;
  /** For gRPC: `10.0.0.1:2379`. */
  readonly target: string;
  readonly tls: boolean;
}

export interface ConnectionPlan {
  readonly endpoints: readonly EtcdEndpoint[];
  /** Send a client certificate: only with both files, flannel's rule. */
  readonly clientCertificate: boolean;
  /** What is odd about the settings though it can work, each with its cure. */
  readonly warnings: readonly string[];
}

const DEFAULT_PORT = 2379;
const ENDPOINT = /^(?:(https?):\/\/)?(\[[0-9a-f:.]+\]|[^/:@?#[\]]+)(?::(\d{1,5}))?\/?$/i;

/**
 * Decides per endpoint whether it is dialled with TLS: `https` always, `http` never, a bare address if there are TLS
 * files (as etcd's own client does with endpoints that have no scheme).
 * @throws {InvalidValueError}
 */
export function planConnection(connection: EtcdConnection): ConnectionPlan {
  const hasKey = isGiven(connection.keyFile);
  const hasCert = isGiven(connection.certFile);
  const clientCertificate = hasKey && hasCert;
  const tlsFiles = clientCertificate || isGiven(connection.caFile);
  const endpoints = connection.endpoints
    .map((text) => text.trim())
    .filter((text) => text !== "")
    .map((text) => parseEndpoint(text, tlsFiles));
  if (endpoints.length === 0) {
    throw new InvalidValueError(
      "no etcd endpoint is given; --etcd-endpoints wants for example http://127.0.0.1:2379",
    );
  }
  return { endpoints, clientCertificate, warnings: warningsFor(connection, endpoints, hasKey, hasCert) };
}

function isGiven(text: string | undefined): boolean {
  return text !== undefined && text !== "";
}

function parseEndpoint(text: string, tlsFiles: boolean): EtcdEndpoint {
  const match = ENDPOINT.exec(text);
  const port = Number(match?.[3] ?? DEFAULT_PORT);
  if (match === null || port < 1 || port > 65_535) {
    // A URL with user:password@ must not be echoed.
    const shown = text.includes("@")
      ? "an etcd endpoint with user or password in it"
      : `etcd endpoint "${text}"`;
    throw new InvalidValueError(
      `${shown} is not http://HOST:PORT or https://HOST:PORT (user and password belong in --etcd-username and --etcd-password)`,
    );
  }
  const scheme = match[1]?.toLowerCase();
  const tls = scheme === undefined ? tlsFiles : scheme === "https";
  const target = `${match[2] ?? ""}:${port}`;
  return { url: `${tls ? "https" : "http"}://${target}`, target, tls };
}

function warningsFor(
  connection: EtcdConnection,
  endpoints: readonly EtcdEndpoint[],
  hasKey: boolean,
  hasCert: boolean,
): readonly string[] {
  const warnings: string[] = [];
  if (hasKey !== hasCert) {
    const [given, missing] = hasKey
      ? ["--etcd-keyfile", "--etcd-certfile"]
      : ["--etcd-certfile", "--etcd-keyfile"];
    warnings.push(
      `${given} is given without ${missing}, so no client certificate is sent; give both or neither`,
    );
  }
  const plain = endpoints.filter((endpoint) => !endpoint.tls);
  if ((hasKey || hasCert || isGiven(connection.caFile)) && plain.length > 0) {
    const urls = plain.map((endpoint) => endpoint.url).join(", ");
    warnings.push(
      `TLS files are given, but ${urls} is plain http and will not be encrypted; write https:// to use TLS`,
    );
  }
  if (isGiven(connection.username) && plain.length > 0) {
    warnings.push("the etcd password travels unencrypted over http; write https:// endpoints to protect it");
  }
  if (isGiven(connection.password) && !isGiven(connection.username)) {
    warnings.push("--etcd-password is given without --etcd-username and is not used; give both or neither");
  }
  return warnings;
}
