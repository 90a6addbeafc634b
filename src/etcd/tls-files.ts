// Reads the certificate files for etcd and checks that they fit together, so that a mistake is named at once.
import { readFileSync } from "node:fs";
import { createSecureContext, getCACertificates } from "node:tls";
import { EtcdCallError } from "./client.ts";
import type { EtcdConnection } from "./connection.ts";

/** What gRPC wants; PEM. */
export interface TlsMaterial {
  readonly rootCertificate: Buffer;
  readonly privateKey?: Buffer;
  readonly certChain?: Buffer;
}

/**
 * Reads the files anew; called again when a handshake fails, so that renewed certificates need no restart.
 * Without a CA file the system's certificates count, as for Go.
 * @throws {EtcdCallError} not retryable, naming flag and file
 */
export function readTlsMaterial(connection: EtcdConnection, clientCertificate: boolean): TlsMaterial {
  const rootCertificate = connection.caFile
    ? readPem("--etcd-cafile", connection.caFile)
    : Buffer.from(getCACertificates("system").join("\n"));
  if (!clientCertificate)
    return { rootCertificate: checked({ rootCertificate }, connection).rootCertificate };
  return checked(
    {
      rootCertificate,
      privateKey: readPem("--etcd-keyfile", connection.keyFile ?? ""),
      certChain: readPem("--etcd-certfile", connection.certFile ?? ""),
    },
    connection,
  );
}

export function sameTlsMaterial(a: TlsMaterial, b: TlsMaterial): boolean {
  const equal = (x?: Buffer, y?: Buffer) => (x === undefined || y === undefined ? x === y : x.equals(y));
  return (
    equal(a.rootCertificate, b.rootCertificate) &&
    equal(a.privateKey, b.privateKey) &&
    equal(a.certChain, b.certChain)
  );
}

function readPem(flag: string, path: string): Buffer {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    throw new EtcdCallError(`${flag} ${path} cannot be read: ${(error as Error).message}`, false);
  }
  if (!content.includes("-----BEGIN ")) {
    throw new EtcdCallError(`${flag} ${path} is not a PEM file (it has no -----BEGIN line)`, false);
  }
  return content;
}

function checked(material: TlsMaterial, connection: EtcdConnection): TlsMaterial {
  try {
    createSecureContext({ ca: material.rootCertificate, key: material.privateKey, cert: material.certChain });
  } catch (error) {
    // OpenSSL's reason ("key values mismatch") holds no key material.
    const files = [connection.caFile, connection.certFile, connection.keyFile].filter(Boolean).join(", ");
    throw new EtcdCallError(
      `the TLS files for etcd (${files}) do not fit together: ${(error as Error).message}`,
      false,
    );
  }
  return material;
}
