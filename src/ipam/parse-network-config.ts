// Reads the cluster's configuration (flannel's net-conf.json, `<prefix>/config`) exactly as Go flannel does, and writes it.
import {
  cidrBase,
  cidrContainsIp,
  cidrFamily,
  cidrLast,
  cidrLength,
  cidrOf,
  tryParseCidr,
} from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { InvalidValueError } from "../net/errors.ts";
import {
  describeJson,
  isJsonObject,
  lookupOption,
  parseGoJson,
  readBooleanOption,
  readStringOption,
} from "../net/go-json.ts";
import type { JsonObject } from "../net/go-json.ts";
import { addToIp, bitsOf, compareIps, familyOf, ipToBigint, tryParseIp } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import type { BackendConfig, NetworkConfig, SubnetRange } from "./network-config.ts";

/** What differs between the families: names of the keys and flannel's numbers (pkg/subnet/config.go). */
interface FamilyRules {
  readonly family: Family;
  readonly networkKey: string;
  readonly lengthKey: string;
  readonly minKey: string;
  readonly maxKey: string;
  /** Subnet length when none is given and the network is large enough for four of them. */
  readonly defaultLength: number;
  readonly exampleNetwork: string;
  readonly tooSmall: string;
}

const RULES: Readonly<Record<Family, FamilyRules>> = {
  4: {
    family: 4,
    networkKey: "Network",
    lengthKey: "SubnetLen",
    minKey: "SubnetMin",
    maxKey: "SubnetMax",
    defaultLength: 24,
    exampleNetwork: "10.244.0.0/16",
    tooSmall: "network is too small. Minimum useful network prefix is /28",
  },
  6: {
    family: 6,
    networkKey: "IPv6Network",
    lengthKey: "IPv6SubnetLen",
    minKey: "IPv6SubnetMin",
    maxKey: "IPv6SubnetMax",
    defaultLength: 64,
    exampleNetwork: "fd00:10:244::/56",
    tooSmall: "IPv6Network is too small. Minimum useful network prefix is /124",
  },
};

export interface ParseOptions {
  /**
   * False where subnets come from elsewhere (Kubernetes' PodCIDR): lengths, minimum and maximum must then have the right
   * JSON type, but are ignored. Default true.
   */
  readonly allocate?: boolean;
}

/**
 * Parses and checks the configuration. Keys match in any case, unknown keys are ignored, host bits of networks are
 * masked. An absent `Backend` means type `udp`; `isBackendDefaulted` tells.
 * @throws {InvalidValueError} with flannel's own words for each rule, the value, and what would be right
 */
export function parseNetworkConfig(text: string, { allocate = true }: ParseOptions = {}): NetworkConfig {
  try {
    const config = parseGoJson(text);
    if (!isJsonObject(config)) {
      throw new InvalidValueError(
        `it is ${describeJson(config)}, but must be an object, for example {"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`,
      );
    }
    return readNetworkConfig(config, allocate);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    throw new InvalidValueError(`network config: ${error.message}`, { cause: error });
  }
}

function readNetworkConfig(config: JsonObject, allocate: boolean): NetworkConfig {
  const readFlag = (key: string, absent: boolean) =>
    readBooleanOption(config, key, { default: absent, path: "" });
  const enabled: Readonly<Record<Family, boolean>> = {
    4: readFlag("EnableIPv4", true),
    6: readFlag("EnableIPv6", false),
  };
  // Go decodes every key before it checks any rule, also those of a family that is off.
  const given = { 4: readGivenRange(config, RULES[4]), 6: readGivenRange(config, RULES[6]) };
  const enableNftables = readFlag("EnableNFTables", false);
  const backend = readBackend(lookupOption(config, "Backend"));
  if (!enabled[4] && !enabled[6]) {
    throw new InvalidValueError(
      "none defined stack (EnableIPv4 and EnableIPv6 are both false; one must be true)",
    );
  }
  const rangeOf = (family: Family): SubnetRange =>
    allocate ? allocationRange(given[family], RULES[family]) : ignoredRange(given[family], RULES[family]);
  return {
    ...(enabled[4] && { ipv4: rangeOf(4) }),
    ...(enabled[6] && { ipv6: rangeOf(6) }),
    enableNftables,
    backend,
  };
}

/** True if the configuration had no `Backend`, so that flannel's own default `udp` applies: worth a log line. */
export function isBackendDefaulted(backend: BackendConfig): boolean {
  return backend.type === "udp" && lookupOption(backend.options, "Type") === undefined;
}

