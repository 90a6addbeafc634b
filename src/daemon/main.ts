// The program: picks the command or the daemon, and turns what happens into an exit code and words.
import { fileURLToPath } from "node:url";
import { createBackend } from "../backends/registry.ts";
import { runCleanup } from "../cli/cleanup.ts";
import { runConfigCommand } from "../cli/config.ts";
import { parseCommandLine, usageText } from "../cli/help.ts";
import type { CommandName } from "../cli/help.ts";
import { runInstallCni, runInstallConf } from "../cli/install-cni.ts";
import { runMkDockerOpts } from "../cli/mk-docker-opts.ts";
import { runPolicyCommand } from "../cli/policy.ts";
import { runStatus } from "../cli/status.ts";
import { EtcdCallError } from "../etcd/client.ts";
import type { EtcdClient } from "../etcd/client.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import { instanceOf } from "../host/status-socket-path.ts";
import { ConfigConflictError } from "../ipam/seed-network-config.ts";
import { LeaseLostError } from "../ipam/subnet-manager.ts";
import { exec } from "../kernel/exec.ts";
import { InvalidValueError } from "../net/errors.ts";
import { etcdConnection } from "./connection-options.ts";
import { createLogger, levelOfVerbosity } from "./log.ts";
import { ENVIRONMENT_PREFIX, parseOptions, redactOptions } from "./options.ts";
import type { Options, ParsedOptions } from "./options.ts";
import { FLAG_TABLE } from "./options-table.ts";
import { attachmentDirectory } from "./policy/attachment-store.ts";
import { VERSION } from "./version.ts";
import { runDaemon } from "./wire.ts";

const EXIT_OK = 0;
const EXIT_FAILED = 1;
/** Wrong flags, or flags that contradict the cluster. */
const EXIT_USAGE = 2;
/** The lease is gone and its subnet somebody else's: a restart takes a new one, and running pods must be made anew. */
const EXIT_LEASE_LOST = 3;

async function main(argv: readonly string[]): Promise<number> {
  const line = parseCommandLine(argv);
  if (line.kind === "error") return refuse(line.message);
  if (line.kind === "command") return runCommand(line.command, line.argv);
  const parsed = parseOptions(line.argv, process.env);
  if (parsed.kind !== "run") return answerParse(parsed);
  return runAsDaemon(parsed.options, parsed.warnings);
}

/** What there is to say when the flags do not ask for a run. */
function answerParse(parsed: Exclude<ParsedOptions, { kind: "run" }>): number {
  switch (parsed.kind) {
    case "error":
      return refuse(parsed.message);
    case "help":
      return printHelp();
    case "version":
      return printVersion();
  }
}

function refuse(message: string): number {
  process.stderr.write(`flanneld-ts: ${message}\n`);
  return EXIT_USAGE;
}

/** On standard error, as flannel does. */
function printVersion(): number {
  process.stderr.write(`${VERSION}\n`);
  return EXIT_OK;
}

function printHelp(): number {
  process.stdout.write(usageText(FLAG_TABLE, ENVIRONMENT_PREFIX));
  return EXIT_OK;
}

/** The CNI executable ships beside the bundle. */
const BUNDLED_PLUGIN = fileURLToPath(new URL("flannel", import.meta.url));

async function runCommand(command: CommandName, argv: readonly string[]): Promise<number> {
  const { env, stdout, stderr } = process;
  switch (command) {
    case "version":
      return printVersion();
    case "help":
      return printHelp();
    case "status":
      return runStatus(argv, { env, stdout, stderr });
    case "install-cni":
      return runInstallCni(argv, { stdout, stderr, bundledPlugin: BUNDLED_PLUGIN });
    case "install-conf":
      return runInstallConf(argv, { stdout, stderr });
    case "mk-docker-opts":
      return runMkDockerOpts(argv, { env, exec, stderr });
    case "policy":
      return runPolicyCommand(argv, readPolicyEnvironment, process);
    case "config":
    case "cleanup":
      return runWithDaemonFlags(command, argv);
  }
}

