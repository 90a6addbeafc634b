// What a host must have and we cannot give it: looked for now and then, because pods fail later and elsewhere without it.
import { existsSync } from "node:fs";
import path from "node:path";
import type { Family } from "../net/ip.ts";
import type { Notice } from "./connect-store.ts";

/** Where kubelets and CNI runtimes look by default. */
const PLUGIN_DIRECTORY = "/opt/cni/bin";
/** What the flannel plugin and its conflist call. */
const PLUGINS = ["flannel", "bridge", "host-local", "loopback", "portmap"] as const;

const BRIDGE_SYSCTLS: Readonly<Record<Family, string>> = {
  4: "/proc/sys/net/bridge/bridge-nf-call-iptables",
  6: "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
};

export interface HostChecks {
  readonly families: readonly Family[];
  /** Backend alloc: others make the data path. */
  readonly hasDataPath: boolean;
}

/** @param exists for tests */
export function checkHost(
  { families, hasDataPath }: HostChecks,
  exists: (file: string) => boolean = existsSync,
): readonly Notice[] {
  const notices: Notice[] = [];
  if (hasDataPath && families.some((family) => !exists(BRIDGE_SYSCTLS[family]))) {
    notices.push({
      type: "Warning",
      reason: "BridgeNetfilterMissing",
      // Flannel exits here (flannel 1.2); pods on different nodes do well without, so we go on.
      message:
        "the kernel module br_netfilter is not loaded: a pod that calls a Service whose endpoint is on the same node gets no " +
        "answer; run modprobe br_netfilter on the node and name it in /etc/modules-load.d/",
    });
  }
  // In a DaemonSet's container the directory is usually not there, and says nothing of the host's.
  if (exists(PLUGIN_DIRECTORY)) {
    const missing = PLUGINS.filter((name) => !exists(path.join(PLUGIN_DIRECTORY, name)));
    if (missing.length > 0) {
      notices.push({
        type: "Warning",
        reason: "CNIPluginMissing",
        message:
          `${PLUGIN_DIRECTORY} has no ${missing.join(", ")}: pods stay in ContainerCreating; install the reference CNI plugins ` +
          "(package containernetworking-plugins, or github.com/containernetworking/plugins), and flannel with flanneld-ts install-cni",
      });
    }
  }
  return notices;
}