const KNOWN_KEYS: ReadonlySet<string> = new Set(
  [RULES[4], RULES[6]]
    .flatMap((rules) => [rules.networkKey, rules.lengthKey, rules.minKey, rules.maxKey])
    .concat("EnableIPv4", "EnableIPv6", "EnableNFTables", "Backend")
    .map((key) => key.toLowerCase()),
);

/** Top-level keys that nobody reads, in document order: often misspelt ones. Flannel ignores them silently. */
export function unknownConfigKeys(text: string): readonly string[] {
  const config = parseGoJson(text);
  return isJsonObject(config) ? Object.keys(config).filter((key) => !KNOWN_KEYS.has(key.toLowerCase())) : [];
}

function readBackend(backend: unknown): BackendConfig {
  if (backend === undefined) return { type: "udp", options: {} };
  // A null is present in Go (json.RawMessage holds the text "null") and has no Type.
  const options = backend === null ? {} : backend;
  if (!isJsonObject(options)) {
    throw new InvalidValueError(
      `Backend is ${describeJson(backend)}, but must be an object, for example {"Type":"vxlan"}`,
    );
  }
  const type = readStringOption(options, "Type", { default: "" }).toLowerCase();
  if (type === "") {
    throw new InvalidValueError(
      'unknown backend type: "" (Backend has no Type; for example {"Type":"vxlan"})',
    );
  }
  return { type, options };
}

/** The keys of one family as given: right in type, not yet checked against each other. */
interface GivenRange {
  readonly network?: Cidr;
  /** 0 when not given. */
  readonly subnetLength: number;
  readonly min?: Ip;
  readonly max?: Ip;
}

function readGivenRange(config: JsonObject, rules: FamilyRules): GivenRange {
  const network = readNetwork(config, rules);
  const min = readBound(config, rules.minKey, rules);
  const max = readBound(config, rules.maxKey, rules);
  const subnetLength = readLength(config, rules);
  return { ...(network && { network }), subnetLength, ...(min && { min }), ...(max && { max }) };
}

/** Any whole number passes here: whether it fits is a rule, checked later and only where it counts. */
function readLength(config: JsonObject, rules: FamilyRules): number {
  const value = lookupOption(config, rules.lengthKey) ?? 0;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
  throw new InvalidValueError(
    `${rules.lengthKey} is ${describeJson(value)}, but must be a whole number, for example ${rules.defaultLength}`,
  );
}

/** Absent, and all zero with length zero, which flannel takes for absent, give undefined. */
function readNetwork(config: JsonObject, rules: FamilyRules): Cidr | undefined {
  const value = lookupOption(config, rules.networkKey);
  if (value === undefined) return undefined;
  const network = typeof value === "string" ? tryParseCidr(value) : undefined;
  if (network === undefined || cidrFamily(network) !== rules.family) {
    throw new InvalidValueError(
      `${rules.networkKey} is ${describeJson(value)}, but must be an IPv${rules.family} CIDR, for example "${rules.exampleNetwork}"`,
    );
  }
  return cidrLength(network) === 0 ? undefined : network;
}

/** Absent and the zero address give undefined, as in flannel; so does null in IPv6, where Go has a pointer. */
function readBound(config: JsonObject, key: string, rules: FamilyRules): Ip | undefined {
  const value = lookupOption(config, key);
  if (value === undefined || (value === null && rules.family === 6)) return undefined;
  const ip = typeof value === "string" ? tryParseIp(value) : undefined;
  if (ip === undefined || familyOf(ip) !== rules.family) {
    throw new InvalidValueError(
      `${key} is ${describeJson(value)}, but must be an IPv${rules.family} address, for example "${cidrBase(tryParseCidr(rules.exampleNetwork) as Cidr)}"`,
    );
  }
  return ipToBigint(ip) === 0n ? undefined : ip;
}

function requireNetwork(given: GivenRange, rules: FamilyRules): Cidr {
  if (given.network !== undefined) return given.network;
  throw new InvalidValueError(
    `please define a correct ${rules.networkKey} parameter in the flannel config (for example "${rules.networkKey}":"${rules.exampleNetwork}")`,
  );
}

