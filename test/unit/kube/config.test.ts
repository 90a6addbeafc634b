// Where the API server is found and with what credentials.
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadKubeConnection } from "../../../src/kube/config.ts";
import type { KubeConfigOptions } from "../../../src/kube/config.ts";

let directory: string;
let account: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "fts-kubeconfig-"));
  account = path.join(directory, "account");
  mkdirSync(account);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const IN_CLUSTER = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };
const PEM = (name: string): string => `-----BEGIN ${name}-----\nAA==\n-----END ${name}-----\n`;
const base64 = (text: string): string => Buffer.from(text).toString("base64");

function write(name: string, text: string): string {
  const file = path.join(directory, name);
  writeFileSync(file, text);
  return file;
}

const load = (options: Partial<KubeConfigOptions>) =>
  loadKubeConnection({ env: {}, serviceAccountDirectory: account, ...options });

describe("in a cluster", () => {
  test.each([
    ["10.96.0.1", "https://10.96.0.1"],
    ["fd00:10:96::1", "https://[fd00:10:96::1]"],
  ])("the pod's service account, API at %s", async (host, url) => {
    write("account/token", "secret\n");
    write("account/ca.crt", PEM("CERTIFICATE"));
    const connection = await load({ env: { ...IN_CLUSTER, KUBERNETES_SERVICE_HOST: host } });
    expect(connection.baseUrl).toBe(url);
    expect(await connection.credentials()).toEqual({ token: "secret", ca: PEM("CERTIFICATE") });
  });

  test("a token that the kubelet rotates is read again after a minute, and at once when refused", async () => {
    write("account/token", "first");
    let nowMs = 0;
    const connection = await load({ env: IN_CLUSTER, now: () => nowMs });
    const token = async (fresh = false) => (await connection.credentials({ fresh })).token;
    expect(await token()).toBe("first");
    write("account/token", "second");
    nowMs = 59_000;
    expect(await token()).toBe("first");
    nowMs = 61_000;
    expect(await token()).toBe("second");
    write("account/token", "third");
    expect(await token(true)).toBe("third");
    rmSync(path.join(account, "token"));
    expect(await token(true)).toBe("third");
  });

  test.each([
    [{}, /KUBERNETES_SERVICE_HOST.*--kubeconfig-file or --kube-api-url/],
    [IN_CLUSTER, /token is not there.*automountServiceAccountToken/],
  ])("%j: says what is missing and the ways to give it", async (env, message) => {
    await expect(load({ env })).rejects.toThrow(message);
  });
});

describe("--kube-api-url", () => {
  test.each([
    ["https://192.0.2.1:6443/", "https://192.0.2.1:6443"],
    ["http://127.0.0.1:8080", "http://127.0.0.1:8080"],
    ["127.0.0.1:8080", "http://127.0.0.1:8080"],
    ["https://proxy.example/clusters/c1/", "https://proxy.example/clusters/c1"],
  ])("%s", async (apiUrl, baseUrl) => {
    expect((await load({ apiUrl })).baseUrl).toBe(baseUrl);
  });

  test("over https, the pod's service account goes with it; over http no secret does", async () => {
    write("account/token", "secret");
    const secure = await load({ apiUrl: "https://192.0.2.1:6443" });
    expect(await secure.credentials()).toEqual({ token: "secret" });
    const open = await load({ apiUrl: "http://192.0.2.1:8080" });
    expect(await open.credentials()).toEqual({});
  });

  test.each(["ftp://192.0.2.1", "https://", "https://user:secret@192.0.2.1"])(
    "%s is refused",
    async (apiUrl) => {
      const loading = load({ apiUrl });
      await expect(loading).rejects.toThrow(/--kube-api-url/);
      await expect(loading).rejects.not.toThrow(/secret/);
    },
  );
});

