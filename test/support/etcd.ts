// Real etcd servers on loopback for tests: one or three members, TLS, authentication, and ways to hurt them.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, openSync, closeSync, rmSync } from "node:fs";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exec } from "../../src/kernel/exec.ts";
import type { EtcdConnection } from "../../src/etcd/connection.ts";
import { makeCertificates } from "./certificates.ts";
import type { Certificates } from "./certificates.ts";
import { freePorts } from "./free-ports.ts";
import { waitFor } from "./wait.ts";

export interface EtcdMember {
  /** `127.0.0.1:PORT`, without the scheme. */
  readonly address: string;
  readonly port: number;
  /** Starts it (again) and waits until it serves, unless the cluster has no quorum. */
  start(options?: { readonly waitHealthy?: boolean }): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGTERM. */
  stop(): Promise<void>;
  /** Deletes its data; only after `kill` or `stop`. It starts as a new, empty server. */
  wipe(): void;
  /** SIGSTOP and SIGCONT: a server that holds its connections and says nothing. */
  freeze(): void;
  thaw(): void;
}

export interface TestEtcd {
  readonly members: readonly EtcdMember[];
  readonly endpoints: readonly string[];
  readonly certificates: Certificates | undefined;
  /** What a client with every right needs. */
  readonly connection: EtcdConnection;
  /** Runs etcdctl with every right. */
  etcdctl(...args: string[]): Promise<string>;
  /** Compacts at the current revision. */
  compact(): Promise<void>;
  /** Switches authentication on: user root, and user flannel with readwrite on `prefix`. Returns the connection of the latter. */
  enableAuth(prefix: string): Promise<EtcdConnection>;
  /** Ends everything and removes the files. */
  close(): Promise<void>;
}

export interface TestEtcdOptions {
  readonly members?: 1 | 3;
  /** Serve with TLS and want client certificates. */
  readonly tls?: boolean;
  readonly args?: readonly string[];
}

export const ROOT = { username: "root", password: "root-secret-93" };
export const FLANNEL = { username: "flannel", password: "flannel-secret-17" };

/** Starts it. The caller closes it in `afterAll`, `afterEach` or `finally`; it also dies with this process. */
export async function startEtcd(options: TestEtcdOptions = {}): Promise<TestEtcd> {
  const count = options.members ?? 1;
  const dir = mkdtempSync(join(tmpdir(), "fts-etcd-"));
  const removeDir = () => rmSync(dir, { recursive: true, force: true });
  process.once("exit", removeDir);
  const certificates = options.tls ? await makeCertificates(dir) : undefined;
  const ports = await freePorts(count * 2);
  const scheme = certificates ? "https" : "http";
  const names = Array.from({ length: count }, (_, i) => `m${i}`);
  const peers = names.map((_, i) => `http://127.0.0.1:${ports[count + i]}`);
  const shared = ["--initial-cluster", names.map((name, i) => `${name}=${peers[i]}`).join(",")]
    .concat(["--heartbeat-interval", "50", "--election-timeout", "500", "--logger", "zap"])
    .concat(certificates ? tlsArgs(certificates) : [], options.args ?? []);
  const members = names.map((name, i) => {
    const dataDir = join(dir, name);
    const urls = { client: `${scheme}://127.0.0.1:${ports[i]}`, peer: peers[i]! };
    return createMember({
      port: ports[i]!,
      args: [...memberArgs(name, dataDir, urls), ...shared],
      dataDir,
      certificates,
    });
  });
  let auth: { username: string; password: string } | undefined;
  const endpoints = members.map((member) => `${scheme}://${member.address}`);
  const files = certificates && {
    caFile: certificates.ca,
    certFile: certificates.clientCert,
    keyFile: certificates.clientKey,
  };
  const etcdctl = async (...args: string[]): Promise<string> => {
    const flags = ["--endpoints", endpoints.join(",")]
      .concat(files ? ["--cacert", files.caFile, "--cert", files.certFile, "--key", files.keyFile] : [])
      .concat(auth ? ["--user", `${auth.username}:${auth.password}`] : []);
    return (await exec("etcdctl", [...flags, ...args], { env: { ETCDCTL_API: "3" } })).stdout;
  };
  const close = async (): Promise<void> => {
    await Promise.all(members.map((member) => member.kill()));
    removeDir();
    process.off("exit", removeDir);
  };
  try {
    await Promise.all(members.map((member) => member.start()));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    members,
    endpoints,
    certificates,
    get connection() {
      return { endpoints, ...files, ...auth };
    },
    etcdctl,
    compact: async () => {
      const status = JSON.parse(await etcdctl("get", "x", "-w", "json")) as { header: { revision: number } };
      await etcdctl("compact", String(status.header.revision)).catch((error: unknown) => {
        // Nothing was written since the last time.
        if (!String(error).includes("has been compacted")) throw error;
      });
    },
    enableAuth: async (prefix) => {
      await etcdctl("user", "add", `${ROOT.username}:${ROOT.password}`);
      await etcdctl("user", "add", `${FLANNEL.username}:${FLANNEL.password}`);
      await etcdctl("role", "add", "flannel");
      await etcdctl("role", "grant-permission", "flannel", "readwrite", prefix, "--prefix=true");
      await etcdctl("user", "grant-role", "flannel", "flannel");
      await etcdctl("user", "grant-role", "root", "root");
      await etcdctl("auth", "enable");
      auth = ROOT;
      return { endpoints, ...files, ...FLANNEL };
    },
    close,
  };
}

