// The daemon's options: command line and environment to validated values. Pure.
import { posix } from "node:path";
import { InvalidValueError } from "../net/errors.ts";
import { parseCidr } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { familyOf, parseIp } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import { instanceOf, statusSocketPath } from "../host/status-socket-path.ts";
import { editDistance, environmentName, parseFlags } from "../net/go-flags.ts";
import type { Environment, FlagValue } from "../net/go-flags.ts";
import { readPolicyOptions } from "./options-policy.ts";
import type { PolicyOptions } from "./options-policy.ts";
import { compileGoRegex } from "./options-regex.ts";
import { FLAG_TABLE, REMOVED_FLAGS } from "./options-table.ts";

export type LogFormat = "auto" | "json" | "text";

/** Names are those of the flags; empty texts are `undefined` where absence means something. */
export interface Options {
  readonly etcdEndpoints: readonly string[];
  /** Without a trailing slash, so that a key is `${etcdPrefix}/config`. */
  readonly etcdPrefix: string;
  readonly etcdKeyfile: string | undefined;
  readonly etcdCertfile: string | undefined;
  readonly etcdCafile: string | undefined;
  readonly etcdUsername: string | undefined;
  /** Secret. */
  readonly etcdPassword: string | undefined;
  /** Minutes, 1 to 1439. */
  readonly subnetLeaseRenewMargin: number;
  /** Lower case. */
  readonly backend: string | undefined;
  readonly network: Cidr | undefined;
  /** Bits. */
  readonly subnetLen: number | undefined;
  /** Names or addresses, in order of preference. */
  readonly iface: readonly string[];
  readonly ifaceRegex: readonly RegExp[];
  readonly ifaceCanReach: Ip | undefined;
  readonly publicIp: Ip | undefined;
  readonly publicIpv6: Ip | undefined;
  readonly ipMasq: boolean;
  readonly ipMasqFullyRandomDisable: boolean;
  readonly iptablesForwardRules: boolean;
  /** Seconds. */
  readonly iptablesResync: number;
  readonly ipBlackholeRoute: boolean;
  readonly networkPolicy: boolean;
  readonly policy: PolicyOptions;
  readonly subnetFile: string;
  readonly cniConfFile: string | undefined;
  readonly cniConfTemplate: string | undefined;
  readonly healthzIp: Ip;
  /** 0: off. */
  readonly healthzPort: number;
  readonly statusSocket: string;
  /** Seconds. */
  readonly resync: number;
  /** Seconds; 0: off. */
  readonly probeInterval: number;
  readonly kubeSubnetMgr: boolean;
  readonly kubeApiUrl: string | undefined;
  readonly kubeconfigFile: string | undefined;
  readonly kubeAnnotationPrefix: string;
  readonly netConfigPath: string;
  readonly setNodeNetworkUnavailable: boolean;
  /** klog's verbosity: 0 info, 2 and more debug. */
  readonly v: number;
  readonly logFormat: LogFormat;
}

export type ParsedOptions =
  | {
      readonly kind: "run";
      readonly options: Options;
      readonly positionals: readonly string[];
      /** To be logged once the logger exists. */
      readonly warnings: readonly string[];
    }
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  /** Exit 2. */
  | { readonly kind: "error"; readonly message: string };

export const ENVIRONMENT_PREFIX = "FLANNELD_";

/**
 * Parses the words after the program's (and the command's) name. Never throws.
 * @param settings.positionals for commands: accept words that are no flags, flags before and after them
 * @param settings.passThrough names of a command's own boolean flags, which are handed on at the end of the positionals
 */
export function parseOptions(
  argv: readonly string[],
  env: Environment,
  settings: { readonly positionals?: boolean; readonly passThrough?: readonly string[] } = {},
): ParsedOptions {
  const isForeign = (word: string): boolean =>
    settings.passThrough?.some((name) => word === `-${name}` || word === `--${name}`) ?? false;
  try {
    const parsed = parse(
      argv.filter((word) => !isForeign(word)),
      env,
      settings.positionals ?? false,
    );
    if (parsed.kind !== "run") return parsed;
    return { ...parsed, positionals: [...parsed.positionals, ...argv.filter(isForeign)] };
  } catch (error) {
    if (error instanceof InvalidValueError) return { kind: "error", message: error.message };
    throw error;
  }
}

