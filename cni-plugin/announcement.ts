// What the daemon is told of a new pod: from the runtime's arguments and the delegate's result. Pure.
import { isJsonObject } from "../src/net/go-json.ts";
import type { NetConf } from "./config.ts";
import type { CniRequest } from "./protocol.ts";

export interface Announcement {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly uid?: string;
  /** Without prefix lengths. */
  readonly ips: readonly string[];
  readonly hostIfName?: string;
  readonly labels: Readonly<Record<string, unknown>>;
  readonly ports: readonly unknown[];
}

/** @param result of the delegate, JSON text that is an object. What it all means is the daemon's to judge. */
export function planAnnouncement(request: CniRequest, conf: NetConf, result: string): Announcement {
  const args = parseCniArgs(request.environment["CNI_ARGS"] ?? "");
  const namespace = args.get("K8S_POD_NAMESPACE");
  const name = args.get("K8S_POD_NAME");
  const uid = args.get("K8S_POD_UID");
  const parsed: unknown = JSON.parse(result);
  const hostIfName = hostInterfaceOf(parsed);
  return {
    network: conf.name,
    containerId: request.containerId,
    ifName: request.ifName,
    ...(namespace && { namespace }),
    ...(name && { name }),
    ...(uid && { uid }),
    ips: addressesOf(parsed),
    ...(hostIfName !== undefined && { hostIfName }),
    labels: labelsOf(args, conf),
    ports: portsOf(args, conf),
  };
}

/** `KEY=VALUE;KEY=VALUE` (specification section 2). */
function parseCniArgs(text: string): ReadonlyMap<string, string> {
  return new Map(
    text
      .split(";")
      .filter((pair) => pair.includes("="))
      .map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
  );
}

/** `ips[].address`; before 0.3.0 `ip4.ip` and `ip6.ip`. */
function addressesOf(result: unknown): readonly string[] {
  if (!isJsonObject(result)) return [];
  const listed = listOf(result["ips"]).map((entry) => (isJsonObject(entry) ? entry["address"] : undefined));
  const old = [result["ip4"], result["ip6"]].map((entry) => (isJsonObject(entry) ? entry["ip"] : undefined));
  return [...listed, ...old].flatMap((address) =>
    typeof address === "string" ? address.replace(/\/\d+$/, "") : [],
  );
}

/** Of the bridge plugin's interfaces: the bridge, the wire's end in the host, its end in the pod. */
function hostInterfaceOf(result: unknown): string | undefined {
  const interfaces = isJsonObject(result) ? listOf(result["interfaces"]) : [];
  const inHost = interfaces.filter((entry) => isJsonObject(entry) && !entry["sandbox"]);
  const name = inHost.length < 2 ? undefined : (inHost.at(-1) as Readonly<Record<string, unknown>>)["name"];
  return typeof name === "string" && name !== "" ? name : undefined;
}

/**
 * For clusters without Kubernetes: `POD_LABELS=app:web,tier:db` in CNI_ARGS (a `=` in a value would be refused by other
 * plugins), `args.cni.labels` of the configuration (CNI conventions), or the capability `labels`.
 */
function labelsOf(args: ReadonlyMap<string, string>, conf: NetConf): Readonly<Record<string, unknown>> {
  const conventional = listOf(conf.conventionalLabels).flatMap((entry) =>
    isJsonObject(entry) && typeof entry["key"] === "string" ? [[entry["key"], entry["value"]] as const] : [],
  );
  const capability = conf.runtimeConfig?.["labels"];
  const given = splitList(args.get("POD_LABELS")).map((pair) => splitOnce(pair, ":"));
  return {
    ...Object.fromEntries(conventional),
    ...(isJsonObject(capability) ? capability : {}),
    ...Object.fromEntries(given),
  };
}

/** `POD_PORTS=http:80,dns:53/UDP` in CNI_ARGS, or the capability `ports`: `[{name, port, protocol}]`. */
function portsOf(args: ReadonlyMap<string, string>, conf: NetConf): readonly unknown[] {
  const given = splitList(args.get("POD_PORTS")).map((entry) => {
    const [name, rest] = splitOnce(entry, ":");
    const [port, protocol] = splitOnce(rest, "/");
    return { name, port: Number(port), protocol: protocol === "" ? "TCP" : protocol };
  });
  return [...listOf(conf.runtimeConfig?.["ports"]), ...given];
}

function splitList(text: string | undefined): readonly string[] {
  return (text ?? "").split(",").filter((item) => item !== "");
}

function splitOnce(text: string, separator: string): readonly [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
