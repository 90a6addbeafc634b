// The configuration that the delegate gets, from ours and the node's subnet. Pure.
import { parseAddressWithPrefix } from "../src/net/cidr.ts";
import type { Cidr } from "../src/net/cidr.ts";
import { describeJson, isJsonObject, lookupOption } from "../src/net/go-json.ts";
import type { JsonObject } from "../src/net/go-json.ts";
import { parseIp } from "../src/net/ip.ts";
import type { Family } from "../src/net/ip.ts";
import type { JsonMap, JsonValue } from "./canonical-json.ts";
import type { NetConf } from "./config.ts";
import { CniError, ERROR_CODES } from "./protocol.ts";
import type { PluginSubnetFile } from "../src/ipam/subnet-file-codec.ts";

const DEFAULT_DELEGATE = "bridge";
const DEFAULT_IPAM = "host-local";

/** A delegate's configuration: flannel's plugin would render the same. */
export interface DelegateConfig extends StoredConfig {
  readonly ipam: JsonMap & { readonly type: string };
}

/** As much of it as a state file is sure to have. */
export interface StoredConfig extends JsonMap {
  readonly type: string;
}

/** Reads a state file, ours or flannel's; undefined when it is damaged. */
export function parseStoredConfig(text: string): StoredConfig | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const usable = isJsonObject(value) && typeof value["type"] === "string" && value["type"] !== "";
    return usable ? (value as StoredConfig) : undefined;
  } catch {
    return undefined;
  }
}

/** Name of the delegate plugin; "bridge" when none is given. @throws {CniError} */
export function delegateTypeOf(conf: NetConf): string {
  const type = conf.delegate["type"];
  if (type === undefined) return DEFAULT_DELEGATE;
  if (typeof type !== "string" || type === "") {
    throw invalid("'delegate' dictionary, if present, must have (string) 'type' field");
  }
  // flannel would call itself once more and overwrite its own state; we would wait for our own lock.
  if (type === "flannel") throw invalid("'delegate' type must not be 'flannel' itself; 'bridge' is usual");
  return type;
}

/** Name of the address plugin. @throws {CniError} */
function ipamTypeOf(conf: NetConf): string {
  const type = Object.hasOwn(conf.ipam, "type") ? conf.ipam["type"] : DEFAULT_IPAM;
  if (typeof type !== "string" || type === "") throw invalid("'ipam' must have (string) 'type' field");
  return type;
}

/**
 * Renders the delegate's configuration, field by field as flannel's plugin does (cni-plugin, doCmdAdd and
 * getDelegateIPAM).
 * @throws {CniError} on delegate and ipam fields that flannel refuses
 */
export function planDelegateConfig(conf: NetConf, file: PluginSubnetFile): DelegateConfig {
  const type = delegateTypeOf(conf);
  for (const reserved of ["name", "ipam"]) {
    if (Object.hasOwn(conf.delegate, reserved)) {
      throw invalid(`'delegate' dictionary must not have '${reserved}' field, it'll be set by flannel`);
    }
  }
  return {
    ...(type === DEFAULT_DELEGATE && { isGateway: true }),
    // If the daemon does not masquerade, the delegate should.
    ipMasq: !file.ipMasq,
    mtu: file.mtu,
    ...conf.delegate,
    ...(conf.runtimeConfig && { runtimeConfig: conf.runtimeConfig }),
    name: conf.name,
    type,
    ...(conf.cniVersion !== "" && { cniVersion: conf.cniVersion }),
    ipam: planIpam(conf, file),
  };
}

function planIpam(conf: NetConf, file: PluginSubnetFile): DelegateConfig["ipam"] {
  const ranges = [file.subnet, file.subnet6]
    .filter((subnet) => subnet !== undefined)
    .map((subnet) => [{ subnet }]);
  const podRoutes = [...file.networks, ...file.networks6].map((dst: Cidr) => ({ dst }));
  return { ...conf.ipam, type: ipamTypeOf(conf), ranges, routes: [...inputRoutes(conf), ...podRoutes] };
}