function parse(argv: readonly string[], env: Environment, allowPositionals: boolean): ParsedOptions {
  if (argv.includes("-h")) return { kind: "help" };
  const { given, positionals } = parseFlags({
    specs: FLAG_TABLE,
    argv,
    env,
    envPrefix: ENVIRONMENT_PREFIX,
    interspersed: allowPositionals,
    explainUnknown: (name) => (Object.hasOwn(REMOVED_FLAGS, name) ? REMOVED_FLAGS[name] : undefined),
  });
  if (given.get("help") === true) return { kind: "help" };
  if (given.get("version") === true) return { kind: "version" };
  if (!allowPositionals && positionals[0] !== undefined)
    throw new InvalidValueError(describePositional(positionals[0], argv));
  return {
    kind: "run",
    options: buildOptions(given),
    positionals,
    warnings: [...ignoredFlagWarnings(given), ...misspeltVariableWarnings(env)],
  };
}

/** Go stops at the first such word and silently ignores all flags after it; we refuse instead. */
function describePositional(word: string, argv: readonly string[]): string {
  const before = argv[argv.indexOf(word) - 1];
  const isBooleanWord = /^(true|false|0|1|t|f)$/i.test(word);
  const cure =
    isBooleanWord && before?.startsWith("-")
      ? `write ${before}=${word}`
      : "values are joined to their flag by = (commands come first; see --help)";
  return `unexpected argument "${word}": ${cure}`;
}

function buildOptions(given: ReadonlyMap<string, FlagValue>): Options {
  const read = readerOf(given);
  const subnetFile = read.nonEmpty("subnet-file");
  const networkPolicy = read.boolean("network-policy");
  if (networkPolicy && instanceOf(subnetFile) !== "")
    throw new InvalidValueError(
      `--network-policy is for one daemon of a host, the one whose --subnet-file is called subnet.env, not ${subnetFile}`,
    );
  return {
    etcdEndpoints: readEndpoints(read.text("etcd-endpoints")),
    etcdPrefix: readEtcdPrefix(read.text("etcd-prefix")),
    etcdKeyfile: read.optional("etcd-keyfile"),
    etcdCertfile: read.optional("etcd-certfile"),
    etcdCafile: read.optional("etcd-cafile"),
    etcdUsername: read.optional("etcd-username"),
    etcdPassword: read.optional("etcd-password"),
    subnetLeaseRenewMargin: read.integer("subnet-lease-renew-margin", 1, 1439),
    backend: read.optional("backend")?.toLowerCase(),
    network: read.parsed("network", parseCidr),
    subnetLen: read.integer("subnet-len", 0, 126) || undefined,
    iface: read.list("iface").filter((name) => name !== ""),
    ifaceRegex: read
      .list("iface-regex")
      .filter((pattern) => pattern !== "")
      .map((pattern) => named("iface-regex", () => compileGoRegex(pattern))),
    ifaceCanReach: read.parsed("iface-can-reach", parseIp),
    publicIp: read.address("public-ip", 4),
    publicIpv6: read.address("public-ipv6", 6),
    ipMasq: read.boolean("ip-masq"),
    ipMasqFullyRandomDisable: read.boolean("ip-masq-fully-random-disable"),
    iptablesForwardRules: read.boolean("iptables-forward-rules"),
    iptablesResync: read.integer("iptables-resync", 1, MAX_PERIOD_SECONDS),
    ipBlackholeRoute: read.boolean("ip-blackhole-route"),
    networkPolicy,
    policy: readPolicyOptions(read),
    subnetFile,
    cniConfFile: read.optional("cni-conf-file"),
    cniConfTemplate: read.optional("cni-conf-template"),
    healthzIp: named("healthz-ip", () => parseIp(read.text("healthz-ip"))),
    healthzPort: read.integer("healthz-port", 0, 65_535),
    statusSocket: read.optional("status-socket") ?? statusSocketPath(subnetFile),
    resync: read.integer("resync", 1, MAX_PERIOD_SECONDS),
    probeInterval: read.integer("probe-interval", 0, MAX_PERIOD_SECONDS),
    kubeSubnetMgr: read.boolean("kube-subnet-mgr"),
    kubeApiUrl: read.optional("kube-api-url"),
    kubeconfigFile: read.optional("kubeconfig-file"),
    kubeAnnotationPrefix: read.nonEmpty("kube-annotation-prefix"),
    netConfigPath: read.nonEmpty("net-config-path"),
    setNodeNetworkUnavailable: read.boolean("set-node-network-unavailable"),
    v: read.integer("v", -MAX_VERBOSITY, MAX_VERBOSITY),
    logFormat: named("log-format", () => readLogFormat(read.text("log-format"))),
  };
}

/** A timer of Node's holds 2^31-1 ms, which is 24 days. */
const MAX_PERIOD_SECONDS = 24 * 3600;
const MAX_VERBOSITY = 100;

