// A real kube-apiserver on loopback with an etcd of its own, nothing else: no controllers, no kubelets.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exec } from "../../../src/kernel/exec.ts";
import { makeCertificates } from "../certificates.ts";
import type { Certificates } from "../certificates.ts";
import { startEtcd } from "../etcd.ts";
import { freePorts } from "../free-ports.ts";
import { createKubeCaller } from "../kube-caller.ts";
import { waitFor } from "../wait.ts";
import { kubernetesProgram } from "./binaries.ts";

export interface RealApiServer {
  /** https://127.0.0.1:PORT */
  readonly url: string;
  readonly certificates: Certificates;
  /** Of a member of system:masters. */
  readonly adminToken: string;
  /** SIGKILL and start: connections break, the watch cache starts empty. */
  restart(): Promise<void>;
  /** SIGKILL; `start` brings it back on its port. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Compacts its etcd at the current revision: pages of lists begun before expire. */
  compact(): Promise<void>;
  close(): Promise<void>;
}

export interface RealApiServerOptions {
  /** More bearer tokens: token -> user name, who may do what RBAC objects allow. */
  readonly tokens?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
}

const ADMIN_TOKEN = "admin-token";

/** Starts both and waits until the API server is ready, about 5 s. The caller closes it. */
export async function startRealApiServer(options: RealApiServerOptions = {}): Promise<RealApiServer> {
  const program = kubernetesProgram("kube-apiserver");
  const dir = mkdtempSync(join(tmpdir(), "flanneld-ts-kube-"));
  const etcd = await startEtcd();
  let child: ChildProcess | undefined;
  const kill = async (): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  };
  const close = async (): Promise<void> => {
    await kill();
    await etcd.close();
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const certificates = await makeCertificates(dir);
    const [port = 0] = await freePorts(1);
    const url = `https://127.0.0.1:${port}`;
    const args = [...(await writeConfiguration(dir, certificates, options)), ...(options.args ?? [])].concat(
      `--secure-port=${port}`,
      `--etcd-servers=${etcd.endpoints.join(",")}`,
    );
    const admin = createKubeCaller({ url, ca: readFileSync(certificates.ca), token: ADMIN_TOKEN });
    const logFile = join(dir, "apiserver.log");
    const start = async (): Promise<void> => {
      const log = openSync(logFile, "a");
      // It must not outlive a test worker that is killed.
      const current = spawn("setpriv", ["--pdeathsig", "KILL", program, ...args], {
        stdio: ["ignore", log, log],
      });
      child = current;
      closeSync(log);
      await waitFor(
        `kube-apiserver on port ${port}`,
        async () => {
          if (current.exitCode !== null)
            throw new Error(`kube-apiserver ended:\n${readFileSync(logFile, "utf8").slice(-3000)}`);
          return (await admin("GET", "/readyz").catch(() => undefined))?.status === 200;
        },
        { timeoutMs: 60_000, intervalMs: 100 },
      );
    };
    await start();
    return {
      url,
      certificates,
      adminToken: ADMIN_TOKEN,
      kill,
      start,
      restart: async () => {
        await kill();
        await start();
      },
      compact: () => etcd.compact(),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function writeConfiguration(
  dir: string,
  { ca, serverCert, serverKey }: Certificates,
  { tokens = {} }: RealApiServerOptions,
): Promise<string[]> {
  const tokenFile = join(dir, "tokens.csv");
  const rows = Object.entries(tokens).map(([token, user]) => `${token},${user},${user}\n`);
  writeFileSync(tokenFile, `${ADMIN_TOKEN},admin,admin,"system:masters"\n${rows.join("")}`);
  const accountKey = join(dir, "service-account.key");
  await exec("openssl", ["genrsa", "-out", accountKey, "2048"]);
  return [
    "--bind-address=127.0.0.1",
    // Loopback is refused here, and nobody dials it.
    "--advertise-address=192.0.2.1",
    `--cert-dir=${dir}`,
    `--tls-cert-file=${serverCert}`,
    `--tls-private-key-file=${serverKey}`,
    `--client-ca-file=${ca}`,
    `--token-auth-file=${tokenFile}`,
    "--authorization-mode=RBAC",
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${accountKey}`,
    `--service-account-signing-key-file=${accountKey}`,
    "--service-cluster-ip-range=10.96.0.0/16",
    // Without a controller manager no service accounts are made, and pods would wait for theirs.
    "--disable-admission-plugins=ServiceAccount",
  ];
}