/**
 * The configuration for the delegate's CHECK: that of ADD with the result of ADD.
 * The plugins program a route without gateway via the gateway of the pod's address (plugins, ipam.ConfigureIface), but
 * then look for one without gateway (plugins, ip.ValidateExpectedRoute), and so miss flannel's routes on every healthy
 * pod. We hand them the routes as they were programmed.
 */
export function planCheckConfig(stored: StoredConfig, cniVersion: string, prevResult: JsonMap): StoredConfig {
  const ips = listOfMaps(prevResult["ips"]);
  const gatewayFor = (family: Family): JsonValue | undefined =>
    ips.findLast(({ address, gateway }) => gateway && isOfFamily(address, family))?.["gateway"];
  const routes = listOfMaps(prevResult["routes"]).map((route) => {
    const gw = route["gw"] ?? gatewayFor(isOfFamily(route["dst"], 6) ? 6 : 4);
    return gw === undefined ? route : Object.fromEntries([...Object.entries(route), ["gw", gw]]);
  });
  const completed = prevResult["routes"] === undefined ? prevResult : { ...prevResult, routes };
  return { ...stored, cniVersion, prevResult: completed };
}

function listOfMaps(value: JsonValue | undefined): readonly JsonMap[] {
  return Array.isArray(value) ? (value as readonly JsonValue[]).filter((item) => isJsonObject(item)) : [];
}

function isOfFamily(address: JsonValue | undefined, family: Family): boolean {
  return typeof address === "string" && address.includes(":") === (family === 6);
}

/** Members of a route in libcni (types.Route), after dst and gw; those of value zero are left out. */
const NUMBERS_OF_ROUTE = ["mtu", "advmss", "priority"] as const;
const OPTIONAL_NUMBERS_OF_ROUTE = ["table", "scope"] as const;

function inputRoutes(conf: NetConf): readonly JsonMap[] {
  const routes = conf.ipam["routes"] ?? [];
  if (!Array.isArray(routes)) throw invalidRoute(`"routes" is ${describeJson(routes)}, but must be a list`);
  return (routes as readonly JsonValue[]).map(normalizeRoute);
}

/** libcni's decoder and encoder in one: known members only, canonical addresses, host bits of dst kept. */
function normalizeRoute(route: JsonValue): JsonMap {
  if (!isJsonObject(route)) throw invalidRoute(`${describeJson(route)} must be an object`);
  const dst = lookupOption(route, "dst");
  const gw = lookupOption(route, "gw") ?? "";
  if (typeof dst !== "string" || typeof gw !== "string") {
    throw invalidRoute(`${describeJson(route)} must have the text "dst" (and may have the text "gw")`);
  }
  try {
    const { ip, prefixLength } = parseAddressWithPrefix(dst);
    return {
      dst: `${ip}/${prefixLength}`,
      ...(gw !== "" && { gw: parseIp(gw) }),
      ...Object.fromEntries(
        NUMBERS_OF_ROUTE.map((key) => [key, readNumber(route, key)]).filter(([, value]) => value),
      ),
      ...Object.fromEntries(
        OPTIONAL_NUMBERS_OF_ROUTE.map((key) => [key, readNumber(route, key)]).filter(
          ([, value]) => value !== undefined,
        ),
      ),
    };
  } catch (error) {
    if (error instanceof CniError) throw error;
    throw invalidRoute((error as Error).message);
  }
}

function readNumber(route: JsonObject, key: string): number | undefined {
  const value = lookupOption(route, key) ?? undefined;
  if (value === undefined || (typeof value === "number" && Number.isInteger(value))) return value;
  throw invalidRoute(`"${key}" is ${describeJson(value)}, but must be a whole number`);
}

function invalid(message: string): CniError {
  return new CniError(ERROR_CODES.invalidConfig, message);
}

function invalidRoute(problem: string): CniError {
  return invalid(
    `failed to assemble Delegate IPAM: failed to read IPAM routes: failed to parse ipam.routes: ${problem}`,
  );
}
