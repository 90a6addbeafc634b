// etcd for a lab: one member as a child process in a machine, with TLS and authentication on request.
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { writeFile, mkdir } from "node:fs/promises";
import path from "node:path";
import { makeCertificates } from "./etcd-certificates.ts";
import type { Machine, MachineProcess } from "./machine.ts";
import { waitUntil } from "./wait.ts";

export interface EtcdOptions {
  /** Serve TLS and require client certificates. */
  readonly tls?: boolean;
  /** Turn authentication on: user root, and a user for the daemons that may use the prefix only. */
  readonly auth?: boolean;
  /** Prefix the daemons' user may use. Default /coreos.com/network. */
  readonly prefix?: string;
  readonly port?: number;
  readonly extraFlags?: readonly string[];
}

export interface LabEtcd {
  /** Comma list for --etcd-endpoints, as nodes reach it. */
  readonly endpoints: string;
  /** Key under which the cluster's configuration and leases lie. */
  readonly prefix: string;
  /** All flags by which a daemon reaches this etcd. */
  readonly daemonFlags: readonly string[];
  /** The daemon's password, where there is one: in the environment, which `ps` does not show. */
  readonly daemonEnv: Readonly<Record<string, string>>;
  /** Puts the files that those flags name into a node. */
  installInto(machine: Machine): Promise<void>;
  /** Runs etcdctl with endpoint, certificates and root's password, and gives its standard output. @throws {ExecError} */
  ctl(...args: readonly string[]): Promise<string>;
  /** Starts the member and waits until it serves. Data of before is kept. */
  start(): Promise<void>;
  stop(signal?: NodeJS.Signals): Promise<void>;
  isRunning(): boolean;
  /** PID in our own PID namespace, e.g. to stop and continue it by signal. */
  pid(): number | undefined;
  /** Loses all data, as a disk that was replaced: users and roles come back, keys do not. */
  wipe(): Promise<void>;
  /** Compacts all history up to the present revision, which it returns. */
  compact(): Promise<number>;
  /** Ends it for good. An etcd that is not ours loses the keys of this lab and runs on. */
  close(): Promise<void>;
}

export const DEFAULT_PREFIX = "/coreos.com/network";

/** All keys under the prefix with their values. */
export async function listKeys(etcd: LabEtcd): Promise<ReadonlyMap<string, string>> {
  const text = await etcd.ctl("get", "--prefix", "--write-out=json", `${etcd.prefix}/`);
  const { kvs = [] } = JSON.parse(text) as { kvs?: readonly { key: string; value?: string }[] };
  const decode = (base64: string): string => Buffer.from(base64, "base64").toString();
  return new Map(kvs.map(({ key, value }) => [decode(key), decode(value ?? "")]));
}

/** What the daemons log in with. */
export const DAEMON_USER = { name: "flannel", password: "flannel-secret" } as const;
const ROOT_USER = { name: "root", password: "root-secret" } as const;

const NODE_TLS_DIRECTORY = "/etc/flannel-etcd";
const DATA_DIRECTORY = "/run/etcd";
const START_TIMEOUT_MS = 60_000;

