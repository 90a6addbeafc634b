// The cluster's configuration (flannel's net-conf.json): types. Parsing lies in parse-network-config.ts.
import type { Cidr } from "../net/cidr.ts";
import type { Ip } from "../net/ip.ts";

/** Allocation range of one family. */
export interface SubnetRange {
  readonly network: Cidr;
  /** Prefix length of a node's subnet, bits. */
  readonly subnetLength: number;
  /** First allocatable subnet's base address. */
  readonly min: Ip;
  /** Last allocatable subnet's base address. */
  readonly max: Ip;
}

/** Backend part: `type` in lower case and the raw object, whose keys each backend reads for itself, case-insensitively. */
export interface BackendConfig {
  readonly type: string;
  readonly options: Readonly<Record<string, unknown>>;
}

export interface NetworkConfig {
  /** Absent when EnableIPv4 is false. */
  readonly ipv4?: SubnetRange;
  /** Absent unless EnableIPv6 is true. */
  readonly ipv6?: SubnetRange;
  readonly enableNftables: boolean;
  readonly backend: BackendConfig;
}
