// One interface of one pod, as CNI ADD tells of it: parsed from untrusted JSON, and what it means as a pod. Pure.
import { tryParseIp } from "../../net/ip.ts";
import type { Ip } from "../../net/ip.ts";
import {
  isDnsLabel,
  isDnsSubdomain,
  labelKeyProblem,
  labelValueProblem,
  portNameProblem,
} from "../../policy/names-validation.ts";
import type { LocalPod } from "../../policy/pod-registry.ts";
import { describeValue, isGiven, isObject, readList, readObject } from "../../policy/problems.ts";
import type { Report } from "../../policy/problems.ts";
import { POLICY_PROTOCOLS } from "../../policy/snapshot.ts";
import type { Labels, NamedPort } from "../../policy/snapshot.ts";

/** CNI_CONTAINERID and CNI_IFNAME. */
export interface AttachmentKey {
  readonly containerId: string;
  readonly ifName: string;
}

export interface Attachment extends AttachmentKey {
  /** CNI network; absent if the caller did not say. */
  readonly network?: string;
  readonly namespace: string;
  readonly name: string;
  /** The pod's; empty if the runtime does not tell it. */
  readonly uid: string;
  readonly ips: readonly Ip[];
  /** Of the pod's end of the wire in the host. */
  readonly hostIfName?: string;
  readonly labels: Labels;
  readonly ports: readonly NamedPort[];
}

/** What a runtime need not know: a CNI runtime without pods names none. */
export type AnnouncedAttachment = Omit<Attachment, "namespace" | "name"> &
  Partial<Pick<Attachment, "namespace" | "name">>;

export function attachmentId({ containerId, ifName }: AttachmentKey): string {
  return `${containerId}@${ifName}`;
}

/** Of pods that no uid is known of, the container tells incarnations apart. */
export function incarnationOf({ uid, containerId }: Pick<Attachment, "uid" | "containerId">): string {
  return uid === "" ? containerId : uid;
}

/** A state file's name holds both, and ends at 255 bytes. */
const MAX_CONTAINER_ID = 200;
/** IFNAMSIZ with its closing zero is 16. */
const MAX_IF_NAME = 15;
const MAX_IPS = 32;
const MAX_LABELS = 256;
const MAX_PORTS = 256;
const MAX_TEXT = 253;

/** Reports what is wrong; what it returns then is not to be used. */
export function readAttachmentKey(value: unknown, report: Report): AttachmentKey {
  const object = isObject(value) ? value : {};
  if (!isObject(value))
    report("", `must be an object with containerId and ifName, not ${describeValue(value)}`);
  return {
    containerId: readMatching(object["containerId"], "containerId", report, {
      pattern: /^[A-Za-z0-9][A-Za-z0-9_.-]*$/,
      max: MAX_CONTAINER_ID,
      right: "a letter or digit, then letters, digits, _ . -",
    }),
    ifName: readMatching(object["ifName"], "ifName", report, {
      pattern: /^(?!\.{1,2}$)[^\s/:\p{Cc}]+$/u,
      max: MAX_IF_NAME,
      right: "the name of an interface",
    }),
  };
}

/** The body of `POST /v1/attachments`. Reports what is wrong; what it returns then is not to be used. */
export function readAttachment(value: unknown, report: Report): AnnouncedAttachment {
  const key = readAttachmentKey(value, report);
  const object = isObject(value) ? value : {};
  const optionalText = (field: string): string | undefined => {
    const text = object[field];
    if (!isGiven(text) || text === "") return undefined;
    return readMatching(text, field, report, { pattern: /^[^\p{Cc}]+$/u, max: MAX_TEXT, right: "a text" });
  };
  const namespace = optionalText("namespace");
  const name = optionalText("name");
  if (namespace !== undefined && !isDnsLabel(namespace))
    report("namespace", `${describeValue(namespace)} is no name of a namespace`);
  if (name !== undefined && !isDnsSubdomain(name))
    report("name", `${describeValue(name)} is no name of a pod`);
  if ((namespace === undefined) !== (name === undefined)) report("name", "and namespace come together");
  const network = optionalText("network");
  const hostIfName = optionalText("hostIfName");
  return {
    ...key,
    ...(network !== undefined && { network }),
    ...(namespace !== undefined && { namespace }),
    ...(name !== undefined && { name }),
    uid: optionalText("uid") ?? "",
    ips: readIps(object["ips"], report),
    ...(hostIfName !== undefined && { hostIfName }),
    labels: readLabels(object["labels"], report),
    ports: readPorts(object["ports"], report),
  };
}

