// Runs the delegate plugins: the one file of the CNI executable that starts processes.
import { spawnSync } from "node:child_process";
import type { SpawnSyncReturns } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import path from "node:path";
import { isJsonObject, lookupOption } from "../src/net/go-json.ts";
import type { DelegateConfig } from "./plan.ts";
import { CniError, ERROR_CODES } from "./protocol.ts";
import { sleepMs, writeAll } from "./blocking.ts";
import type { AttachmentKey, CniRequest, Environment, Verb } from "./protocol.ts";

/** A result is a few KiB; a plugin that floods its output is broken. */
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

/**
 * Finds a plugin's file in the directories of CNI_PATH.
 * @param role what needs it, for the message
 * @throws {CniError} naming the file, the directories searched and the cure
 */
export function findPlugin(type: string, request: CniRequest, role = "delegate"): string {
  if (type.includes("/")) {
    throw new CniError(
      ERROR_CODES.invalidConfig,
      `invalid plugin name: ${type}`,
      `the type of the ${role} is a file name without directory; directories are in CNI_PATH`,
    );
  }
  const found = request.pluginPath
    .map((directory) => path.join(directory, type))
    .find((file) => isExecutableFile(file));
  if (found !== undefined) return found;
  throw new CniError(
    ERROR_CODES.delegateMissing,
    `failed to find plugin "${type}" in path [${request.pluginPath.join(" ")}]`,
    `the ${role} plugin "${type}" is not installed where the container runtime looks (CNI_PATH). Cure: ${cureFor(type)}`,
  );
}

/** The standard plugins that start the address plugin of their configuration. Others may ignore it. */
const CALL_IPAM: ReadonlySet<string> = new Set([
  "bridge",
  "dummy",
  "host-device",
  "ipvlan",
  "macvlan",
  "ptp",
  "tap",
  "vlan",
]);

/** Finds all plugins that an ADD will start, as far as that can be known. @throws {CniError} as `findPlugin` */
export function findPlugins(config: DelegateConfig, request: CniRequest): void {
  findPlugin(config.type, request);
  if (CALL_IPAM.has(config.type)) findPlugin(config.ipam.type, request, "ipam");
}

function cureFor(type: string): string {
  const packaged = path.join("/usr/lib/cni", type);
  if (isExecutableFile(packaged)) {
    return `${packaged} exists: add /usr/lib/cni to the runtime's CNI directories (containerd: bin_dir), or copy the file`;
  }
  return "install the standard CNI plugins (Debian: apt-get install containernetworking-plugins, which puts them in /usr/lib/cni) and make CNI_PATH include their directory";
}

