// Pods, namespaces and nodes of Kubernetes (untrusted JSON) as ours. What cannot be understood is left out, with a problem.
import { cidrBase, cidrLength, tryParseCidr } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { addToIp, bitsOf, familyOf, tryParseIp } from "../net/ip.ts";
import type { Ip } from "../net/ip.ts";
import { describeValue, isGiven, isObject, readList, readObject } from "./problems.ts";
import type { JsonObject, Problem, Report } from "./problems.ts";
import { NAMESPACE_NAME_LABEL, POLICY_PROTOCOLS } from "./snapshot.ts";
import type { ClusterNode, Labels, NamedPort, Namespace, Pod } from "./snapshot.ts";

/** `object` is absent if the input has no name, so that nobody could say what it is. */
export interface Translated<T> {
  readonly object?: T;
  readonly problems: readonly Problem[];
}

export function translatePod(input: unknown): Translated<Pod> {
  return translate(input, "Pod", (pod, metadata, report) => {
    const { namespace, name, deletionTimestamp } = metadata;
    const uid = staticUidOf(metadata) ?? metadata["uid"];
    if (typeof namespace !== "string" || typeof name !== "string" || namespace === "" || name === "") {
      report("metadata", "must have name and namespace");
      return undefined;
    }
    const spec = readObject(pod["spec"], "spec", report) ?? {};
    const status = readObject(pod["status"], "status", report) ?? {};
    const createdAtMs = Date.parse(String(metadata["creationTimestamp"]));
    return {
      namespace,
      name,
      uid: typeof uid === "string" ? uid : "",
      nodeName: typeof spec["nodeName"] === "string" ? spec["nodeName"] : "",
      labels: readLabels(metadata["labels"], report),
      ips: readPodIps(status, report),
      hostNetwork: spec["hostNetwork"] === true,
      finished: status["phase"] === "Succeeded" || status["phase"] === "Failed",
      terminating: isGiven(deletionTimestamp),
      ...(Number.isFinite(createdAtMs) && { createdAtMs }),
      ports: readPorts(spec, report),
    };
  });
}

/**
 * A static pod's object in the API is a mirror with a uid of its own; its kubelet, and so CNI ADD, knows the pod by the uid
 * in this annotation (kubelet, types.ConfigMirrorAnnotationKey).
 */
function staticUidOf({ annotations }: JsonObject): unknown {
  return isObject(annotations) ? annotations["kubernetes.io/config.mirror"] : undefined;
}

export function translateNamespace(input: unknown): Translated<Namespace> {
  return translate(input, "Namespace", (_, metadata, report) => {
    const name = readName(metadata, report);
    if (name === undefined) return undefined;
    // Not left to the API server: the store of clusters without one does not set it, and nobody may forge it.
    return { name, labels: { ...readLabels(metadata["labels"], report), [NAMESPACE_NAME_LABEL]: name } };
  });
}

/**
 * Addresses are those of the status and, of each pod subnet, those that flannel gives to the node itself: the first
 * address is the overlay device's, by which traffic of this node reaches pods of others, the second the bridge's.
 */
export function translateNode(input: unknown): Translated<ClusterNode> {
  return translate(input, "Node", (node, metadata, report) => {
    const name = readName(metadata, report);
    if (name === undefined) return undefined;
    const spec = readObject(node["spec"], "spec", report) ?? {};
    const status = readObject(node["status"], "status", report) ?? {};
    const podCidrs = readPodCidrs(spec, report);
    const listed = (readList(status["addresses"], "status.addresses", report) ?? []).flatMap((address) => {
      const text = isObject(address) ? address["address"] : undefined;
      return (typeof text === "string" && tryParseIp(text)) || [];
    });
    return { name, addresses: [...new Set([...listed, ...podCidrs.flatMap(nodeAddressesIn)])], podCidrs };
  });
}

/** The addresses of a pod subnet that are the node's: of flannel's overlay device and of the bridge. */
export function nodeAddressesIn(podCidr: Cidr): readonly Ip[] {
  const base = cidrBase(podCidr);
  return cidrLength(podCidr) < bitsOf(familyOf(base)) ? [base, addToIp(base, 1)] : [];
}

function translate<T>(
  input: unknown,
  kind: string,
  read: (object: JsonObject, metadata: JsonObject, report: Report) => T | undefined,
): Translated<T> {
  const problems: Problem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  if (!isObject(input)) {
    report("", `must be a ${kind} object, not ${describeValue(input)}`);
    return { problems };
  }
  const object = read(input, readObject(input["metadata"], "metadata", report) ?? {}, report);
  return object === undefined ? { problems } : { object, problems };
}

function readName(metadata: JsonObject, report: Report): string | undefined {
  const { name } = metadata;
  if (typeof name === "string" && name !== "") return name;
  report("metadata.name", "is required");
  return undefined;
}

function readLabels(value: unknown, report: Report): Labels {
  const entries = Object.entries(readObject(value, "metadata.labels", report) ?? {});
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => {
      const isText = typeof entry[1] === "string";
      if (!isText) report(`metadata.labels.${entry[0]}`, `must be a string, not ${describeValue(entry[1])}`);
      return isText;
    }),
  );
}

/** status.podIPs, or status.podIP of old API servers. */
function readPodIps(status: JsonObject, report: Report): readonly Ip[] {
  const list = readList(status["podIPs"], "status.podIPs", report) ?? [];
  const texts = list.map((item) => (isObject(item) ? item["ip"] : item));
  if (texts.length === 0 && isGiven(status["podIP"]) && status["podIP"] !== "") texts.push(status["podIP"]);
  const ips = texts.flatMap((text, index) => {
    const ip = typeof text === "string" ? tryParseIp(text) : undefined;
    if (ip === undefined) report(`status.podIPs[${index}]`, `${describeValue(text)} is not an IP address`);
    return ip ?? [];
  });
  return [...new Set(ips)];
}

function readPodCidrs(spec: JsonObject, report: Report): readonly Cidr[] {
  const list = readList(spec["podCIDRs"], "spec.podCIDRs", report) ?? [];
  const texts = list.length > 0 ? list : [spec["podCIDR"]].filter((text) => isGiven(text) && text !== "");
  return texts.flatMap((text, index) => {
    const cidr = typeof text === "string" ? tryParseCidr(text) : undefined;
    if (cidr === undefined) report(`spec.podCIDRs[${index}]`, `${describeValue(text)} is not a CIDR`);
    return cidr ?? [];
  });
}

/** Init containers with restartPolicy Always run beside the others (sidecars), and serve. */
function readPorts(spec: JsonObject, report: Report): readonly NamedPort[] {
  const init = (readList(spec["initContainers"], "spec.initContainers", report) ?? []).filter(
    (container) => isObject(container) && container["restartPolicy"] === "Always",
  );
  const containers = readList(spec["containers"], "spec.containers", report) ?? [];
  return [...init, ...containers].flatMap((container) => {
    const ports = isObject(container) ? readList(container["ports"], "spec.containers[].ports", report) : [];
    return (ports ?? []).flatMap(readPort);
  });
}

function readPort(value: unknown): readonly NamedPort[] {
  if (!isObject(value)) return [];
  const { name, containerPort: port } = value;
  const protocol = isGiven(value["protocol"])
    ? POLICY_PROTOCOLS.find((known) => known === value["protocol"])
    : "TCP";
  if (typeof name !== "string" || name === "" || typeof port !== "number" || protocol === undefined)
    return [];
  return Number.isInteger(port) && port > 0 && port <= 65_535 ? [{ name, protocol, port }] : [];
}
