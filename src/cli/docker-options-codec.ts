// Docker's options as text: flags and output of flannel's mk-docker-opts.sh, byte for byte. Pure.
import { cidrOf, tryParseAddressWithPrefix } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { InvalidValueError } from "../net/errors.ts";
import type { Environment } from "../net/go-flags.ts";

export interface DockerOptionsRequest {
  readonly subnetFile: string;
  readonly dockerFile: string;
  /** One variable for each option. */
  readonly individual: boolean;
  /** One variable with all options. */
  readonly combined: boolean;
  readonly combinedKey: string;
  readonly ipMasq: boolean;
}

/**
 * Parses as the script's `getopts "f:d:icmk:?h"`: letters may be joined (`-ic`), a value may be joined to its letter, and
 * the first other word ends the options. @throws {InvalidValueError} where the script prints its usage
 */
export function parseDockerOptionsRequest(argv: readonly string[]): DockerOptionsRequest {
  const values = new Map([
    ["f", "/run/flannel/subnet.env"],
    ["d", "/run/docker_opts.env"],
    ["k", "DOCKER_OPTS"],
  ]);
  const switches = new Set<string>();
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "--" || word === "-" || !word.startsWith("-")) break;
    for (let at = 1; at < word.length; at += 1) {
      const letter = word.charAt(at);
      if (values.has(letter)) {
        const value = word.slice(at + 1) || words.shift();
        if (value === undefined) throw new InvalidValueError(`-${letter} needs a value`);
        values.set(letter, value);
        break;
      }
      if (!"icm".includes(letter)) throw new InvalidValueError(`unknown option -${letter}`);
      switches.add(letter);
    }
  }
  const combinedKey = values.get("k") ?? "";
  if (!/^[A-Za-z_]\w*$/.test(combinedKey))
    throw new InvalidValueError(`-k: "${combinedKey}" is not a variable's name`);
  const neither = !switches.has("i") && !switches.has("c");
  return {
    subnetFile: values.get("f") ?? "",
    dockerFile: values.get("d") ?? "",
    individual: neither || switches.has("i"),
    combined: neither || switches.has("c"),
    combinedKey,
    ipMasq: !switches.has("m"),
  };
}

/**
 * The script sources the subnet file, so its variables override those of the environment. Reads assignments with or
 * without `export` and quotes; other lines of shell have no effect.
 */
export function readShellVariables(text: string, environment: Environment): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  for (const [name, value] of Object.entries(environment))
    if (value !== undefined) variables.set(name, value);
  for (const line of text.split("\n")) {
    const match = /^\s*(?:export\s+)?([A-Za-z_]\w*)=(?:"([^"]*)"|'([^']*)'|([^\s#;"']*))/.exec(line);
    if (match?.[1] !== undefined) variables.set(match[1], match[2] ?? match[3] ?? match[4] ?? "");
  }
  return variables;
}

const OPTION_PREFIX = "DOCKER_OPT_";

/**
 * The file for Docker's unit. `DOCKER_OPT_*` variables that are there already are kept, and options under the combined
 * key come first, as in the script. @throws {InvalidValueError} for a bad FLANNEL_IPMASQ
 */
export function renderDockerOptions(
  request: DockerOptionsRequest,
  variables: ReadonlyMap<string, string>,
): string {
  const options = new Map([...variables].filter(([name]) => name.startsWith(OPTION_PREFIX)));
  const subnet = variables.get("FLANNEL_SUBNET");
  const mtu = variables.get("FLANNEL_MTU");
  const masquerades = variables.get("FLANNEL_IPMASQ");
  if (subnet) options.set("DOCKER_OPT_BIP", `--bip=${subnet}`);
  if (mtu) options.set("DOCKER_OPT_MTU", `--mtu=${mtu}`);
  if (masquerades && request.ipMasq) {
    if (masquerades !== "true" && masquerades !== "false")
      throw new InvalidValueError(
        `Invalid value of FLANNEL_IPMASQ: ${masquerades} (it must be true or false)`,
      );
    // Who masquerades: the daemon or Docker, never both.
    options.set("DOCKER_OPT_IPMASQ", `--ip-masq=${masquerades === "true" ? "false" : "true"}`);
  }
  const sorted = [...options].sort(([a], [b]) => (a < b ? -1 : 1));
  const before = variables.get(request.combinedKey);
  const combined = [...(before ? [`${before} `] : [""]), ...sorted.map(([, value]) => value)].join(" ");
  return [
    ...(request.individual ? sorted.map(([name, value]) => `${name}="${value}"\n`) : []),
    ...(request.combined ? [`${request.combinedKey}="${combined}"\n`] : []),
  ].join("");
}

/** The subnet of FLANNEL_SUBNET without its host bits; undefined if there is none. */
export function dockerSubnet(variables: ReadonlyMap<string, string>): Cidr | undefined {
  const address = tryParseAddressWithPrefix(variables.get("FLANNEL_SUBNET") ?? "");
  return address && cidrOf(address.ip, address.prefixLength);
}

/** Lines of `ip route show` that lead to `subnet` through a gateway: somebody else has it. */
export function gatewayRoutesTo(subnet: Cidr, routeText: string): readonly string[] {
  return routeText
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => {
      const words = line.split(/\s+/);
      return (
        words.includes("via") &&
        words[words[0] === "blackhole" || words[0] === "unreachable" ? 1 : 0] === subnet
      );
    });
}
