// What each backend wants of the host, as text that one can read beside `ip` on a flannel node (flannel 4.10).
import { expect, test } from "vitest";
import { createBackend } from "../../../src/backends/registry.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import {
  backendInput,
  dualLease,
  dualStackConfig,
  lease,
  networkConfig,
  NODE,
} from "../../support/backend-inputs.ts";
import { formatHostState } from "../../support/host-state-text.ts";

const remote = { publicIp: parseIp("203.0.113.9") };

const SCENARIOS = [
  { name: "vxlan", input: backendInput(networkConfig("vxlan"), [lease(2, "vxlan"), lease(3, "vxlan")]) },
  {
    name: "vxlan-options",
    input: backendInput(
      networkConfig("vxlan", { vni: 7, PORT: 4789, MTU: 9000, GBP: true, Learning: true }),
      [lease(2, "vxlan", { backendData: { VNI: 7, VtepMAC: "0A:00:00:00:00:02" } })],
    ),
  },
  {
    name: "vxlan-direct-routing",
    input: backendInput(networkConfig("vxlan", { DirectRouting: true }), [
      lease(2, "vxlan"),
      lease(9, "vxlan", remote),
    ]),
  },
  { name: "vxlan-dual-stack", input: backendInput(dualStackConfig("vxlan"), [dualLease(2, "vxlan")]) },
  {
    name: "host-gw",
    input: backendInput(networkConfig("host-gw"), [lease(3, "host-gw"), lease(2, "host-gw")]),
  },
  { name: "host-gw-dual-stack", input: backendInput(dualStackConfig("host-gw"), [dualLease(2, "host-gw")]) },
  { name: "udp", input: backendInput(networkConfig("udp"), [lease(2, ""), lease(3, "")]) },
  { name: "udp-dual-stack", input: backendInput(dualStackConfig("udp"), [dualLease(2, "")]) },
  {
    name: "vxlan-behind-nat",
    input: backendInput(networkConfig("vxlan"), [lease(2, "vxlan")], {
      ...NODE,
      publicIps: { 4: parseIp("198.51.100.7") },
    }),
  },
  {
    name: "vxlan-renumbered-peer",
    // The old lease of node 2 has not expired yet: both subnets lead to it through one forwarding entry.
    input: backendInput(networkConfig("vxlan"), [
      lease(2, "vxlan"),
      lease(2, "vxlan", { subnet: parseCidr("10.244.77.0/24") }),
    ]),
  },
];

for (const { name, input } of SCENARIOS) {
  test(name, async () => {
    const plan = createBackend(input.config).plan(input);
    const reach = plan.reach.map(
      ({ subnetKey, how, problem }) => `# ${subnetKey}: ${how}${problem ? ` (${problem})` : ""}`,
    );
    await expect(`${formatHostState(plan.state)}${reach.join("\n")}\n`).toMatchFileSnapshot(`./${name}.txt`);
  });
}