/** Typed access to given values and defaults; errors name the flag. */
function readerOf(given: ReadonlyMap<string, FlagValue>) {
  const valueOf = (name: string): FlagValue => {
    const value = given.get(name) ?? FLAG_TABLE.find((spec) => spec.name === name)?.default;
    if (value === undefined) throw new TypeError(`no flag ${name} in the table`);
    return value;
  };
  const text = (name: string): string => (valueOf(name) as string).trim();
  const optional = (name: string): string | undefined => text(name) || undefined;
  const parsed = <T>(name: string, parseText: (text: string) => T): T | undefined => {
    const value = optional(name);
    return value === undefined ? undefined : named(name, () => parseText(value));
  };
  return {
    text,
    optional,
    parsed,
    list: (name: string): readonly string[] =>
      (valueOf(name) as readonly string[]).map((item) => item.trim()),
    boolean: (name: string): boolean => valueOf(name) as boolean,
    nonEmpty: (name: string): string => {
      const value = text(name);
      if (value === "")
        throw new InvalidValueError(`--${name} must not be empty; leave it out for its default`);
      return value;
    },
    integer: (name: string, min: number, max: number): number => {
      const value = valueOf(name) as number;
      if (value < min || value > max)
        throw new InvalidValueError(`--${name}: ${value} is out of range; it must be ${min} to ${max}`);
      return value;
    },
    address: (name: string, family: Family): Ip | undefined =>
      parsed(name, (value) => {
        const ip = parseIp(value);
        if (familyOf(ip) !== family) throw new InvalidValueError(`${value} is not an IPv${family} address`);
        return ip;
      }),
  };
}

/** Puts the flag's name before what a parser says. */
function named<T>(flag: string, parseValue: () => T): T {
  try {
    return parseValue();
  } catch (error) {
    if (error instanceof InvalidValueError) throw new InvalidValueError(`--${flag}: ${error.message}`);
    throw error;
  }
}

const ENDPOINT = /^(https?:\/\/)?([^/@\s]*@)?(\[[0-9a-f:.]+\]|[^\s/:@]+)(:\d{1,5})?\/?$/i;

function readEndpoints(text: string): readonly string[] {
  const endpoints = text
    .split(",")
    .map((endpoint) => endpoint.trim())
    .filter((endpoint) => endpoint !== "");
  if (endpoints.length === 0) throw new InvalidValueError("--etcd-endpoints names no endpoint");
  const bad = endpoints.find((endpoint) => !ENDPOINT.test(endpoint));
  if (bad !== undefined) {
    throw new InvalidValueError(
      `--etcd-endpoints: "${redactUrl(bad)}" is not an endpoint (for example https://192.0.2.1:2379)`,
    );
  }
  return endpoints;
}

/** As Go's path.Join, with which flannel makes its keys: one slash of many, none at the end, none added in front. */
function readEtcdPrefix(text: string): string {
  if (text === "")
    throw new InvalidValueError("--etcd-prefix must name a key, for example /coreos.com/network");
  return posix.normalize(text).replace(/\/$/, "");
}

function readLogFormat(text: string): LogFormat {
  if (text === "auto" || text === "json" || text === "text") return text;
  throw new InvalidValueError(`"${text}" is not a log format; it must be auto, json or text`);
}

function ignoredFlagWarnings(given: ReadonlyMap<string, FlagValue>): readonly string[] {
  return ["vmodule", "log_backtrace_at"]
    .filter((name) => given.has(name))
    .map((name) => `--${name} is accepted but does nothing here; use -v=2 for debug lines`);
}

/** Looks for `FLANNELD_IFACES` and the like, which nobody would read. */
function misspeltVariableWarnings(env: Environment): readonly string[] {
  const known = FLAG_TABLE.map((spec) => environmentName(ENVIRONMENT_PREFIX, spec.name));
  return Object.keys(env)
    .filter((name) => name.startsWith(ENVIRONMENT_PREFIX) && !known.includes(name))
    .flatMap((name) => {
      const near = known.find((variable) => editDistance(variable, name) <= 2);
      return near === undefined ? [] : [`environment variable ${name} is not read; did you mean ${near}?`];
    });
}

/** Options as they may be logged: no password, no user information in addresses. */
export function redactOptions(options: Options): Readonly<Record<string, unknown>> {
  return {
    ...options,
    etcdPassword: options.etcdPassword === undefined ? undefined : "(set)",
    etcdEndpoints: options.etcdEndpoints.map(redactUrl),
    kubeApiUrl: options.kubeApiUrl === undefined ? undefined : redactUrl(options.kubeApiUrl),
    ifaceRegex: options.ifaceRegex.map((regex) => regex.source),
  };
}

/** Removes `user:password@` from an address. */
export function redactUrl(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, "$1");
}
