// Everything this host should look like: the backend's plan, the traffic rules and the switches that forwarding needs. Pure.
import type { Backend, BackendInput, BackendPlan } from "../backends/backend.ts";
import { familiesOf, networkOf, subnetOf } from "../backends/peers.ts";
import { planBlackhole, planTrafficRules } from "../backends/traffic-rules.ts";
import { mergeHostStates } from "../host/state.ts";
import type { FirewallRow, Sysctl } from "../host/state.ts";
import type { Family } from "../net/ip.ts";

/** Flags that shape the plan. */
export interface HostPlanOptions {
  readonly ipMasq: boolean;
  /** Whether iptables knows --random-fully and the user wants it. */
  readonly randomFully: boolean;
  readonly forwardRules: boolean;
  readonly blackhole: boolean;
  /** `Ownership.chainPrefix` */
  readonly chainPrefix: string;
}

const FORWARDING: Readonly<Record<Family, Sysctl>> = {
  4: { key: "net/ipv4/ip_forward", value: "1" },
  6: { key: "net/ipv6/conf/all/forwarding", value: "1" },
};

export function planHost(backend: Backend, input: BackendInput, options: HostPlanOptions): BackendPlan {
  const families = familiesOf(input.config);
  const { state, ...rest } = backend.plan(input);
  const subnets = families
    .map((family) => subnetOf(input.self, family))
    .filter((subnet) => subnet !== undefined);
  const extra = {
    firewall: families.flatMap((family) => planFirewall(family, input, options)),
    // The bridge plugin sets these with the first pod; a node that only forwards needs them too.
    sysctls: families.map((family) => FORWARDING[family]),
    routes: options.blackhole ? planBlackhole(subnets) : [],
  };
  return { ...rest, state: mergeHostStates(state, extra) };
}

function planFirewall(
  family: Family,
  { config, self }: BackendInput,
  options: HostPlanOptions,
): readonly FirewallRow[] {
  const network = networkOf(config, family);
  const subnet = subnetOf(self, family);
  if (network === undefined || subnet === undefined) return [];
  return planTrafficRules({
    family,
    network,
    subnet,
    ipMasq: options.ipMasq,
    randomFully: options.randomFully,
    forwardRules: options.forwardRules,
    chainPrefix: options.chainPrefix,
  });
}
