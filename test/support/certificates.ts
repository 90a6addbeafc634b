// A certificate authority with a server and a client certificate for loopback, made with openssl, and a second authority.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exec } from "../../src/kernel/exec.ts";

/** Paths of PEM files. */
export interface Certificates {
  readonly ca: string;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly clientCert: string;
  readonly clientKey: string;
  /** An authority that signed nothing of the above, and a client certificate by it. */
  readonly otherCa: string;
  readonly otherClientCert: string;
  readonly otherClientKey: string;
}

export async function makeCertificates(parent: string): Promise<Certificates> {
  const dir = join(parent, "tls");
  mkdirSync(dir, { recursive: true });
  const path = (name: string) => join(dir, name);
  await makeAuthority(path("ca"));
  await makeAuthority(path("other-ca"));
  await makeCertificate(path("server"), path("ca"), "subjectAltName=IP:127.0.0.1,DNS:localhost");
  await makeCertificate(path("client"), path("ca"), "extendedKeyUsage=clientAuth");
  await makeCertificate(path("other-client"), path("other-ca"), "extendedKeyUsage=clientAuth");
  return {
    ca: path("ca.pem"),
    serverCert: path("server.pem"),
    serverKey: path("server.key"),
    clientCert: path("client.pem"),
    clientKey: path("client.key"),
    otherCa: path("other-ca.pem"),
    otherClientCert: path("other-client.pem"),
    otherClientKey: path("other-client.key"),
  };
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

async function makeAuthority(base: string): Promise<void> {
  const out = ["-keyout", `${base}.key`, "-out", `${base}.pem`];
  await exec("openssl", [
    "req",
    "-x509",
    ...NEW_KEY,
    ...out,
    "-days",
    "30",
    "-subj",
    `/CN=test ${base.split("/").pop()}`,
  ]);
}

async function makeCertificate(base: string, authority: string, extension: string): Promise<void> {
  writeFileSync(`${base}.ext`, `${extension}\n`);
  await exec("openssl", [
    "req",
    ...NEW_KEY,
    "-keyout",
    `${base}.key`,
    "-out",
    `${base}.csr`,
    "-subj",
    `/CN=${base.split("/").pop()}`,
  ]);
  const signer = ["-CA", `${authority}.pem`, "-CAkey", `${authority}.key`, "-CAcreateserial"];
  await exec("openssl", [
    "x509",
    "-req",
    "-in",
    `${base}.csr`,
    ...signer,
    "-out",
    `${base}.pem`,
    "-days",
    "30",
    "-extfile",
    `${base}.ext`,
  ]);
}
