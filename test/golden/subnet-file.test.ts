// subnet.env, byte for byte: CNI plugins, mk-docker-opts and people's scripts parse it.
import { expect, it } from "vitest";
import { renderSubnetFile } from "../../src/ipam/subnet-file-codec.ts";
import type { SubnetFile } from "../../src/ipam/subnet-file-codec.ts";
import { parseCidr } from "../../src/net/cidr.ts";

const ipv4 = { network: parseCidr("10.244.0.0/16"), subnet: parseCidr("10.244.1.0/24") };
const ipv6 = { network: parseCidr("fd00:10:244::/56"), subnet: parseCidr("fd00:10:244:1::/64") };

const FILES: readonly { name: string; file: SubnetFile; text: string }[] = [
  {
    name: "IPv4",
    file: { ipv4, mtu: 1450, ipMasq: true },
    text: `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`,
  },
  {
    name: "dual stack",
    file: { ipv4, ipv6, mtu: 1430, ipMasq: false },
    text: `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_IPV6_NETWORK=fd00:10:244::/56
FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64
FLANNEL_MTU=1430
FLANNEL_IPMASQ=false
`,
  },
  {
    name: "IPv6 only",
    file: { ipv6, mtu: 1500, ipMasq: true },
    text: `FLANNEL_IPV6_NETWORK=fd00:10:244::/56
FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64
FLANNEL_MTU=1500
FLANNEL_IPMASQ=true
`,
  },
];

it.each(FILES)("$name", ({ file, text }) => {
  expect(renderSubnetFile(file)).toBe(text);
});
