// flannel's annotations of a Node, text for text (pkg/subnet/kube/annotations.go, kube.go); pure.
import { InvalidValueError } from "../net/errors.ts";
import { familyOf, tryParseIp } from "../net/ip.ts";
import type { Family, Ip } from "../net/ip.ts";
import { tryParseMac } from "../net/mac.ts";
import type { LeaseAttributes } from "./lease.ts";

/** A Node's annotations by name. */
export type Annotations = Readonly<Record<string, string>>;

/** Full names of the annotations. */
export interface AnnotationNames {
  /** What all of them begin with. */
  readonly prefix: string;
  readonly managed: string;
  readonly backendType: string;
  readonly backendData: Readonly<Record<Family, string>>;
  readonly publicIp: Readonly<Record<Family, string>>;
  /** An administrator's: published in place of our own address. */
  readonly publicIpOverwrite: Readonly<Record<Family, string>>;
  /** An administrator's: in place of --public-ip. */
  readonly nodePublicIp: Readonly<Record<Family, string>>;
}

/** flannel's pattern; unlike there it must match from the first character on. */
const PREFIX = /^(?:[a-z0-9_-]+\.)+[a-z0-9_-]+\/(?:[a-z0-9_-]+-)?$/;
/** Kubernetes' limit of a name after the slash is 63; the longest of ours is "public-ipv6-overwrite". */
const MAX_NAME_LENGTH = 63 - "public-ipv6-overwrite".length;

/** @param text --kube-annotation-prefix @throws {InvalidValueError} */
export function annotationNames(text: string): AnnotationNames {
  let prefix = text.includes("/") ? text : `${text}/`;
  if (!/[/-]$/.test(prefix)) prefix += "-";
  const [, name = ""] = prefix.split("/");
  if (!PREFIX.test(prefix) || name.length > MAX_NAME_LENGTH) {
    throw new InvalidValueError(
      `--kube-annotation-prefix: "${text}" must be a domain, and may add a slash and a name of at most ${MAX_NAME_LENGTH} ` +
        "characters, all of a-z, 0-9, - and _ (for example flannel.alpha.coreos.com, or example.com/blue)",
    );
  }
  const both = (v4: string, v6: string) => ({ 4: prefix + v4, 6: prefix + v6 });
  return {
    prefix,
    managed: `${prefix}kube-subnet-manager`,
    backendType: `${prefix}backend-type`,
    backendData: both("backend-data", "backend-v6-data"),
    publicIp: both("public-ip", "public-ipv6"),
    publicIpOverwrite: both("public-ip-overwrite", "public-ipv6-overwrite"),
    nodePublicIp: both("node-public-ip", "node-public-ipv6"),
  };
}

export function isManaged(annotations: Annotations, names: AnnotationNames): boolean {
  return annotations[names.managed] === "true";
}

/** Backends whose data of a family is only written if there is some (kube.go, AcquireLease). */
const NEEDS_DATA: ReadonlySet<string> = new Set(["vxlan", "wireguard"]);
/** Backends that write their IPv6 side. */
const KNOWS_IPV6: ReadonlySet<string> = new Set(["vxlan", "wireguard", "host-gw", "extension"]);

/**
 * What our Node's annotations must be. Texts are Go's: `{"VNI":1,"VtepMAC":"..."}` without spaces, from which flannel
 * recovers the MAC by string surgery, and `null` for backends without data.
 * @param present the Node's annotations: an overwrite there wins over our address
 */
export function formatAnnotations(
  attributes: LeaseAttributes,
  names: AnnotationNames,
  present: Annotations,
): Annotations {
  const written: Record<string, string> = {
    [names.managed]: "true",
    [names.backendType]: attributes.backendType,
  };
  for (const family of [4, 6] as const) {
    const publicIp = family === 4 ? attributes.publicIp : attributes.publicIp6;
    const data = formatData(family === 4 ? attributes.backendData : attributes.backendData6);
    if (publicIp === undefined) continue;
    if (data === "null" && NEEDS_DATA.has(attributes.backendType)) continue;
    if (family === 6 && !KNOWS_IPV6.has(attributes.backendType)) continue;
    written[names.backendData[family]] = data;
    written[names.publicIp[family]] = readAddress(present, names.publicIpOverwrite, family) ?? publicIp;
  }
  return written;
}

/** As Go's encoding/json writes it. */
function formatData(data: unknown): string {
  return (JSON.stringify(data) ?? "null").replaceAll(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The annotations that differ from what is there, or undefined when none does. */
export function diffAnnotations(wanted: Annotations, present: Annotations): Annotations | undefined {
  const differing = Object.entries(wanted).filter(([name, value]) => present[name] !== value);
  return differing.length === 0 ? undefined : Object.fromEntries(differing);
}

/** An address in an annotation; undefined when there is none or it is not one of the family. */
export function readAddress(
  annotations: Annotations,
  names: Readonly<Record<Family, string>>,
  family: Family,
): Ip | undefined {
  const ip = tryParseIp(annotations[names[family]]?.trim() ?? "");
  return ip !== undefined && familyOf(ip) === family ? ip : undefined;
}

/** What an administrator set in annotations that take an address and is none, for people. */
export function addressProblems(annotations: Annotations, names: AnnotationNames): readonly string[] {
  return ([4, 6] as const).flatMap((family) =>
    [names.publicIpOverwrite, names.nodePublicIp].flatMap((group) => {
      const text = annotations[group[family]] ?? "";
      if (text === "" || readAddress(annotations, group, family) !== undefined) return [];
      return `annotation ${group[family]} is ${JSON.stringify(text.slice(0, 80))}, but must be an IPv${family} address; it is ignored`;
    }),
  );
}

/** The JSON value of a backend's data; `null`, absence and text that is no JSON give undefined. */
export function readBackendData(annotations: Annotations, names: AnnotationNames, family: Family): unknown {
  const text = annotations[names.backendData[family]];
  if (text === undefined || text === "") return undefined;
  try {
    return (JSON.parse(text) as unknown) ?? undefined;
  } catch {
    return undefined;
  }
}

/**
 * What an earlier daemon on this node published, for its MAC. Its data is read as JSON; a text that is none, such as one
 * that somebody edited, still gives its MAC, found as Go flannel finds it: the last text between `:"` and `"`.
 */
export function readOwnAttributes(
  annotations: Annotations,
  names: AnnotationNames,
): Pick<LeaseAttributes, "backendType" | "backendData" | "backendData6"> | undefined {
  const backendType = annotations[names.backendType];
  if (backendType === undefined) return undefined;
  const backendData = readOwnData(annotations, names, 4);
  const backendData6 = readOwnData(annotations, names, 6);
  return {
    backendType,
    ...(backendData !== undefined && { backendData }),
    ...(backendData6 !== undefined && { backendData6 }),
  };
}

function readOwnData(annotations: Annotations, names: AnnotationNames, family: Family): unknown {
  const data = readBackendData(annotations, names, family);
  if (data !== undefined) return data;
  const quoted = /:\s*"([^"]+)"[}\s]*$/.exec(annotations[names.backendData[family]] ?? "")?.[1];
  const mac = quoted === undefined ? undefined : tryParseMac(quoted);
  return mac === undefined ? undefined : { VtepMAC: mac };
}