function memberArgs(
  name: string,
  dataDir: string,
  { client, peer }: { client: string; peer: string },
): string[] {
  return ["--name", name, "--data-dir", dataDir, "--listen-client-urls", client]
    .concat(["--advertise-client-urls", client, "--listen-peer-urls", peer])
    .concat(["--initial-advertise-peer-urls", peer]);
}

function tlsArgs({ ca, serverCert, serverKey }: Certificates): string[] {
  return ["--client-cert-auth", "--trusted-ca-file", ca, "--cert-file", serverCert, "--key-file", serverKey];
}

interface MemberOptions {
  readonly port: number;
  readonly args: readonly string[];
  readonly dataDir: string;
  readonly certificates: Certificates | undefined;
}

function createMember({ port, args, dataDir, certificates }: MemberOptions): EtcdMember {
  const logFile = `${dataDir}.log`;
  let child: ChildProcess | undefined;
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    if (signal === "SIGKILL") child.kill("SIGCONT");
    await gone;
    child = undefined;
  };
  return {
    address: `127.0.0.1:${port}`,
    port,
    start: async ({ waitHealthy = true } = {}) => {
      const log = openSync(logFile, "a");
      // It must not outlive a test worker that is killed.
      const current = spawn("setpriv", ["--pdeathsig", "KILL", "etcd", ...args], {
        stdio: ["ignore", log, log],
      });
      child = current;
      closeSync(log);
      if (!waitHealthy) return;
      await waitFor(
        `etcd on port ${port}`,
        async () => {
          if (current.exitCode !== null)
            throw new Error(`etcd ended:\n${readFileSync(logFile, "utf8").slice(-2000)}`);
          return await isHealthy(port, certificates);
        },
        { timeoutMs: 30_000, intervalMs: 50 },
      );
    },
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
    wipe: () => rmSync(dataDir, { recursive: true, force: true }),
    freeze: () => void child?.kill("SIGSTOP"),
    thaw: () => void child?.kill("SIGCONT"),
  };
}

async function isHealthy(port: number, certificates: Certificates | undefined): Promise<boolean> {
  const target = { host: "127.0.0.1", port, path: "/health", agent: false, timeout: 2_000 };
  const request = certificates
    ? httpsRequest({
        ...target,
        ca: readFileSync(certificates.ca),
        cert: readFileSync(certificates.clientCert),
        key: readFileSync(certificates.clientKey),
      })
    : httpRequest(target);
  const response = new Promise<boolean>((resolve, reject) => {
    request.on("response", (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", reject);
  });
  request.end();
  return await response;
}