/** Starts etcd in `machine`, listening on `address` of it; the log goes to `logFile`. */
export async function startEtcd(
  machine: Machine,
  address: string,
  logFile: string,
  options: EtcdOptions = {},
): Promise<LabEtcd> {
  const scheme = options.tls ? "https" : "http";
  const endpoint = `${scheme}://${address.includes(":") ? `[${address}]` : address}:${options.port ?? 2379}`;
  const prefix = options.prefix ?? DEFAULT_PREFIX;
  if (options.tls) await makeCertificates(machine, `${DATA_DIRECTORY}/tls`, address);
  let process: MachineProcess | undefined;
  let isAuthEnabled = false;

  const ctl = async (...args: readonly string[]): Promise<string> => {
    const login = isAuthEnabled ? [`--user=${ROOT_USER.name}:${ROOT_USER.password}`] : [];
    const tls = options.tls ? clientTlsFlags(`${DATA_DIRECTORY}/tls`) : [];
    const command = [`--endpoints=${endpoint}`, ...tls, ...login, ...args];
    return (await machine.exec("etcdctl", command, { env: { ETCDCTL_API: "3" } })).stdout;
  };

  const start = async (): Promise<void> => {
    mkdirSync(path.dirname(logFile), { recursive: true });
    const log = openSync(logFile, "a");
    const flags = [...serverFlags(endpoint, options.tls ?? false), ...(options.extraFlags ?? [])];
    const started = await machine.spawn("etcd", flags, { stdio: ["ignore", log, log] });
    closeSync(log);
    process = started;
    await waitUntil(
      "etcd to serve",
      async () => {
        if (!started.isRunning()) throw new Error(`etcd ended: ${lastLines(logFile)}`);
        return (await machine.exec("bash", ["-c", `: </dev/tcp/${address}/${options.port ?? 2379}`], { allowFailure: true })).exitCode === 0;
      },
      { timeoutMs: START_TIMEOUT_MS, fatal: () => !started.isRunning() },
    ); // prettier-ignore
    // A member that listens may still be electing itself; a linearizable read waits for that.
    await ctl("get", "--limit=1", prefix);
  };

  const startEmpty = async (): Promise<void> => {
    isAuthEnabled = false;
    await start();
    if (!options.auth) return;
    await enableAuth(ctl, prefix);
    isAuthEnabled = true;
  };

  await startEmpty();
  return {
    endpoints: endpoint,
    prefix,
    daemonFlags: [
      `--etcd-endpoints=${endpoint}`,
      ...(prefix === DEFAULT_PREFIX ? [] : [`--etcd-prefix=${prefix}`]),
      ...(options.tls
        ? ["ca", "cert", "key"].map(
            (part) => `--etcd-${part}file=${NODE_TLS_DIRECTORY}/${TLS_FILES[part as TlsPart]}`,
          )
        : []),
      ...(options.auth ? [`--etcd-username=${DAEMON_USER.name}`] : []),
    ],
    daemonEnv: options.auth ? { FLANNELD_ETCD_PASSWORD: DAEMON_USER.password } : {},
    installInto: async (node) => {
      if (!options.tls) return;
      await mkdir(node.hostPath(NODE_TLS_DIRECTORY), { recursive: true });
      for (const file of Object.values(TLS_FILES)) {
        const content = readFileSync(machine.hostPath(`${DATA_DIRECTORY}/tls/${file}`));
        await writeFile(node.hostPath(`${NODE_TLS_DIRECTORY}/${file}`), content, { mode: 0o600 });
      }
    },
    ctl,
    start,
    stop: async (signal = "SIGTERM") => {
      await process?.stop(signal);
    },
    isRunning: () => process?.isRunning() ?? false,
    pid: () => (process?.isRunning() ? process.pid : undefined),
    wipe: async () => {
      await process?.stop("SIGKILL");
      await machine.exec("rm", ["-rf", `${DATA_DIRECTORY}/data`]);
      await startEmpty();
    },
    compact: async () => {
      const revision = (
        JSON.parse(await ctl("get", "--write-out=json", prefix)) as { header: { revision: number } }
      ).header.revision;
      await ctl("compact", String(revision));
      return revision;
    },
    close: async () => {
      await process?.stop();
    },
  };
}

type TlsPart = "ca" | "cert" | "key";
const TLS_FILES: Readonly<Record<TlsPart, string>> = {
  ca: "ca.pem",
  cert: "client.pem",
  key: "client-key.pem",
};

function clientTlsFlags(directory: string): string[] {
  return [
    `--cacert=${directory}/${TLS_FILES.ca}`,
    `--cert=${directory}/${TLS_FILES.cert}`,
    `--key=${directory}/${TLS_FILES.key}`,
  ];
}

function serverFlags(endpoint: string, tls: boolean): string[] {
  const directory = `${DATA_DIRECTORY}/tls`;
  return [
    "--name=lab",
    `--data-dir=${DATA_DIRECTORY}/data`,
    `--listen-client-urls=${endpoint}`,
    `--advertise-client-urls=${endpoint}`,
    "--listen-peer-urls=http://127.0.0.1:2380",
    "--initial-advertise-peer-urls=http://127.0.0.1:2380",
    "--initial-cluster=lab=http://127.0.0.1:2380",
    // One member on one machine elects itself at once.
    "--heartbeat-interval=20",
    "--election-timeout=200",
    "--logger=zap",
    "--log-level=warn",
    ...(tls
      ? [
          `--cert-file=${directory}/server.pem`,
          `--key-file=${directory}/server-key.pem`,
          `--trusted-ca-file=${directory}/ca.pem`,
          "--client-cert-auth",
        ]
      : []),
  ];
}

async function enableAuth(ctl: LabEtcd["ctl"], prefix: string): Promise<void> {
  await ctl("user", "add", `${ROOT_USER.name}:${ROOT_USER.password}`);
  await ctl("user", "grant-role", "root", "root");
  await ctl("user", "add", `${DAEMON_USER.name}:${DAEMON_USER.password}`);
  await ctl("role", "add", DAEMON_USER.name);
  await ctl("role", "grant-permission", "--prefix=true", DAEMON_USER.name, "readwrite", prefix);
  await ctl("user", "grant-role", DAEMON_USER.name, DAEMON_USER.name);
  await ctl("auth", "enable");
}

/** The end of a log, for an error message. */
export function lastLines(file: string, count = 5): string {
  try {
    return readFileSync(file, "utf8").trimEnd().split("\n").slice(-count).join("\n");
  } catch {
    return "(no log)";
  }
}
