// subnet.env: flanneld's tolerant reader, the CNI plugin's strict one.
import { describe, expect, it } from "vitest";
import {
  parsePreviousSubnetFile,
  parseSubnetFileForPlugin,
  renderSubnetFile,
} from "../../../src/ipam/subnet-file-codec.ts";
import { InvalidValueError } from "../../../src/net/errors.ts";
import { parseCidr } from "../../../src/net/cidr.ts";

describe("parsePreviousSubnetFile", () => {
  it("reads both families and masks", () => {
    const text = [
      "FLANNEL_NETWORK=10.244.0.0/16",
      "FLANNEL_SUBNET=10.244.1.1/24",
      "FLANNEL_IPV6_NETWORK=fd00::/48",
      "FLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64",
      "FLANNEL_MTU=1450",
      "FLANNEL_IPMASQ=true",
    ].join("\n");
    expect(parsePreviousSubnetFile(text)).toEqual({
      network: "10.244.0.0/16",
      subnet: "10.244.1.0/24",
      network6: "fd00::/48",
      subnet6: "fd00:0:0:1::/64",
    });
  });

  it.each([
    { name: "empty", text: "", expected: {} },
    { name: "not a subnet file", text: "\u0000\u0001garbage", expected: {} },
    {
      name: "a bad CIDR",
      text: "FLANNEL_SUBNET=10.244.1.1/33\nFLANNEL_NETWORK=10.244.0.0/16",
      expected: { network: "10.244.0.0/16" },
    },
    {
      name: "a bad CIDR in a list is skipped",
      text: "FLANNEL_SUBNET=foo,10.244.1.1/24",
      expected: { subnet: "10.244.1.0/24" },
    },
    { name: "more than one is none", text: "FLANNEL_SUBNET=10.244.1.1/24,10.244.2.1/24", expected: {} },
    { name: "no value", text: "FLANNEL_SUBNET=", expected: {} },
    { name: "quotes", text: `FLANNEL_SUBNET="10.244.1.1/24"`, expected: { subnet: "10.244.1.0/24" } },
    { name: "single quotes", text: `FLANNEL_SUBNET='10.244.1.1/24'`, expected: { subnet: "10.244.1.0/24" } },
    {
      name: "export, spaces, comment, CR",
      text: "# hi\r\n export FLANNEL_SUBNET = 10.244.1.1/24 # mine\r\n",
      expected: { subnet: "10.244.1.0/24" },
    },
    {
      name: "the last wins",
      text: "FLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_SUBNET=10.244.2.1/24",
      expected: { subnet: "10.244.2.0/24" },
    },
  ])("$name", ({ text, expected }) => {
    expect(parsePreviousSubnetFile(text)).toEqual(expected);
  });
});

describe("parseSubnetFileForPlugin", () => {
  const rest = "FLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";

  it.each([
    {
      name: "IPv4 (upstream case 11)",
      text: `FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\n${rest}`,
      expected: { networks: ["10.1.0.0/16"], networks6: [], subnet: "10.1.17.0/24", mtu: 1472, ipMasq: true },
    },
    {
      name: "IPv6 (upstream case 12)",
      text: `FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\n${rest}`,
      expected: { networks: [], networks6: ["fc00::/48"], subnet6: "fc00::/64", mtu: 1472, ipMasq: true },
    },
    {
      name: "dual stack with a list (upstream case 13)",
      text: `FLANNEL_NETWORK=10.1.0.0/16,10.2.0.0/16,10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\n${rest}`,
      expected: {
        networks: ["10.1.0.0/16", "10.2.0.0/16"],
        networks6: ["fc00::/48"],
        subnet: "10.1.17.0/24",
        subnet6: "fc00::/64",
        mtu: 1472,
        ipMasq: true,
      },
    },
    {
      name: "unknown lines, CR and a masquerade that is not exactly true",
      text: "# comment\r\n\r\nFOO\r\nFLANNEL_NETWORK=10.1.0.0/16\r\nFLANNEL_SUBNET=10.1.17.1/24\r\nFLANNEL_MTU=1472\r\nFLANNEL_IPMASQ=TRUE\r\n",
      expected: {
        networks: ["10.1.0.0/16"],
        networks6: [],
        subnet: "10.1.17.0/24",
        mtu: 1472,
        ipMasq: false,
      },
    },
  ])("$name", ({ text, expected }) => {
    expect(parseSubnetFileForPlugin(text, "subnet.env")).toEqual(expected);
  });

  it.each([
    {
      name: "nothing useful (upstream cases 14 to 16)",
      text: "foo=bar",
      message:
        "/run/flannel/subnet.env is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ",
    },
    {
      name: "one family is enough",
      text: "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_IPV6_SUBNET=fc00::1/64",
      message: "/run/flannel/subnet.env is missing FLANNEL_MTU, FLANNEL_IPMASQ",
    },
    {
      name: "bad CIDR",
      text: "FLANNEL_SUBNET=10.1.17.1",
      message:
        '/run/flannel/subnet.env: FLANNEL_SUBNET has an invalid CIDR address: "10.1.17.1" (for example 10.244.1.1/24)',
    },
    {
      name: "a key without =, on which flannel's plugin panics",
      text: "FLANNEL_NETWORK",
      message:
        '/run/flannel/subnet.env: FLANNEL_NETWORK has an invalid CIDR address: "" (for example 10.244.1.1/24)',
    },
    {
      name: "quotes are not known here",
      text: 'FLANNEL_MTU="1450"',
      message:
        '/run/flannel/subnet.env: FLANNEL_MTU is ""1450"", but must be a number of bytes, for example 1450',
    },
  ])("$name", ({ text, message }) => {
    expect(() => parseSubnetFileForPlugin(text, "/run/flannel/subnet.env")).toThrow(
      new InvalidValueError(message),
    );
  });

  it("reads what the daemon renders", () => {
    const text = renderSubnetFile({
      ipv4: { network: parseCidr("10.1.0.0/16"), subnet: parseCidr("10.1.17.0/24") },
      ipv6: { network: parseCidr("fd00::/48"), subnet: parseCidr("fd00:0:0:7::/64") },
      mtu: 1430,
      ipMasq: false,
    });
    expect(parseSubnetFileForPlugin(text, "x")).toEqual({
      networks: ["10.1.0.0/16"],
      networks6: ["fd00::/48"],
      subnet: "10.1.17.0/24",
      subnet6: "fd00:0:0:7::/64",
      mtu: 1430,
      ipMasq: false,
    });
    expect(parsePreviousSubnetFile(text)).toMatchObject({
      subnet: "10.1.17.0/24",
      subnet6: "fd00:0:0:7::/64",
    });
  });
});
