// Looks after how pods are wired: whether policy watches the interfaces that they attach by, and whether CNI tells us of them.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";
import type { HostInterface } from "../../host/uplink.ts";
import type { Cidr } from "../../net/cidr.ts";
import type { Logger } from "../../net/logger.ts";
import type { Notice } from "../connect-store.ts";
import { describeConflist, describeUnwatched, isWatched, planUnwatched } from "./plan-pod-wiring.ts";

export interface PodWiring {
  /** Why policy does not hold for some pods, with the cure. */
  readonly problem: string | undefined;
  /** Why new pods are not waited for, with the cure. */
  readonly handOverProblem: string | undefined;
  /** Interfaces as they are now. */
  onInterfaces(interfaces: readonly HostInterface[]): void;
  /** Reads the CNI configuration: a file or two. */
  checkConflist(): void;
  /** Why policy does not hold for the pod at this wire; undefined if it does, or the wire cannot be seen from here. */
  whyUnwatched(hostIfName: string): string | undefined;
}

export interface PodWiringOptions {
  readonly podInterfaces: readonly string[];
  readonly ownDevices: readonly string[];
  readonly podCidrs: () => readonly Cidr[];
  /** Host ends of the pods that ADD told of. */
  readonly wires: () => readonly string[];
  /** Where runtimes read CNI configurations; default theirs. */
  readonly cniDirectory?: string;
  /** Read where there is no such directory: what the manifests install from, beside net-conf.json. */
  readonly cniTemplate?: string;
  /** Default /sys. */
  readonly sysfs?: string;
}

/** containerd's and CRI-O's default; --cni-conf-file names another one. */
const CNI_DIRECTORY = "/etc/cni/net.d";

export function createPodWiring(
  options: PodWiringOptions,
  { log, notify }: { readonly log: Logger; readonly notify: (notice: Notice) => void },
): PodWiring {
  const { podInterfaces, ownDevices, cniDirectory = CNI_DIRECTORY, sysfs = "/sys" } = options;
  const tell = (before: string | undefined, now: string | undefined, level: "warn" | "error"): void => {
    if (now === before) return;
    if (now === undefined) {
      log.info({}, "network policy: pods are attached and announced as they should be again");
      return;
    }
    log[level]({}, now);
    notify({ type: "Warning", reason: "NetworkPolicyNotEnforced", message: now });
  };
  let problem: string | undefined;
  let handOverProblem: string | undefined;
  return {
    get problem() {
      return problem;
    },
    get handOverProblem() {
      return handOverProblem;
    },
    onInterfaces(interfaces) {
      const facts = { podInterfaces, ownDevices, podCidrs: options.podCidrs(), wires: options.wires() };
      const names = planUnwatched({ interfaces, ...facts });
      const now = names.length === 0 ? undefined : describeUnwatched(names, podInterfaces);
      tell(problem, now, "error");
      problem = now;
    },
    checkConflist() {
      const now = readConflistProblem(podInterfaces, cniDirectory, options.cniTemplate);
      tell(handOverProblem, now, "warn");
      handOverProblem = now;
    },
    whyUnwatched(hostIfName) {
      const name = attachedBy(hostIfName, sysfs);
      return name === undefined || isWatched(podInterfaces, name)
        ? undefined
        : describeUnwatched([name], podInterfaces);
    },
  };
}

/** The bridge that a wire is a port of, or the wire itself; undefined if it is not there. No process: it is asked at each ADD. */
function attachedBy(hostIfName: string, sysfs: string): string | undefined {
  const device = path.join(sysfs, "class/net", hostIfName);
  try {
    return path.basename(readlinkSync(path.join(device, "master")));
  } catch {
    // No port of a bridge, or not there at all.
  }
  try {
    readlinkSync(device);
    return hostIfName;
  } catch {
    return undefined;
  }
}

function readConflistProblem(
  podInterfaces: readonly string[],
  directory: string,
  template: string | undefined,
): string | undefined {
  const file = firstConfiguration(directory) ?? template;
  if (file === undefined) return undefined;
  try {
    return describeConflist(readFileSync(file, "utf8"), `the CNI configuration ${file}`, podInterfaces);
  } catch {
    // Not there, or not for us to read: nothing can be said of it.
    return undefined;
  }
}

/** Runtimes take the first of these by name (libcni's ConfFiles; containerd, CRI-O). */
function firstConfiguration(directory: string): string | undefined {
  try {
    const [first] = readdirSync(directory)
      .filter((name) => /\.(?:conf|conflist|json)$/.test(name))
      .toSorted();
    return first === undefined ? undefined : path.join(directory, first);
  } catch {
    return undefined;
  }
}