/** Sub-commands of policy take the daemon's own flags beside theirs. */
function readPolicyEnvironment(argv: readonly string[]): ReturnType<Parameters<typeof runPolicyCommand>[1]> {
  const parsed = parseOptions(argv, process.env, { positionals: true });
  if (parsed.kind !== "run") return answerParse(parsed);
  const { options, positionals } = parsed;
  const { etcdPrefix, etcdEndpoints, statusSocket, kubeSubnetMgr } = options;
  // kubectl exec in a daemon's pod: the container's arguments are not there.
  const isNoEtcdNamed =
    isDefaultEndpoints(etcdEndpoints) && process.env["KUBERNETES_SERVICE_HOST"] !== undefined;
  const environment = {
    store: kubeSubnetMgr || isNoEtcdNamed ? "kubernetes" : "etcd",
    etcdPrefix,
    statusSocket,
    openEtcd: async () => {
      const { createEtcdClient } = await import("../etcd/etcd3-client.ts");
      return createEtcdClient(etcdConnection(options));
    },
  } as const;
  return { environment, operands: positionals };
}

function isDefaultEndpoints(endpoints: readonly string[]): boolean {
  return FLAG_TABLE.some(
    ({ name, default: text }) => name === "etcd-endpoints" && text === endpoints.join(","),
  );
}

/** Commands that take the daemon's own flags: where etcd is, which network, which files. */
async function runWithDaemonFlags(command: "config" | "cleanup", argv: readonly string[]): Promise<number> {
  const { stdin, stdout, stderr } = process;
  const parsed = parseOptions(argv, process.env, { positionals: true, passThrough: ["force"] });
  if (parsed.kind !== "run") return answerParse(parsed);
  const { options, positionals } = parsed;
  if (command === "cleanup") {
    const files = [
      options.subnetFile,
      options.statusSocket,
      attachmentDirectory(options.subnetFile),
      ...(options.cniConfFile ? [options.cniConfFile] : []),
    ];
    const instance = instanceOf(options.subnetFile);
    const { network, statusSocket } = options;
    return runCleanup({ network, instance, statusSocket, files }, { exec, stdout, stderr });
  }
  if (options.kubeSubnetMgr) {
    return refuse(
      `on Kubernetes the network is configured in ${options.netConfigPath} of the daemon's pods: ` +
        "edit net-conf.json in their ConfigMap (kube-flannel-cfg) and restart the DaemonSet",
    );
  }
  const { createEtcdClient } = await import("../etcd/etcd3-client.ts");
  let client: EtcdClient;
  try {
    client = createEtcdClient(etcdConnection(options));
  } catch (error) {
    if (!(error instanceof EtcdCallError)) throw error;
    stderr.write(`${error.message}\n`);
    return EXIT_FAILED;
  }
  try {
    const checkConfig = (config: NetworkConfig): void => void createBackend(config);
    const modules = { client, prefix: options.etcdPrefix, stdin, stdout, stderr, checkConfig };
    return await runConfigCommand(positionals, modules);
  } finally {
    await client.close();
  }
}

async function runAsDaemon(options: Options, warnings: readonly string[]): Promise<number> {
  const log = createLogger({ format: options.logFormat, level: levelOfVerbosity(options.v) });
  log.info({ version: VERSION, options: redactOptions(options) }, "starting flanneld-ts");
  for (const warning of warnings) log.warn({}, warning);
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    // The second signal does not wait for anything.
    process.once(name, () => {
      log.info({ signal: name }, "stopping; routes, rules and devices stay, so pods keep their connections");
      stop.abort();
      process.once(name, () => process.exit(EXIT_FAILED));
    });
  }
  try {
    await runDaemon(options, { log, signal: stop.signal, env: process.env });
    return EXIT_OK;
  } catch (error) {
    log.error({ error: (error as Error).name }, (error as Error).message);
    if (error instanceof ConfigConflictError || error instanceof InvalidValueError) return EXIT_USAGE;
    return error instanceof LeaseLostError ? EXIT_LEASE_LOST : EXIT_FAILED;
  } finally {
    stop.abort();
  }
}

// Not process.exit at once: what was written must get out, and a handle that keeps us alive would be a leak to find.
process.exitCode = await main(process.argv.slice(2));
