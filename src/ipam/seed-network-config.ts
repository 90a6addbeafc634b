// Creates the cluster's configuration in etcd from flags if there is none, and refuses flags that contradict the one there is.
import type { EtcdClient } from "../etcd/client.ts";
import { cidrFamily } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { InvalidValueError } from "../net/errors.ts";
import type { NetworkConfig } from "./network-config.ts";
import { formatNetworkConfig, isBackendDefaulted, parseNetworkConfig } from "./parse-network-config.ts";

/** What the flags say of the cluster; all absent means that there is nothing to seed. */
export interface WantedConfig {
  /** `--backend`, lower case. */
  readonly backend?: string | undefined;
  /** `--network`. */
  readonly network?: Cidr | undefined;
  /** `--subnet-len`, bits. */
  readonly subnetLength?: number | undefined;
}

export interface SeedRequest {
  readonly client: Pick<EtcdClient, "get" | "put">;
  /** Without a trailing slash. */
  readonly prefix: string;
  readonly wanted: WantedConfig;
  /** Further rules, such as the backend's own; throws `InvalidValueError`. */
  readonly checkConfig?: (config: NetworkConfig) => void;
}

export type SeedResult =
  | { readonly outcome: "not-asked" }
  /** `created` is true in at most one of the daemons that start together. */
  | { readonly outcome: "created" | "present"; readonly text: string; readonly config: NetworkConfig };

/** A flag and the cluster's configuration say different things. The message has both values and the ways out. */
export class ConfigConflictError extends Error {
  override readonly name = "ConfigConflictError";
}

/** The cluster has a configuration, but it cannot be used until somebody corrects it. */
export class BrokenConfigError extends Error {
  override readonly name = "BrokenConfigError";
}

/** Key of the cluster's configuration. */
export function networkConfigKey(prefix: string): string {
  return `${prefix}/config`;
}

/** A config that is deleted each time between our read and our write is no accident worth more tries. */
const MAX_ATTEMPTS = 5;
const DEFAULT_BACKEND = "vxlan";

/**
 * One transaction creates the key only if it is absent, so of any number of daemons one wins, and the others compare
 * their flags with what it wrote. Without a flag nothing is read.
 * @throws {ConfigConflictError} if a flag contradicts the configuration there is
 * @throws {BrokenConfigError} if the one there is is broken
 * @throws {InvalidValueError} if the flags make no valid configuration
 * @throws {EtcdCallError} from the client; calling again is safe
 */
export async function seedNetworkConfig(request: SeedRequest): Promise<SeedResult> {
  const { client, prefix, wanted } = request;
  if (wanted.backend === undefined && wanted.network === undefined && wanted.subnetLength === undefined) {
    return { outcome: "not-asked" };
  }
  if (wanted.network !== undefined && cidrFamily(wanted.network) !== 4) {
    throw new InvalidValueError(
      `--network=${wanted.network} must be IPv4, for example 10.244.0.0/16; a configuration with IPv6 is written with \`flanneld-ts config set\``,
    );
  }
  const key = networkConfigKey(prefix);
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const stored = await client.get(key);
    if (stored !== undefined)
      return { outcome: "present", text: stored.value, config: compare(stored.value, key, wanted) };
    const config = configFromFlags(wanted, key);
    request.checkConfig?.(config);
    const text = formatNetworkConfig(config);
    if (await client.put(key, text, { only: { absent: true } })) return { outcome: "created", text, config };
  }
  throw new Error(
    `etcd key ${key} is deleted again and again while it is being created; find out who does that`,
  );
}

function configFromFlags({ backend, network, subnetLength }: WantedConfig, key: string): NetworkConfig {
  if (network === undefined) {
    const given = [
      ...(backend === undefined ? [] : [`--backend=${backend}`]),
      ...(subnetLength === undefined ? [] : [`--subnet-len=${subnetLength}`]),
    ];
    throw new InvalidValueError(
      `${given.join(" and ")} cannot create the cluster's configuration, which is missing (etcd key ${key}): ` +
        "add --network=CIDR, for example --network=10.244.0.0/16",
    );
  }
  return parseNetworkConfig(
    JSON.stringify({
      Network: network,
      SubnetLen: subnetLength,
      Backend: { Type: backend ?? DEFAULT_BACKEND },
    }),
  );
}

/** Returns the stored configuration if no flag contradicts it. */
function compare(stored: string, key: string, wanted: WantedConfig): NetworkConfig {
  const config = parseStored(stored, key);
  const conflicts = [
    describeConflict("--network", wanted.network, "Network", config.ipv4?.network),
    describeConflict("--subnet-len", wanted.subnetLength, "SubnetLen", config.ipv4?.subnetLength),
    describeConflict(
      "--backend",
      wanted.backend,
      isBackendDefaulted(config.backend) ? "no Backend, which means" : "Backend.Type",
      config.backend.type,
    ),
  ].filter((conflict) => conflict !== undefined);
  if (conflicts.length === 0) return config;
  throw new ConfigConflictError(
    `${conflicts.join("; ")} (etcd key ${key}). ` +
      "Leave the flag out, or change the configuration of the whole cluster: " +
      `flanneld-ts config set '${JSON.stringify(applyFlags(config, wanted))}'`,
  );
}

function parseStored(stored: string, key: string): NetworkConfig {
  try {
    return parseNetworkConfig(stored);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    throw new BrokenConfigError(
      `etcd key ${key}: ${error.message}. Correct it with \`flanneld-ts config set\``,
      {
        cause: error,
      },
    );
  }
}

function describeConflict<T extends string | number>(
  flag: string,
  wanted: T | undefined,
  key: string,
  stored: T | undefined,
): string | undefined {
  if (wanted === undefined || wanted === stored) return undefined;
  const says = stored === undefined ? `no ${key}` : `${key} ${stored}`;
  return `${flag}=${wanted} contradicts the cluster's configuration, which has ${says}`;
}

/** The stored configuration as the flags would have it, ready for `config set`. */
function applyFlags(config: NetworkConfig, wanted: WantedConfig): Readonly<Record<string, unknown>> {
  const { SubnetMin, SubnetMax, SubnetLen, ...stored } = JSON.parse(formatNetworkConfig(config)) as Record<
    string,
    unknown
  >;
  const network = wanted.network ?? stored["Network"];
  const subnetLength = wanted.subnetLength ?? (network === stored["Network"] ? SubnetLen : undefined);
  const sameRange = network === stored["Network"] && subnetLength === SubnetLen;
  const backend = wanted.backend ?? config.backend.type;
  return {
    ...stored,
    Network: network,
    SubnetLen: subnetLength,
    ...(sameRange && { SubnetMin, SubnetMax }),
    // The options belong to the type that they were written for.
    Backend: backend === config.backend.type ? stored["Backend"] : { Type: backend },
  };
}
