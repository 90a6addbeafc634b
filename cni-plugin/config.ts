// The network configuration on stdin: parsed and checked. Pure.
import { statusSocketPath } from "../src/host/status-socket-path.ts";
import { describeJson, isJsonObject, lookupOption } from "../src/net/go-json.ts";
import type { JsonObject } from "../src/net/go-json.ts";
import type { JsonMap, JsonValue } from "./canonical-json.ts";
import { CniError, ERROR_CODES, OLDEST_VERSION, SUPPORTED_VERSIONS, compareVersions } from "./protocol.ts";
import type { AttachmentKey, Verb } from "./protocol.ts";

export const DEFAULT_SUBNET_FILE = "/run/flannel/subnet.env";
export const DEFAULT_DATA_DIR = "/var/lib/cni/flannel";
/** Longer than any plugin of the field takes, shorter than the two minutes after which a kubelet gives up. */
const DEFAULT_DELEGATE_TIMEOUT_SECONDS = 60;

/** flannel's plugin configuration (reference: flannel cni-plugin, NetConf). */
export interface NetConf {
  readonly name: string;
  /** As written; empty when absent, which means 0.1.0. */
  readonly cniVersion: string;
  readonly subnetFile: string;
  readonly dataDir: string;
  readonly delegate: JsonMap;
  readonly ipam: JsonMap;
  readonly runtimeConfig?: JsonMap;
  readonly prevResult?: JsonMap;
  /** GC only; absent when the runtime gave no list. */
  readonly validAttachments?: readonly AttachmentKey[];
  /** Ours: how long a delegate may take. */
  readonly delegateTimeoutMs: number;
  /** Ours: the daemon enforces network policy, and is told of pods. */
  readonly networkPolicy?: PolicyConf;
  /** `args.cni.labels` (CNI conventions), as given. */
  readonly conventionalLabels?: JsonValue;
}

export interface PolicyConf {
  /** Status socket of the daemon. */
  readonly socket: string;
  /** How long ADD waits for the pod's rules. */
  readonly waitMs: number;
  /** Afterwards start the pod, closed, instead of failing. */
  readonly proceed: boolean;
}

/** First version of the specification that has the verb. */
const VERB_SINCE: Readonly<Partial<Record<Verb, string>>> = { CHECK: "0.4.0", GC: "1.1.0", STATUS: "1.1.0" };

/** The version that a configuration asks for, also of one that is wrong otherwise. */
export function versionOf(conf: unknown): string {
  const version = isJsonObject(conf) ? lookupOption(conf, "cniVersion") : undefined;
  return typeof version === "string" && SUPPORTED_VERSIONS.includes(version) ? version : OLDEST_VERSION;
}

/** @throws {CniError} on text that is not JSON */
export function decodeNetConf(text: string): unknown {
  if (text.trim() === "") {
    throw new CniError(
      ERROR_CODES.decodingFailure,
      "failed to load netconf: standard input is empty",
      "the runtime must write the network configuration, a JSON object, to standard input",
    );
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CniError(
      ERROR_CODES.decodingFailure,
      `failed to load netconf: ${(error as Error).message}`,
      `standard input begins with ${JSON.stringify(text.slice(0, 80))}`,
    );
  }
}

/**
 * Checks a decoded configuration for the verb. Keys match in any case, as in Go; `null` means absent.
 * @throws {CniError} naming the field, what it is and what it must be
 */
export function parseNetConf(conf: unknown, verb: Verb): NetConf {
  if (!isJsonObject(conf)) {
    throw new CniError(
      ERROR_CODES.decodingFailure,
      `failed to load netconf: it is ${describeJson(conf)}, but must be an object`,
    );
  }
  const name = readText(conf, "name", "");
  checkNetworkName(name);
  const cniVersion = readText(conf, "cniVersion", "");
  checkVersion(cniVersion === "" ? OLDEST_VERSION : cniVersion, verb);
  const runtimeConfig = readMap(conf, "runtimeConfig");
  const prevResult = readMap(conf, "prevResult");
  const subnetFile = readText(conf, "subnetFile", "") || DEFAULT_SUBNET_FILE;
  const networkPolicy = readNetworkPolicy(conf, subnetFile);
  const conventionalLabels = conventionalLabelsOf(conf);
  const validAttachments = verb === "GC" ? readAttachments(conf) : undefined;
  return {
    name,
    cniVersion,
    subnetFile,
    dataDir: readText(conf, "dataDir", "") || DEFAULT_DATA_DIR,
    delegate: readMap(conf, "delegate") ?? {},
    ipam: readMap(conf, "ipam") ?? {},
    ...(runtimeConfig && { runtimeConfig }),
    ...(prevResult && { prevResult }),
    ...(validAttachments && { validAttachments }),
    delegateTimeoutMs: readTimeoutSeconds(conf) * 1000,
    ...(networkPolicy && { networkPolicy }),
    ...(conventionalLabels !== undefined && { conventionalLabels }),
  };
}

const DEFAULT_POLICY_WAIT_SECONDS = 30;
const MAX_POLICY_WAIT_SECONDS = 600;

