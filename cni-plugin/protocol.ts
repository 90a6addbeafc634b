// The CNI protocol: verbs, versions, the request in the environment, error codes and error JSON. Pure.

/** Specification versions we speak, oldest first. */
export const SUPPORTED_VERSIONS: readonly string[] = [
  "0.1.0",
  "0.2.0",
  "0.3.0",
  "0.3.1",
  "0.4.0",
  "1.0.0",
  "1.1.0",
];
export const NEWEST_VERSION = "1.1.0";
/** A configuration that names no version means the first one (libcni, DecodeVersion). */
export const OLDEST_VERSION = "0.1.0";

export const VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] as const;
export type Verb = (typeof VERBS)[number];

/** Codes of the specification (section 4, "Error"), those of libcni (8, 999), and ours from 100 on. */
export const ERROR_CODES = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  /** Tells the runtime that there is nothing to clean up. */
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  /** STATUS: ADD would fail. */
  notAvailable: 50,
  /** STATUS: ADD would fail, and pods that run may have lost connectivity. */
  limitedConnectivity: 51,
  delegateMissing: 100,
  /** The delegate was killed, or failed without telling a CNI error. */
  delegateFailed: 101,
  checkFailed: 102,
  policyNotInForce: 103,
  internal: 999,
} as const;

/** A failure as the runtime will read it. */
export class CniError extends Error {
  override readonly name = "CniError";
  readonly code: number;
  readonly details: string;
  constructor(code: number, message: string, details = "", options: ErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** One interface of one container, the thing that ADD makes. */
export interface AttachmentKey {
  readonly containerId: string;
  readonly ifName: string;
}

/** What the runtime asks for in the environment. */
export interface CniRequest extends AttachmentKey {
  readonly verb: Verb;
  /** Path of the network namespace; empty in the DEL of a namespace that is gone. */
  readonly netns: string;
  /** Directories of CNI_PATH. */
  readonly pluginPath: readonly string[];
  /** The whole environment, which delegates inherit. */
  readonly environment: Environment;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Which variables a verb cannot do without (specification section 2, "CNI operations"). */
const REQUIRED: Readonly<Record<Verb, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: [],
  VERSION: [],
};

/**
 * Reads the request. The rules for names are those of libcni (pkg/utils) and of the kernel (dev_valid_name).
 * @throws {CniError} with the names of the variables that are missing or wrong
 */
export function parseRequest(environment: Environment): CniRequest {
  const read = (name: string) => environment[name] ?? "";
  const verb = VERBS.find((candidate) => candidate === read("CNI_COMMAND"));
  if (verb === undefined) throw wrongVerb(read("CNI_COMMAND"));
  const missing = REQUIRED[verb].filter((name) => read(name) === "");
  if (missing.length > 0) {
    throw invalidEnvironment(
      `required env variables [${missing.join(",")}] missing`,
      `CNI_COMMAND=${verb} needs ${REQUIRED[verb].join(", ")}`,
    );
  }
  const request: CniRequest = {
    verb,
    containerId: read("CNI_CONTAINERID"),
    ifName: read("CNI_IFNAME"),
    netns: read("CNI_NETNS"),
    pluginPath: read("CNI_PATH")
      .split(":")
      .filter((directory) => directory !== ""),
    environment,
  };
  if (verb === "ADD" || verb === "CHECK" || verb === "DEL") checkNames(request);
  return request;
}

function checkNames({ containerId, ifName, netns }: CniRequest): void {
  const idProblem = problemOfContainerId(containerId);
  if (idProblem !== undefined) throw invalidEnvironment(`CNI_CONTAINERID ${idProblem}`, quote(containerId));
  const nameProblem = problemOfIfName(ifName);
  if (nameProblem !== undefined) throw invalidEnvironment(`CNI_IFNAME ${nameProblem}`, quote(ifName));
  if (netns !== "" && (!netns.startsWith("/") || hasControlCharacter(netns))) {
    throw invalidEnvironment(
      "CNI_NETNS must be the absolute path of a network namespace, without control characters",
      quote(netns),
    );
  }
}

/** The state file's name is made of it, and a file name ends at 255 bytes; real runtimes use 64. */
const MAX_CONTAINER_ID_LENGTH = 200;

/** Says what is wrong, as the rest of a sentence; undefined if nothing is. */
export function problemOfContainerId(containerId: string): string | undefined {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(containerId)) {
    return "has invalid characters: it must begin with a letter or digit and go on with letters, digits, _ . -";
  }
  return containerId.length > MAX_CONTAINER_ID_LENGTH
    ? `is longer than ${MAX_CONTAINER_ID_LENGTH} characters`
    : undefined;
}

/** As `problemOfContainerId`. IFNAMSIZ is 16 with the closing zero. */
export function problemOfIfName(ifName: string): string | undefined {
  if (Buffer.byteLength(ifName) > 15) return "is longer than 15 bytes, the kernel's limit";
  if (ifName === "." || ifName === "..") return "must not be . or ..";
  if (/[/:\s]/.test(ifName) || hasControlCharacter(ifName)) {
    return "contains / or : or whitespace or control characters";
  }
  return undefined;
}

function hasControlCharacter(text: string): boolean {
  return Array.from(text).some((character) => character < " " || character === "\u007f");
}

function wrongVerb(command: string): CniError {
  if (command === "") {
    return invalidEnvironment(
      "required env variables [CNI_COMMAND] missing",
      `a container runtime starts this program with CNI_COMMAND set to one of ${VERBS.join(", ")}`,
    );
  }
  return invalidEnvironment(`unknown CNI_COMMAND: ${command}`, `known are ${VERBS.join(", ")}`);
}

function invalidEnvironment(message: string, details: string): CniError {
  return new CniError(ERROR_CODES.invalidEnvironment, message, details);
}

function quote(text: string): string {
  const short = text.length > 120 ? `${text.slice(0, 117)}...` : text;
  return JSON.stringify(short);
}

/** Negative if `a` is older than `b`. Both are of `SUPPORTED_VERSIONS`. */
export function compareVersions(a: string, b: string): number {
  return SUPPORTED_VERSIONS.indexOf(a) - SUPPORTED_VERSIONS.indexOf(b);
}

/** The error result of the specification, in the version of the request where that is known. */
export function formatError(error: CniError, cniVersion: string): string {
  const { code, message: msg, details } = error;
  return `${JSON.stringify({ cniVersion, code, msg, ...(details === "" ? {} : { details }) }, undefined, 4)}\n`;
}
