// Whether pods attach where policy watches, and whether CNI tells us of them: what is wrong, in words, each with its cure. Pure.
import type { HostInterface } from "../../host/uplink.ts";
import { cidrContainsIp } from "../../net/cidr.ts";
import type { Cidr } from "../../net/cidr.ts";
import { printable } from "../../net/printable.ts";
import { isObject } from "../../policy/problems.ts";

/** True if rules look at packets of this interface; a + at the end of a name stands for any ending, as in iptables. */
export function isWatched(podInterfaces: readonly string[], name: string): boolean {
  return podInterfaces.some((watched) =>
    watched.endsWith("+") ? name.startsWith(watched.slice(0, -1)) : name === watched,
  );
}

export interface WiringFacts {
  readonly interfaces: readonly Pick<HostInterface, "name" | "master" | "addresses">[];
  /** --policy-pod-interface */
  readonly podInterfaces: readonly string[];
  /** Subnets of our pods. */
  readonly podCidrs: readonly Cidr[];
  /** The backend's devices, which have addresses of our subnet, too. */
  readonly ownDevices: readonly string[];
  /** Of pods that ADD told of: their ends in the host. */
  readonly wires: readonly string[];
}

/**
 * Interfaces by which pods reach the host and that no rule watches. Pods' wires lead to them; or they have an address of our
 * subnet and a port, or are a wire themselves: then pods are there that nobody told us of. Sorted.
 */
export function planUnwatched(facts: WiringFacts): readonly string[] {
  const { interfaces, podInterfaces, podCidrs, ownDevices } = facts;
  const masters = new Set(interfaces.flatMap(({ master }) => master ?? []));
  const wires = new Set(facts.wires);
  const holdsPods = ({ name, addresses }: WiringFacts["interfaces"][number]): boolean =>
    (masters.has(name) || name.startsWith("veth")) &&
    addresses.some(({ ip }) => podCidrs.some((cidr) => cidrContainsIp(cidr, ip)));
  const found = interfaces.flatMap((each) => {
    if (wires.has(each.name)) return each.master ?? each.name;
    return holdsPods(each) ? each.name : [];
  });
  const strange = found.filter((name) => !isWatched(podInterfaces, name) && !ownDevices.includes(name));
  return [...new Set(strange)].toSorted();
}

/** More are counted, not named: with the ptp plugin there is one for each pod. */
const MAX_NAMED = 3;

export function describeUnwatched(names: readonly string[], podInterfaces: readonly string[]): string {
  const named = names.slice(0, MAX_NAMED).join(", ");
  const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : "";
  const flags = names.every((name) => name.startsWith("veth")) ? ["veth+"] : names.slice(0, MAX_NAMED);
  return (
    `network policy does not hold for pods that attach by ${named}${more}, since it watches ${podInterfaces.join(", ")} alone: ` +
    `start the daemon with ${[...podInterfaces, ...flags].map((name) => `--policy-pod-interface=${name}`).join(" ")}, or give ` +
    `the plugin in the CNI configuration the bridge ${podInterfaces[0]} (delegate.bridge) and make the pods anew`
  );
}

/**
 * What is wrong with flannel's plugins in a CNI configuration, as far as policy is concerned; undefined if nothing is. Others'
 * plugins that have flannel's inside (Multus) are looked into.
 * @param place where it stands, for the message
 */
export function describeConflist(
  text: string,
  place: string,
  podInterfaces: readonly string[],
): string | undefined {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    // The runtime says so, of every pod.
    return undefined;
  }
  for (const plugin of findFlannelPlugins(list)) {
    if (!isObject(plugin["networkPolicy"])) {
      return (
        `${place} does not tell flanneld of new pods: they start before their policy is in force, and without Kubernetes they ` +
        'stay closed; add "networkPolicy": {} to its plugin of type flannel, or let the daemon write it (--cni-conf-file)'
      );
    }
    const bridge = bridgeOf(plugin["delegate"]);
    if (bridge !== undefined && !isWatched(podInterfaces, bridge)) {
      const name = printable(bridge);
      return (
        `${place} attaches pods to ${name}, which network policy does not watch: start the daemon with ` +
        `--policy-pod-interface=${name}, or write ${podInterfaces[0]} in its delegate.bridge`
      );
    }
  }
  return undefined;
}

/** Deeper than any plugin nests others. */
const MAX_DEPTH = 8;

function findFlannelPlugins(value: unknown, depth = 0): readonly Readonly<Record<string, unknown>>[] {
  if (depth > MAX_DEPTH) return [];
  if (Array.isArray(value)) return value.flatMap((each) => findFlannelPlugins(each, depth + 1));
  if (!isObject(value)) return [];
  if (value["type"] === "flannel") return [value];
  return Object.values(value).flatMap((each) => findFlannelPlugins(each, depth + 1));
}

/** The bridge plugin's own default is cni0. Undefined for plugins that make no bridge. */
function bridgeOf(delegate: unknown): string | undefined {
  const { type = "bridge", bridge = "cni0" } = isObject(delegate) ? delegate : {};
  return type === "bridge" && typeof bridge === "string" ? bridge : undefined;
}