/** Applies flannel's CheckNetworkConfig to one family. */
function allocationRange(given: GivenRange, rules: FamilyRules): SubnetRange {
  const network = requireNetwork(given, rules);
  const subnetLength = chooseSubnetLength(network, given.subnetLength, rules);
  const size = 1n << BigInt(bitsOf(rules.family) - subnetLength);
  for (const [key, bound] of [
    [rules.minKey, given.min],
    [rules.maxKey, given.max],
  ] as const) {
    if (bound !== undefined && !cidrContainsIp(network, bound)) {
      throw new InvalidValueError(
        `${key} is not in the range of the ${rules.networkKey} (${key} is ${bound}, ${rules.networkKey} is ${network})`,
      );
    }
  }
  const min = given.min ?? addToIp(cidrBase(network), size);
  const max = given.max ?? addToIp(cidrLast(network), 1n - size);
  for (const [key, bound] of [
    [rules.minKey, min],
    [rules.maxKey, max],
  ] as const) {
    const boundary = cidrBase(cidrOf(bound, subnetLength));
    if (boundary !== bound) {
      throw new InvalidValueError(
        `${key} is not on a SubnetLen boundary: ${bound} (with ${rules.lengthKey} ${subnetLength}, ${boundary} would be)`,
      );
    }
  }
  // flannel has no such rule: it starts and then reports "out of subnets" for ever.
  if (compareIps(min, max) > 0) {
    throw new InvalidValueError(
      `${rules.minKey} ${min} is above ${rules.maxKey} ${max}, so there is no subnet to give out; exchange or correct them`,
    );
  }
  return { network, subnetLength, min, max };
}

function chooseSubnetLength(network: Cidr, given: number, rules: FamilyRules): number {
  const networkLength = cidrLength(network);
  const longest = bitsOf(rules.family) - 2;
  if (given === 0) {
    if (networkLength > longest - 2) {
      throw new InvalidValueError(`${rules.tooSmall} (${rules.networkKey} is ${network})`);
    }
    return Math.max(rules.defaultLength, networkLength + 2);
  }
  if (given > longest) {
    throw new InvalidValueError(
      `SubnetLen must be less than /${longest + 1} (${rules.lengthKey} is ${given}; a node needs at least four addresses)`,
    );
  }
  if (given < networkLength + 2) {
    throw new InvalidValueError(
      `network must be able to accommodate at least four subnets (${rules.networkKey} is ${network} and ${rules.lengthKey} is ${given}; ` +
        `make ${rules.lengthKey} at least ${networkLength + 2} or the network larger)`,
    );
  }
  return given;
}

/** Kubernetes gives out the subnets: the range is the whole network and the length is of no consequence. */
function ignoredRange(given: GivenRange, rules: FamilyRules): SubnetRange {
  const network = requireNetwork(given, rules);
  const subnetLength = Math.min(bitsOf(rules.family), Math.max(rules.defaultLength, cidrLength(network) + 2));
  return {
    network,
    subnetLength,
    min: cidrBase(network),
    max: cidrBase(cidrOf(cidrLast(network), subnetLength)),
  };
}

/**
 * Writes a configuration as one line of JSON that `parseNetworkConfig` and Go flannel read back as the same: keys in
 * flannel's spelling and fixed order, defaults left out but for the length, which people want to see.
 */
export function formatNetworkConfig(config: NetworkConfig): string {
  return JSON.stringify({
    ...(config.ipv4 === undefined && { EnableIPv4: false }),
    ...(config.ipv6 !== undefined && { EnableIPv6: true }),
    ...(config.enableNftables && { EnableNFTables: true }),
    ...(config.ipv4 && formatRange(config.ipv4, RULES[4])),
    ...(config.ipv6 && formatRange(config.ipv6, RULES[6])),
    Backend: formatBackend(config.backend),
  });
}

function formatRange(range: SubnetRange, rules: FamilyRules): JsonObject {
  const byDefault = allocationRange({ network: range.network, subnetLength: range.subnetLength }, rules);
  return {
    [rules.networkKey]: range.network,
    [rules.lengthKey]: range.subnetLength,
    ...(range.min !== byDefault.min && { [rules.minKey]: range.min }),
    ...(range.max !== byDefault.max && { [rules.maxKey]: range.max }),
  };
}

function formatBackend(backend: BackendConfig): JsonObject {
  const others = Object.entries(backend.options).filter(([key]) => key.toLowerCase() !== "type");
  return { Type: backend.type, ...Object.fromEntries(others) };
}