describe("--kubeconfig-file", () => {
  interface Parts {
    readonly cluster?: Readonly<Record<string, unknown>>;
    readonly user?: Readonly<Record<string, unknown>>;
    readonly changes?: Readonly<Record<string, unknown>>;
  }
  /** JSON is YAML. */
  const kubeconfig = ({ cluster = {}, user = {}, changes = {} }: Parts): string =>
    write(
      "kubeconfig",
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        "current-context": "here",
        contexts: [
          { name: "there", context: { cluster: "other", user: "other" } },
          { name: "here", context: { cluster: "c", user: "u" } },
        ],
        clusters: [{ name: "c", cluster: { server: "https://192.0.2.1:6443", ...cluster } }],
        users: [{ name: "u", user }],
        ...changes,
      }),
    );

  test("YAML as kubeadm writes it: client certificate and authority inline", async () => {
    const kubeconfigFile = write(
      "admin.conf",
      `apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: ${base64(PEM("CERTIFICATE"))}
    server: https://k8s.example:6443
  name: kubernetes
contexts:
- context: {cluster: kubernetes, user: kubernetes-admin}
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
users:
- name: kubernetes-admin
  user:
    client-certificate-data: ${base64(PEM("CERTIFICATE"))}
    client-key-data: ${base64(PEM("PRIVATE KEY"))}
`,
    );
    const connection = await load({ kubeconfigFile });
    expect(connection.baseUrl).toBe("https://k8s.example:6443");
    expect(connection.source).toContain("kubernetes-admin@kubernetes");
    expect(await connection.credentials()).toMatchObject({
      ca: PEM("CERTIFICATE"),
      cert: PEM("CERTIFICATE"),
      key: PEM("PRIVATE KEY"),
    });
  });

  test("files are relative to it and read again", async () => {
    write("ca.pem", PEM("CERTIFICATE"));
    write("client.key", "old key");
    write("client.pem", "old certificate");
    write("token", "old token\n");
    const kubeconfigFile = kubeconfig({
      cluster: { "certificate-authority": "ca.pem", "tls-server-name": "kubernetes" },
      user: {
        "client-certificate": "client.pem",
        "client-key": "client.key",
        tokenFile: "token",
        token: "ignored",
      },
    });
    const connection = await load({ kubeconfigFile });
    expect(connection.serverName).toBe("kubernetes");
    expect(await connection.credentials()).toMatchObject({
      token: "old token",
      cert: "old certificate",
      key: "old key",
    });
    write("token", "new token");
    write("client.pem", "new certificate");
    expect(await connection.credentials({ fresh: true })).toMatchObject({
      token: "new token",
      cert: "new certificate",
    });
  });

  test("--kube-api-url overrides its server", async () => {
    const connection = await load({
      kubeconfigFile: kubeconfig({ user: { token: "t" } }),
      apiUrl: "https://192.0.2.9:6443",
    });
    expect(connection.baseUrl).toBe("https://192.0.2.9:6443");
    expect((await connection.credentials()).token).toBe("t");
  });

  test("name and password, impersonation, no check of the certificate", async () => {
    const connection = await load({
      kubeconfigFile: kubeconfig({
        cluster: { "insecure-skip-tls-verify": true },
        user: { username: "u", password: "p", as: "someone", "as-groups": ["g1", "g2"] },
      }),
    });
    expect(connection.insecure).toBe(true);
    expect(await connection.credentials()).toMatchObject({
      authorization: `Basic ${base64("u:p")}`,
      headers: { "Impersonate-User": "someone", "Impersonate-Group": ["g1", "g2"] },
    });
  });

  test.each<[string, Parts, RegExp]>([
    ["no context", { changes: { "current-context": "" } }, /current-context is not set/],
    ["another context", { changes: { "current-context": "nowhere" } }, /no context named "nowhere"/],
    ["no such cluster", { changes: { clusters: [] } }, /no cluster named "c"/],
    ["no such user", { changes: { users: null } }, /no user named "u"/],
    ["no server", { cluster: { server: "" } }, /has no server/],
    ["a proxy", { cluster: { "proxy-url": "socks5://x" } }, /proxy-url.*not supported/],
    ["a missing file", { user: { tokenFile: "gone" } }, /tokenFile: ENOENT/],
    [
      "no base64 of PEM",
      { cluster: { "certificate-authority-data": "c2VjcmV0" } },
      /authority-data is not PEM/,
    ],
  ])("%s: says so, with the file's name", async (_, parts, message) => {
    const loading = load({ kubeconfigFile: kubeconfig(parts) });
    await expect(loading).rejects.toThrow(message);
    await expect(loading).rejects.toThrow(directory);
  });

  test("a credential plugin is run, and again when its token is refused", async () => {
    const script = write(
      "plugin",
      `#!/bin/sh
echo x >>"${directory}/runs"
token=token-$(wc -l <"${directory}/runs")
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$token'"}}'
`,
    );
    chmodSync(script, 0o755);
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: script,
      interactiveMode: "Never",
    };
    const connection = await load({ kubeconfigFile: kubeconfig({ user: { exec } }) });
    expect((await connection.credentials()).authorization).toBe("Bearer token-1");
    expect((await connection.credentials()).authorization).toBe("Bearer token-1");
    expect((await connection.credentials({ fresh: true })).authorization).toBe("Bearer token-2");
  });

  test("broken YAML is told by its line, without its secrets", async () => {
    const loading = load({ kubeconfigFile: write("broken", 'users:\n- {token: "secret\n') });
    await expect(loading).rejects.toThrow(/not valid YAML \(line \d+\)/);
    await expect(loading).rejects.not.toThrow(/secret/);
  });
});
