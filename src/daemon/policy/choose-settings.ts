// Which of the wanted policy settings this kernel and this iptables can do.
import { existsSync } from "node:fs";
import type { KernelTable } from "../../host/kernel-table.ts";
import type { Chain, FirewallRow } from "../../host/state.ts";
import type { IptablesVariant } from "../../kernel/iptables/variant.ts";
import { FAMILIES } from "../../net/ip.ts";
import type { Family } from "../../net/ip.ts";
import type { Logger } from "../../net/logger.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../policy/settings.ts";
import type { PolicySettings } from "../../policy/settings.ts";
import type { PolicyOptions } from "../options-policy.ts";

/** There while the kernel has IPv6 (net/ipv6/addrconf.c). */
const IPV6_SIGN = "/proc/net/if_inet6";

/**
 * Both families wherever the host has both: in a network without IPv6, too, pods have link-local addresses by which they
 * reach each other over the bridge.
 * @param networks families of the cluster's network
 */
export function chooseFamilies(
  networks: readonly Family[],
  { binaries }: Pick<IptablesVariant, "binaries">,
  log: Logger,
  exists: (file: string) => boolean = existsSync,
): readonly Family[] {
  const hasIpv6 = exists(IPV6_SIGN);
  return FAMILIES.filter((family) => {
    if (networks.includes(family)) return true;
    if (binaries[family] !== undefined) return family === 4 || hasIpv6;
    if (family === 6 && hasIpv6)
      log.warn(
        {},
        "ip6tables is not installed, so pods of this node reach each other by link-local IPv6 addresses whatever policy says; " +
          "install it, or turn IPv6 off on the node (sysctl net.ipv6.conf.all.disable_ipv6=1)",
      );
    return false;
  });
}

/** Accepts everything; harmless where nothing jumps to it. */
const PROBE_RULE = ["-m", "bpf", "--bytecode", "1,6 0 0 65535", "-j", "RETURN"];

/** Settings as they can be had; what cannot is said once. */
export async function chooseSettings(
  options: PolicyOptions,
  families: readonly Family[],
  { firewall, log }: { readonly firewall: KernelTable<FirewallRow>; readonly log: Logger },
): Promise<PolicySettings> {
  const { podInterfaces, denyWith, icmp, podToNode, logGroup } = options;
  const wanted = {
    ...DEFAULT_POLICY_SETTINGS,
    families,
    podInterfaces,
    denyWith,
    icmp,
    podToNode,
    hairpin: options.hairpin,
    ...(logGroup !== undefined && { logGroup }),
  };
  if (wanted.hairpin === "policy") return wanted;
  const problem = await probeBpf(families, wanted.prefix, firewall);
  if (problem === undefined) return wanted;
  log.warn(
    { problem },
    "this kernel or iptables has no bpf match (CONFIG_NETFILTER_XT_MATCH_BPF), so a pod that reaches itself through a service " +
      "is treated as --policy-hairpin=policy says: its own rules must allow it",
  );
  return { ...wanted, hairpin: "policy" };
}

/** Writes a rule with the match into a chain of its own, and takes it away. @returns what was refused */
async function probeBpf(
  families: readonly Family[],
  prefix: string,
  firewall: KernelTable<FirewallRow>,
): Promise<string | undefined> {
  const chains = families.map((family): Chain => ({
    kind: "chain",
    family,
    table: "filter",
    name: `${prefix}PROBE`,
    rules: [PROBE_RULE],
  }));
  try {
    const failures = await firewall.put(chains);
    await firewall.remove(chains);
    return failures[0]?.reason;
  } catch (error) {
    return (error as Error).message;
  }
}
