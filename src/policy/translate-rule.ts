// Ingress and egress rules of a NetworkPolicy: peers and ports, checked as the API server checks them.
import { cidrContains, cidrLength, tryParseCidr } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { portNameProblem } from "./names-validation.ts";
import { describeValue, isGiven, isObject, readList } from "./problems.ts";
import type { JsonObject, Report } from "./problems.ts";
import { POLICY_PROTOCOLS } from "./snapshot.ts";
import type { Direction, PolicyPeer, PolicyPort, PolicyProtocol, PolicyRule } from "./snapshot.ts";
import { translateSelector } from "./translate-selector.ts";

const MAX_PORT = 65_535;

/** A rule that allows nothing: what is left of one that cannot be understood. */
export const NOTHING: PolicyRule = { peers: [], ports: [] };

/**
 * One rule. Entries that cannot be understood are left out with a problem, so that the rule allows less than it says and
 * never more: a list whose entries are all left out is empty, which matches nothing.
 */
export function translateRule(
  value: unknown,
  direction: Direction,
  path: string,
  report: Report,
): PolicyRule {
  if (!isObject(value)) {
    report(path, `must be an object, not ${describeValue(value)}; {} is the rule that allows everything`);
    return NOTHING;
  }
  const side = direction === "ingress" ? "from" : "to";
  const peers = translateEntries(value[side], `${path}.${side}`, report, translatePeer);
  const ports = translateEntries(value["ports"], `${path}.ports`, report, translatePort);
  return { ...(peers && { peers }), ...(ports && { ports }) };
}

/** Undefined if the list is absent, null or empty, which restricts nothing (API: NetworkPolicyIngressRule). */
function translateEntries<T>(
  value: unknown,
  path: string,
  report: Report,
  translate: (item: JsonObject, path: string, report: Report) => T | undefined,
): readonly T[] | undefined {
  const list = readList(value, path, report);
  if (list === undefined) return [];
  if (list.length === 0) return undefined;
  return list.flatMap((item, index) => {
    const at = `${path}[${index}]`;
    if (isObject(item)) return translate(item, at, report) ?? [];
    report(at, `must be an object, not ${describeValue(item)}`);
    return [];
  });
}

function translatePeer(peer: JsonObject, path: string, report: Report): PolicyPeer | undefined {
  const { podSelector, namespaceSelector, ipBlock } = peer;
  if (isGiven(ipBlock)) {
    if (isGiven(podSelector) || isGiven(namespaceSelector)) {
      report(path, "has ipBlock together with a selector; make them two entries of the list");
      return undefined;
    }
    return translateBlock(ipBlock, `${path}.ipBlock`, report);
  }
  if (!isGiven(podSelector) && !isGiven(namespaceSelector)) {
    report(path, "must have podSelector, namespaceSelector or ipBlock");
    return undefined;
  }
  const pods = isGiven(podSelector) ? translateSelector(podSelector, `${path}.podSelector`, report) : [];
  if (!isGiven(namespaceSelector)) return pods && { kind: "pods", pods };
  const namespaces = translateSelector(namespaceSelector, `${path}.namespaceSelector`, report);
  return pods && namespaces && { kind: "pods", namespaces, pods };
}

/** Host bits are masked: older API servers accept them. A bad except spoils its block, which would allow more without it. */
function translateBlock(value: unknown, path: string, report: Report): PolicyPeer | undefined {
  if (!isObject(value)) {
    report(path, `must be an object with cidr, not ${describeValue(value)}`);
    return undefined;
  }
  const cidr = translateCidr(value["cidr"], `${path}.cidr`, report);
  const list = readList(value["except"], `${path}.except`, report);
  const except = list?.map((item, index) => {
    const at = `${path}.except[${index}]`;
    const hole = translateCidr(item, at, report);
    if (cidr === undefined || hole === undefined) return undefined;
    if (cidrContains(cidr, hole) && cidrLength(hole) > cidrLength(cidr)) return hole;
    report(at, `${hole} must be a smaller part of cidr ${cidr}`);
    return undefined;
  });
  if (cidr === undefined || !except?.every((hole) => hole !== undefined)) return undefined;
  return { kind: "block", cidr, except };
}

function translateCidr(value: unknown, path: string, report: Report): Cidr | undefined {
  const cidr = typeof value === "string" ? tryParseCidr(value) : undefined;
  if (cidr === undefined)
    report(
      path,
      isGiven(value)
        ? `${describeValue(value)} is not a CIDR, for example 10.0.0.0/8 or fd00::/8`
        : "is required",
    );
  return cidr;
}

const PORT_FIELDS: readonly string[] = ["protocol", "port", "endPort"];

function translatePort(entry: JsonObject, path: string, report: Report): PolicyPort | undefined {
  const fields = Object.keys(entry);
  if (fields.length > 0 && !fields.some((field) => PORT_FIELDS.includes(field))) {
    report(path, `has none of the fields ${PORT_FIELDS.join(", ")}`);
    return undefined;
  }
  const protocol = translateProtocol(entry["protocol"], `${path}.protocol`, report);
  const { port, endPort } = entry;
  if (typeof port === "string") {
    if (isGiven(endPort)) report(`${path}.endPort`, "needs a numeric port");
    const problem = portNameProblem(port);
    if (problem !== undefined) report(`${path}.port`, problem);
    if (protocol === undefined || problem !== undefined || isGiven(endPort)) return undefined;
    return { kind: "named", protocol, name: port };
  }
  if (!isGiven(port)) {
    if (isGiven(endPort)) report(`${path}.endPort`, "needs a port, which is the first of the range");
    return protocol && !isGiven(endPort) ? { kind: "numbers", protocol, from: 0, to: MAX_PORT } : undefined;
  }
  const from = translateNumber(port, `${path}.port`, report);
  const to = isGiven(endPort) ? translateNumber(endPort, `${path}.endPort`, report) : from;
  if (protocol === undefined || from === undefined || to === undefined) return undefined;
  if (to < from) {
    report(`${path}.endPort`, `must not be less than port ${from}`);
    return undefined;
  }
  return { kind: "numbers", protocol, from, to };
}

function translateProtocol(value: unknown, path: string, report: Report): PolicyProtocol | undefined {
  if (!isGiven(value)) return "TCP";
  const protocol = POLICY_PROTOCOLS.find((known) => known === value);
  if (protocol === undefined)
    report(path, `must be one of ${POLICY_PROTOCOLS.join(", ")}, not ${describeValue(value)}`);
  return protocol;
}

function translateNumber(value: unknown, path: string, report: Report): number | undefined {
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= MAX_PORT) return value;
  report(path, `must be a number from 1 to ${MAX_PORT}, not ${describeValue(value)}`);
  return undefined;
}