function isExecutableFile(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

export interface DelegateCall {
  readonly verb: Verb;
  /** Name of the plugin, e.g. "bridge". */
  readonly type: string;
  /** Its configuration, JSON text. */
  readonly config: string;
  /** Milliseconds until it and its children are killed. */
  readonly timeoutMs: number;
  /** Another attachment than the request's, for GC; the namespace is gone then. */
  readonly attachment?: AttachmentKey;
}

/**
 * Runs a delegate to its end and gives what it printed.
 * @throws {CniError} the delegate's own code and details with context before its message; 100 when it is missing, 101
 *   when it failed without a CNI error, 11 when it did not end in time
 */
export function runDelegate(call: DelegateCall, request: CniRequest): string {
  const file = findPlugin(call.type, request);
  const { verb, type, timeoutMs } = call;
  const outcome = runProcess(file, call.config, delegateEnvironment(call, request), timeoutMs);
  writeAll(2, outcome.stderr);
  if (outcome.failure === undefined) return outcome.stdout;
  throw explainFailure(`failed to delegate ${verb.toLowerCase()}`, type, file, outcome, timeoutMs);
}

function delegateEnvironment(call: DelegateCall, request: CniRequest): Environment {
  const inherited = Object.entries(request.environment).filter(
    // They would turn another program made as we are into the bun command line, or change how it starts.
    ([name]) => !name.startsWith("BUN_"),
  );
  return {
    ...Object.fromEntries(inherited),
    CNI_COMMAND: call.verb,
    ...(call.attachment && {
      CNI_CONTAINERID: call.attachment.containerId,
      CNI_IFNAME: call.attachment.ifName,
      CNI_NETNS: "",
    }),
  };
}

interface ProcessOutcome {
  readonly stdout: string;
  readonly stderr: string;
  /** Undefined after exit 0. */
  readonly failure?: string;
  readonly timedOut: boolean;
}

/** "Text file busy": the plugin's file is being written by an installer at this moment (libcni waits, too). */
const BUSY_RETRIES = 5;
const BUSY_RETRY_INTERVAL_MS = 200;

function runProcess(file: string, input: string, env: Environment, timeoutMs: number): ProcessOutcome {
  const options = {
    input,
    env,
    timeout: timeoutMs,
    killSignal: "SIGKILL",
    maxBuffer: MAX_OUTPUT_BYTES,
    // A process group of its own, so that a hanging delegate is killed together with the address plugin it started.
    detached: true,
  } as const;
  for (let attempt = 0; ; attempt++) {
    // Synchronous: streams would cost a third of our start-up time, and there is nothing else to do meanwhile.
    const ended = spawnSync(file, [], options);
    const { code } = (ended.error ?? {}) as NodeJS.ErrnoException;
    if (code === "ETXTBSY" && attempt < BUSY_RETRIES) {
      sleepMs(BUSY_RETRY_INTERVAL_MS);
      continue;
    }
    const timedOut = code === "ETIMEDOUT";
    if (timedOut) killGroup(ended.pid);
    const failure = describeEnd(ended);
    return {
      stdout: (ended.stdout ?? "").toString(),
      stderr: (ended.stderr ?? "").toString(),
      ...(failure !== undefined && { failure }),
      timedOut,
    };
  }
}

function killGroup(pid: number): void {
  try {
    if (pid > 0) process.kill(-pid, "SIGKILL");
  } catch {
    // all of them have ended
  }
}

function describeEnd({ error, signal, status }: SpawnSyncReturns<Buffer>): string | undefined {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === "ETIMEDOUT") return "did not end in time";
  if (code === "ENOBUFS") return `printed more than ${MAX_OUTPUT_BYTES / 1024 / 1024} MiB`;
  if (signal !== null) return `was killed by ${signal}`;
  // EPIPE: a delegate that does not read its input tells by its exit what it thinks.
  if (error !== undefined && code !== "EPIPE") return `could not be started: ${error.message}`;
  return status === 0 ? undefined : `ended with exit code ${status}`;
}

function explainFailure(
  context: string,
  type: string,
  file: string,
  outcome: ProcessOutcome,
  timeoutMs: number,
): CniError {
  const told = outcome.timedOut ? undefined : parseErrorResult(outcome.stdout);
  const stderr = excerpt(outcome.stderr);
  if (told === undefined) {
    const details = [
      outcome.stdout === "" ? "" : `it printed: ${excerpt(outcome.stdout)}`,
      stderr === "" ? "" : `on stderr: ${stderr}`,
      outcome.timedOut ? `${timeoutMs / 1000} s were allowed ("delegateTimeoutSeconds")` : "",
    ];
    return new CniError(
      outcome.timedOut ? ERROR_CODES.tryAgainLater : ERROR_CODES.delegateFailed,
      `${context}: plugin "${type}" (${file}) ${outcome.failure}`,
      details.filter((part) => part !== "").join("; "),
    );
  }
  const hint = hintFor(told.message);
  return new CniError(
    told.code,
    `${context}: ${told.message}`,
    [told.details, hint].filter((part) => part !== "").join("; "),
  );
}

/** What to do about errors of the standard plugins that their own text does not explain. */
function hintFor(message: string): string {
  const bridge = /"(.+)" already has an IP address different from/.exec(message);
  if (bridge) {
    return `the node's subnet has changed since the bridge ${bridge[1]} was made. Cure: once no pod uses it, ip link delete ${bridge[1]}`;
  }
  return "";
}

function parseErrorResult(stdout: string): CniError | undefined {
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch {
    return undefined;
  }
  if (!isJsonObject(value)) return undefined;
  const code = lookupOption(value, "code");
  const message = lookupOption(value, "msg");
  const details = lookupOption(value, "details");
  if (typeof code !== "number" || typeof message !== "string") return undefined;
  return new CniError(code, message, typeof details === "string" ? details : "");
}

function excerpt(text: string): string {
  const trimmed = text.trim();
  return trimmed.length > 500 ? `${trimmed.slice(0, 497)}...` : trimmed;
}
