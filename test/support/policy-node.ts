// A node in a namespace with pods in namespaces of their own, each on a device of the node: real packets through FORWARD.
import { createPolicyApplier } from "../../src/host/policy-applier.ts";
import type { PolicyApplier } from "../../src/host/policy-applier.ts";
import type { Exec } from "../../src/kernel/exec.ts";
import { createSetTable } from "../../src/kernel/ipset/set-table.ts";
import { createFirewallTable } from "../../src/kernel/iptables/firewall-table.ts";
import type { IptablesMode } from "../../src/kernel/iptables/choose-mode.ts";
import { listIptablesVariants } from "../../src/kernel/iptables/variant.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../src/policy/settings.ts";
import type { PolicySettings } from "../../src/policy/settings.ts";
import { createNamespace } from "./netns.ts";
import type { TestNamespace } from "./netns.ts";

/** Pods are attached to `st1`, `st2`, ... */
export const NODE_SETTINGS: PolicySettings = { ...DEFAULT_POLICY_SETTINGS, podInterfaces: ["st+"] };

export interface PolicyNode {
  readonly node: TestNamespace;
  /** In the order of `ips`. */
  readonly pods: readonly TestNamespace[];
  remove(): Promise<void>;
}

/** Routes and proxy ARP: the node is everybody's neighbor. */
export async function createPolicyNode(prefix: string, ips: readonly string[]): Promise<PolicyNode> {
  const node = await createNamespace(`${prefix}-node`);
  const pods: TestNamespace[] = [];
  const remove = async (): Promise<void> => {
    await Promise.all([...pods, node].map((namespace) => namespace.remove()));
  };
  try {
    await node.exec("sysctl", ["-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"]);
    for (const [index, ip] of ips.entries()) {
      const pod = await createNamespace(`${prefix}-pod`);
      pods.push(pod);
      const device = `st${index + 1}`;
      const ends = ["link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", pod.name];
      for (const args of [ends, ["link", "set", device, "up"], ["route", "add", ip, "dev", device]])
        await node.exec("ip", args);
      await node.exec("sysctl", [
        "-qw",
        `net.ipv4.conf.${device}.proxy_arp=1`,
        `net.ipv4.neigh.${device}.proxy_delay=0`,
      ]);
      for (const args of [
        ["addr", "add", `${ip}/32`, "dev", "eth0"],
        ["link", "set", "eth0", "up"],
        ["route", "add", "default", "dev", "eth0"],
      ])
        await pod.exec("ip", args);
    }
    return { node, pods, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** As a daemon that has just started on the node. */
export async function startApplier(exec: Exec, mode: IptablesMode): Promise<PolicyApplier> {
  const variant = (await listIptablesVariants({ exec })).find((found) => found.mode === mode);
  if (variant === undefined) throw new Error(`iptables-${mode} is not installed: apt-get install iptables`);
  const { prefix } = NODE_SETTINGS;
  return createPolicyApplier({
    sets: createSetTable({ prefix }, { exec }),
    firewall: createFirewallTable({ variant, families: [4, 6], chainPrefix: prefix }, { exec }),
  });
}