/** `networkPolicy: {socket, waitSeconds, onFailure}`; an empty object is all defaults, absent is no policy. */
function readNetworkPolicy(conf: JsonObject, subnetFile: string): PolicyConf | undefined {
  const policy = readMap(conf, "networkPolicy");
  if (policy === undefined) return undefined;
  const wrong = (key: string, right: string): CniError => {
    const said = describeJson(lookupOption(policy, key));
    return new CniError(
      ERROR_CODES.decodingFailure,
      `failed to load netconf: "networkPolicy.${key}" is ${said}, but must be ${right}`,
    );
  };
  const socket = lookupOption(policy, "socket") ?? statusSocketPath(subnetFile);
  if (typeof socket !== "string" || !socket.startsWith("/"))
    throw wrong("socket", "the path of the daemon's status socket");
  const wait = lookupOption(policy, "waitSeconds") ?? DEFAULT_POLICY_WAIT_SECONDS;
  if (typeof wait !== "number" || !(wait > 0) || wait > MAX_POLICY_WAIT_SECONDS)
    throw wrong("waitSeconds", `a number of seconds above 0, at most ${MAX_POLICY_WAIT_SECONDS}`);
  const onFailure = lookupOption(policy, "onFailure") ?? "error";
  if (onFailure !== "error" && onFailure !== "proceed") throw wrong("onFailure", '"error" or "proceed"');
  return { socket, waitMs: wait * 1000, proceed: onFailure === "proceed" };
}

/** Whatever else the arguments hold is other plugins'. */
function conventionalLabelsOf(conf: JsonObject): JsonValue | undefined {
  const args = lookupOption(conf, "args");
  const cni = isJsonObject(args) ? args["cni"] : undefined;
  return isJsonObject(cni) ? (cni["labels"] as JsonValue | undefined) : undefined;
}

/** The network's name becomes a directory of host-local (libcni, ValidateNetworkName). */
function checkNetworkName(name: string): void {
  if (name === "") throw new CniError(ERROR_CODES.invalidConfig, "missing network name");
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw new CniError(
      ERROR_CODES.invalidConfig,
      "invalid characters found in network name",
      JSON.stringify(name.slice(0, 120)),
    );
  }
}

function checkVersion(version: string, verb: Verb): void {
  if (!SUPPORTED_VERSIONS.includes(version)) {
    throw new CniError(
      ERROR_CODES.incompatibleVersion,
      "incompatible CNI versions",
      `config is ${JSON.stringify(version)}, plugin supports ${JSON.stringify(SUPPORTED_VERSIONS)}`,
    );
  }
  const since = VERB_SINCE[verb];
  if (since !== undefined && compareVersions(version, since) < 0) {
    throw new CniError(
      ERROR_CODES.incompatibleVersion,
      `config version does not allow ${verb}`,
      `cniVersion is ${version}; ${verb} exists since ${since}`,
    );
  }
}

function wrongField(conf: JsonObject, key: string, right: string): CniError {
  return new CniError(
    ERROR_CODES.decodingFailure,
    `failed to load netconf: "${key}" is ${describeJson(lookupOption(conf, key))}, but must be ${right}`,
  );
}

function readText(conf: JsonObject, key: string, fallback: string): string {
  const value = lookupOption(conf, key) ?? fallback;
  if (typeof value !== "string") throw wrongField(conf, key, "a text");
  if (value.includes("\0")) throw wrongField(conf, key, "a text without zero bytes");
  return value;
}

function readMap(conf: JsonObject, key: string): JsonMap | undefined {
  const value = lookupOption(conf, key) ?? undefined;
  if (value === undefined) return undefined;
  if (!isJsonObject(value)) throw wrongField(conf, key, "an object");
  return value as Readonly<Record<string, JsonValue>>;
}

function readTimeoutSeconds(conf: JsonObject): number {
  const value = lookupOption(conf, "delegateTimeoutSeconds") ?? DEFAULT_DELEGATE_TIMEOUT_SECONDS;
  if (typeof value !== "number" || !(value > 0) || value > 3600) {
    throw wrongField(conf, "delegateTimeoutSeconds", "a number of seconds above 0, at most 3600");
  }
  return value;
}

const ATTACHMENTS_KEY = "cni.dev/valid-attachments";
/** What an early text of the specification called it; libcni writes both (containernetworking/cni #1101). */
const OLD_ATTACHMENTS_KEY = "cni.dev/attachments";

/** libcni writes `null` for "none is valid", and no key at all when its caller gave no list. */
function readAttachments(conf: JsonObject): readonly AttachmentKey[] | undefined {
  const current = lookupOption(conf, ATTACHMENTS_KEY);
  const list = current === undefined ? lookupOption(conf, OLD_ATTACHMENTS_KEY) : current;
  if (list === undefined) return undefined;
  if (list === null) return [];
  if (!Array.isArray(list)) {
    throw new CniError(
      ERROR_CODES.invalidConfig,
      `"${ATTACHMENTS_KEY}" is ${describeJson(list)}, but must be a list`,
    );
  }
  return list.map((entry: unknown) => {
    const containerId = isJsonObject(entry) ? lookupOption(entry, "containerID") : undefined;
    const ifName = isJsonObject(entry) ? lookupOption(entry, "ifname") : undefined;
    if (typeof containerId !== "string" || typeof ifName !== "string") {
      throw new CniError(
        ERROR_CODES.invalidConfig,
        `"${ATTACHMENTS_KEY}" has the entry ${describeJson(entry)}, but each must have the texts "containerID" and "ifname"`,
      );
    }
    return { containerId, ifName };
  });
}
