// Certificates and kubeconfigs of a real cluster: one authority, one certificate per component.
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exec } from "../../../src/kernel/exec.ts";

export interface ClusterPki {
  readonly dir: string;
  readonly caFile: string;
  readonly serverCertFile: string;
  readonly serverKeyFile: string;
  /** What the API server shows to kubelets. */
  readonly kubeletClientCertFile: string;
  readonly kubeletClientKeyFile: string;
  /** Signs the tokens of service accounts. */
  readonly accountKeyFile: string;
  readonly caKeyFile: string;
  /** Makes a client certificate and gives the path of a kubeconfig with it. Subject as openssl wants it. */
  writeKubeconfig(name: string, subject: string): Promise<string>;
}

export interface PkiOptions {
  readonly dir: string;
  /** https://192.0.2.1:6443 */
  readonly serverUrl: string;
  /** Every address by which the API server is reached. */
  readonly serverAddresses: readonly string[];
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
const DAYS = ["-days", "30"];

export async function makeClusterPki({ dir, serverUrl, serverAddresses }: PkiOptions): Promise<ClusterPki> {
  mkdirSync(dir, { recursive: true });
  const file = (name: string): string => join(dir, name);
  const sign = async (name: string, subject: string, extensions: readonly string[]): Promise<void> => {
    writeFileSync(file(`${name}.ext`), `${extensions.join("\n")}\n`);
    const request = [
      ...NEW_KEY,
      "-keyout",
      file(`${name}.key`),
      "-out",
      file(`${name}.csr`),
      "-subj",
      subject,
    ];
    await exec("openssl", ["req", ...request]);
    // By chance: nodes join at the same time, and the file that openssl counts in is not locked.
    const serial = ["-set_serial", `0x${randomBytes(8).toString("hex")}`];
    const signer = ["-CA", file("ca.crt"), "-CAkey", file("ca.key"), ...serial];
    const out = ["-in", file(`${name}.csr`), "-out", file(`${name}.crt`), "-extfile", file(`${name}.ext`)];
    await exec("openssl", ["x509", "-req", ...signer, ...out, ...DAYS]);
  };
  const authority = ["-x509", ...NEW_KEY, "-keyout", file("ca.key"), "-out", file("ca.crt"), ...DAYS];
  await exec("openssl", ["req", ...authority, "-subj", "/CN=test-cluster"]);
  await exec("openssl", ["genrsa", "-out", file("accounts.key"), "2048"]);
  const names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
  const alternatives = [...serverAddresses.map((ip) => `IP:${ip}`), ...names.map((dns) => `DNS:${dns}`)];
  await sign("apiserver", "/CN=kube-apiserver", [
    `subjectAltName=${alternatives.join(",")}`,
    "extendedKeyUsage=serverAuth",
  ]);
  await sign("kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client", [
    "extendedKeyUsage=clientAuth",
  ]);
  return {
    dir,
    caFile: file("ca.crt"),
    caKeyFile: file("ca.key"),
    serverCertFile: file("apiserver.crt"),
    serverKeyFile: file("apiserver.key"),
    kubeletClientCertFile: file("kubelet-client.crt"),
    kubeletClientKeyFile: file("kubelet-client.key"),
    accountKeyFile: file("accounts.key"),
    writeKubeconfig: async (name, subject) => {
      await sign(name, subject, ["extendedKeyUsage=clientAuth"]);
      const data = (path: string): string => readFileSync(file(path)).toString("base64");
      const config = {
        apiVersion: "v1",
        kind: "Config",
        clusters: [
          { name: "test", cluster: { server: serverUrl, "certificate-authority-data": data("ca.crt") } },
        ],
        users: [
          {
            name: "test",
            user: { "client-certificate-data": data(`${name}.crt`), "client-key-data": data(`${name}.key`) },
          },
        ],
        contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
        "current-context": "test",
      };
      // JSON is YAML.
      writeFileSync(file(`${name}.kubeconfig`), JSON.stringify(config, null, 2), { mode: 0o600 });
      return file(`${name}.kubeconfig`);
    },
  };
}