interface TextRule {
  readonly pattern: RegExp;
  readonly max: number;
  /** What would be right. */
  readonly right: string;
}

function readMatching(
  value: unknown,
  path: string,
  report: Report,
  { pattern, max, right }: TextRule,
): string {
  if (typeof value === "string" && value.length <= max && pattern.test(value)) return value;
  report(path, `must be ${right}, at most ${max} characters, not ${describeValue(value)}`);
  return "";
}

function readIps(value: unknown, report: Report): readonly Ip[] {
  const list = readList(value, "ips", report) ?? [];
  if (list.length === 0 || list.length > MAX_IPS) report("ips", `must have 1 to ${MAX_IPS} addresses`);
  const ips = list.slice(0, MAX_IPS).flatMap((text, index) => {
    const ip = typeof text === "string" ? tryParseIp(text) : undefined;
    if (ip === undefined) report(`ips[${index}]`, `${describeValue(text)} is not an IP address`);
    return ip ?? [];
  });
  return [...new Set(ips)];
}

function readLabels(value: unknown, report: Report): Labels {
  const entries = Object.entries(readObject(value, "labels", report) ?? {});
  if (entries.length > MAX_LABELS) report("labels", `has more than ${MAX_LABELS} labels`);
  return Object.fromEntries(
    entries.slice(0, MAX_LABELS).map(([key, text]) => {
      const problem = labelKeyProblem(key) ?? labelValueProblem(text);
      if (problem !== undefined) report("labels", problem);
      return [key, String(text)];
    }),
  );
}

function readPorts(value: unknown, report: Report): readonly NamedPort[] {
  const list = readList(value, "ports", report) ?? [];
  if (list.length > MAX_PORTS) report("ports", `has more than ${MAX_PORTS} ports`);
  return list.slice(0, MAX_PORTS).flatMap((entry, index) => {
    const { name, port, protocol: given = "TCP" } = isObject(entry) ? entry : {};
    const protocol = POLICY_PROTOCOLS.find((known) => known === given);
    const nameProblem = typeof name === "string" ? portNameProblem(name) : "must be a text";
    const isPort = typeof port === "number" && Number.isInteger(port) && port > 0 && port <= 65_535;
    if (nameProblem === undefined && isPort && protocol !== undefined && typeof name === "string")
      return { name, protocol, port };
    report(
      `ports[${index}]`,
      `must have a name (${nameProblem ?? "right"}), a port from 1 to 65535 and a protocol of ${POLICY_PROTOCOLS.join(", ")}`,
    );
    return [];
  });
}

/** As it is kept, in memory and in a file. */
export interface StoredAttachment extends Attachment {
  /** Milliseconds since 1970. */
  readonly attachedAtMs: number;
  /**
   * DEL has come: the addresses are somebody else's from now on, whatever the API still says of this pod. Kept until the
   * API says so too.
   */
  readonly detached: boolean;
}

/** The pods that these interfaces are of, as the registry tells them to the cluster: of each name the newest incarnation. */
export function localPodsOf(attachments: readonly StoredAttachment[]): readonly LocalPod[] {
  const byPod = Map.groupBy(attachments, ({ namespace, name }) => `${namespace}/${name}`);
  return [...byPod.values()].flatMap((all) => {
    const [newest, ...rest] = all.toSorted((a, b) => b.attachedAtMs - a.attachedAtMs);
    if (newest === undefined) return [];
    const same = rest.filter((other) => incarnationOf(other) === incarnationOf(newest));
    return {
      namespace: newest.namespace,
      name: newest.name,
      uid: incarnationOf(newest),
      labels: newest.labels,
      ips: [...new Set([newest, ...same].flatMap(({ ips }) => ips))],
      ports: newest.ports,
      createdAtMs: newest.attachedAtMs,
    };
  });
}
