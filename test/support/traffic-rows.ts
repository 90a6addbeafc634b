// The traffic rules of one node in each family, as most firewall tests want them.
import { planTrafficRules } from "../../src/backends/traffic-rules.ts";
import type { TrafficRulesInput } from "../../src/backends/traffic-rules.ts";
import type { FirewallRow } from "../../src/host/state.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import type { Family } from "../../src/net/ip.ts";

export function trafficRows(
  family: Family,
  changes: Partial<TrafficRulesInput> = {},
): readonly FirewallRow[] {
  return planTrafficRules({
    family,
    network: parseCidr(family === 4 ? "10.244.0.0/16" : "fd00:10:244::/56"),
    subnet: parseCidr(family === 4 ? "10.244.1.0/24" : "fd00:10:244:1::/64"),
    ipMasq: true,
    randomFully: true,
    forwardRules: true,
    ...changes,
  });
}

export const BOTH_FAMILIES: readonly FirewallRow[] = [...trafficRows(4), ...trafficRows(6)];
