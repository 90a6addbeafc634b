// The text of subnet.env: rendering as flannel writes it, and both of flannel's ways to read it. Light: the CNI plugin uses it.
import { cidrBase, cidrLength, tryParseCidr } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { InvalidValueError } from "../net/errors.ts";
import { addToIp } from "../net/ip.ts";

/** Network and own subnet of one family. */
export interface SubnetFileRange {
  readonly network: Cidr;
  readonly subnet: Cidr;
}

export interface SubnetFile {
  readonly ipv4?: SubnetFileRange | undefined;
  readonly ipv6?: SubnetFileRange | undefined;
  /** For pods, bytes. */
  readonly mtu: number;
  /** True if the daemon masquerades. */
  readonly ipMasq: boolean;
}

/** Renders subnet.env byte for byte as flannel does (pkg/subnet/subnetfile_unix.go). */
export function renderSubnetFile(file: SubnetFile): string {
  const lines = [
    ...renderRange(file.ipv4, "FLANNEL_NETWORK", "FLANNEL_SUBNET"),
    ...renderRange(file.ipv6, "FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET"),
    `FLANNEL_MTU=${file.mtu}`,
    `FLANNEL_IPMASQ=${file.ipMasq}`,
  ];
  return lines.map((line) => `${line}\n`).join("");
}

/** The subnet is written with its first usable address, which the bridge gets: 10.244.1.1/24. */
function renderRange(range: SubnetFileRange | undefined, networkKey: string, subnetKey: string): string[] {
  if (range === undefined) return [];
  const gateway = addToIp(cidrBase(range.subnet), 1);
  return [`${networkKey}=${range.network}`, `${subnetKey}=${gateway}/${cidrLength(range.subnet)}`];
}

/** What a subnet.env of an earlier run says; everything is a hint. */
export interface PreviousSubnetFile {
  readonly network?: Cidr;
  readonly subnet?: Cidr;
  readonly network6?: Cidr;
  readonly subnet6?: Cidr;
}

/**
 * Reads subnet.env as flanneld does at start, to take the same subnet again: dotenv syntax, host bits masked, bad CIDRs
 * skipped, a list of more than one is none. Never throws.
 */
export function parsePreviousSubnetFile(text: string): PreviousSubnetFile {
  const values = parseDotenv(text);
  const read = (key: string): Cidr | undefined => {
    const cidrs = (values.get(key) ?? "").split(",").map((item) => tryParseCidr(item.trim()));
    const good = cidrs.filter((cidr) => cidr !== undefined);
    return good.length === 1 ? good[0] : undefined;
  };
  const network = read("FLANNEL_NETWORK");
  const subnet = read("FLANNEL_SUBNET");
  const network6 = read("FLANNEL_IPV6_NETWORK");
  const subnet6 = read("FLANNEL_IPV6_SUBNET");
  return {
    ...(network && { network }),
    ...(subnet && { subnet }),
    ...(network6 && { network6 }),
    ...(subnet6 && { subnet6 }),
  };
}

/** The part of dotenv that a person may have put into the file: `export`, quotes, comments, spaces. */
function parseDotenv(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^#]*?))\s*(?:#.*)?$/.exec(
      line,
    );
    const key = match?.[1];
    if (key !== undefined) values.set(key, match?.[2] ?? match?.[3] ?? match?.[4] ?? "");
  }
  return values;
}

/** What the CNI plugin needs of subnet.env. */
export interface PluginSubnetFile {
  /** IPv4, without repeats; more than one since flannel's multi-cluster-CIDR times. */
  readonly networks: readonly Cidr[];
  readonly networks6: readonly Cidr[];
  readonly subnet?: Cidr;
  readonly subnet6?: Cidr;
  /** Bytes. */
  readonly mtu: number;
  readonly ipMasq: boolean;
}

/** Collects as it reads; a later line with the same key replaces an earlier one. */
type Draft = { -readonly [Key in keyof PluginSubnetFile]?: PluginSubnetFile[Key] };

/**
 * Reads subnet.env as flannel's CNI plugin does (cni-plugin, loadFlannelSubnetEnv): no quotes, no comments, no spaces;
 * unknown lines are ignored; `FLANNEL_IPMASQ` is true only if it says exactly `true`.
 * @param path only for messages
 * @throws {InvalidValueError} with flannel's "PATH is missing KEYS", or naming the line that is wrong
 */
export function parseSubnetFileForPlugin(text: string, path: string): PluginSubnetFile {
  const draft: Draft = {};
  for (const line of text.split(/\r?\n/)) readPluginLine(draft, line, path);
  const { mtu, ipMasq, networks = [], networks6 = [] } = draft;
  const missing = [
    ...(networks.length + networks6.length === 0 ? ["FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK"] : []),
    ...((draft.subnet ?? draft.subnet6) === undefined ? ["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"] : []),
    ...(mtu === undefined ? ["FLANNEL_MTU"] : []),
    ...(ipMasq === undefined ? ["FLANNEL_IPMASQ"] : []),
  ];
  if (missing.length > 0 || mtu === undefined || ipMasq === undefined) {
    throw new InvalidValueError(`${path} is missing ${missing.join(", ")}`);
  }
  return { ...draft, networks, networks6, mtu, ipMasq };
}

function readPluginLine(draft: Draft, line: string, path: string): void {
  const equals = line.indexOf("=");
  const key = equals < 0 ? line : line.slice(0, equals);
  const value = equals < 0 ? "" : line.slice(equals + 1);
  const readCidr = (text: string): Cidr => {
    const cidr = tryParseCidr(text);
    if (cidr !== undefined) return cidr;
    throw new InvalidValueError(
      `${path}: ${key} has an invalid CIDR address: "${text}" (for example 10.244.1.1/24)`,
    );
  };
  const readCidrs = (): readonly Cidr[] => [...new Set(value.split(",").map((item) => readCidr(item)))];
  switch (key) {
    case "FLANNEL_NETWORK":
      draft.networks = readCidrs();
      break;
    case "FLANNEL_IPV6_NETWORK":
      draft.networks6 = readCidrs();
      break;
    case "FLANNEL_SUBNET":
      draft.subnet = readCidr(value);
      break;
    case "FLANNEL_IPV6_SUBNET":
      draft.subnet6 = readCidr(value);
      break;
    case "FLANNEL_MTU":
      if (!/^\d{1,9}$/.test(value)) {
        throw new InvalidValueError(
          `${path}: FLANNEL_MTU is "${value}", but must be a number of bytes, for example 1450`,
        );
      }
      draft.mtu = Number(value);
      break;
    case "FLANNEL_IPMASQ":
      draft.ipMasq = value === "true";
      break;
    default:
  }
}
