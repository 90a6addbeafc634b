// The cluster's configuration as flannel reads it: defaults, overrides, every rule and its words.
import { describe, expect, it } from "vitest";
import { InvalidValueError } from "../../../src/net/errors.ts";
import {
  formatNetworkConfig,
  isBackendDefaulted,
  parseNetworkConfig,
} from "../../../src/ipam/parse-network-config.ts";

const parse = parseNetworkConfig;

describe("defaults and overrides", () => {
  it("IPv4 defaults (flannel's TestConfigDefaults)", () => {
    expect(parse('{ "network": "10.3.0.0/16" }')).toEqual({
      ipv4: { network: "10.3.0.0/16", subnetLength: 24, min: "10.3.1.0", max: "10.3.255.0" },
      enableNftables: false,
      backend: { type: "udp", options: {} },
    });
  });

  it("IPv6 defaults (TestIPv6ConfigDefaults)", () => {
    const config = parse('{ "enableIPv6": true, "ipv6Network": "fc00::/48", "enableIPv4": false }');
    expect(config.ipv4).toBeUndefined();
    expect(config.ipv6).toEqual({
      network: "fc00::/48",
      subnetLength: 64,
      min: "fc00:0:0:1::",
      max: "fc00:0:0:ffff::",
    });
  });

  it("IPv4 overrides (TestConfigOverrides)", () => {
    const text =
      '{ "Network": "10.3.0.0/16", "SubnetMin": "10.3.5.0", "SubnetMax": "10.3.8.0", "SubnetLen": 28 }';
    expect(parse(text).ipv4).toEqual({
      network: "10.3.0.0/16",
      subnetLength: 28,
      min: "10.3.5.0",
      max: "10.3.8.0",
    });
  });

  it("IPv6 overrides (TestIPv6ConfigOverrides)", () => {
    const text =
      '{ "EnableIPv6": true, "IPv6Network": "fc00::/48", "IPv6SubnetMin": "fc00:0:0:1::", "IPv6SubnetMax": "fc00:0:0:f::", "IPv6SubnetLen": 124, "enableIPv4": false }';
    expect(parse(text).ipv6).toEqual({
      network: "fc00::/48",
      subnetLength: 124,
      min: "fc00:0:0:1::",
      max: "fc00:0:0:f::",
    });
  });

  it.each([
    { network: "10.0.0.0/8", length: 24, min: "10.0.1.0", max: "10.255.255.0" },
    { network: "10.1.0.0/22", length: 24, min: "10.1.1.0", max: "10.1.3.0" },
    { network: "10.1.0.0/23", length: 25, min: "10.1.0.128", max: "10.1.1.128" },
    { network: "10.1.0.0/28", length: 30, min: "10.1.0.4", max: "10.1.0.12" },
    { network: "10.1.2.3/16", length: 24, min: "10.1.1.0", max: "10.1.255.0" },
    { network: "255.255.0.0/16", length: 24, min: "255.255.1.0", max: "255.255.255.0" },
  ])("default length of $network is /$length", ({ network, length, min, max }) => {
    expect(parse(JSON.stringify({ Network: network })).ipv4).toMatchObject({
      subnetLength: length,
      min,
      max,
    });
  });

  it.each([
    { network: "fd00::/62", length: 64, min: "fd00:0:0:1::", max: "fd00:0:0:3::" },
    { network: "fd00::/63", length: 65, min: "fd00:0:0:0:8000::", max: "fd00:0:0:1:8000::" },
    { network: "fd00::/124", length: 126, min: "fd00::4", max: "fd00::c" },
  ])("default length of $network is /$length", ({ network, length, min, max }) => {
    const text = JSON.stringify({ EnableIPv4: false, EnableIPv6: true, IPv6Network: network });
    const { ipv6 } = parse(text);
    expect(ipv6).toMatchObject({ subnetLength: length });
    expect([ipv6?.min, ipv6?.max]).toEqual([min, max].map((ip) => parseCanonical(ip)));
  });

  it("reads the handbooks' classic bare-metal configuration", () => {
    expect(parse('{"Network":"172.33.0.0/16","SubnetLen":24,"Backend":{"Type":"host-gw"}}')).toEqual({
      ipv4: { network: "172.33.0.0/16", subnetLength: 24, min: "172.33.1.0", max: "172.33.255.0" },
      enableNftables: false,
      backend: { type: "host-gw", options: { Type: "host-gw" } },
    });
  });

  it("masks host bits, ignores unknown keys, takes zero and null for absent as Go does", () => {
    const config = parse(
      '{"Network":"10.1.2.3/16","Networks":7,"SubnetLen":0,"SubnetMin":"0.0.0.0","SubnetMax":"0.0.0.0","EnableIPv6":null,"IPv6SubnetMin":null}',
    );
    expect(config.ipv4).toEqual({
      network: "10.1.0.0/16",
      subnetLength: 24,
      min: "10.1.1.0",
      max: "10.1.255.0",
    });
    expect(config.ipv6).toBeUndefined();
  });

  it.each([
    { text: '{"Network":"10.1.0.0/16","network":"10.2.0.0/16"}', network: "10.2.0.0/16" },
    { text: '{"network":"10.2.0.0/16","Network":"10.1.0.0/16"}', network: "10.1.0.0/16" },
    {
      text: '{"Network":"10.1.0.0/16","NETWORK":"10.2.0.0/16","Network":"10.3.0.0/16"}',
      network: "10.3.0.0/16",
    },
  ])("the last duplicate wins: $text", ({ text, network }) => {
    expect(parse(text).ipv4?.network).toBe(network);
  });

  it("looks the backend type up in lower case and keeps its options", () => {
    const { backend } = parse(
      '{"Network":"10.1.0.0/16","backend":{"type":"VXLAN","vni":7,"DirectRouting":true}}',
    );
    expect(backend).toEqual({ type: "vxlan", options: { type: "VXLAN", vni: 7, DirectRouting: true } });
    expect(isBackendDefaulted(backend)).toBe(false);
  });

  it("an absent Backend is udp, and one can tell that it was absent", () => {
    expect(isBackendDefaulted(parse('{"Network":"10.1.0.0/16"}').backend)).toBe(true);
    expect(isBackendDefaulted(parse('{"Network":"10.1.0.0/16","Backend":{"Type":"udp"}}').backend)).toBe(
      false,
    );
  });
});

describe("errors say flannel's words, the value and the cure", () => {
  const v6 = (rest: object) => ({ EnableIPv4: false, EnableIPv6: true, ...rest });
  it.each([
    [{}, "please define a correct Network parameter in the flannel config"],
    [{ Network: "0.0.0.0/0" }, "please define a correct Network parameter in the flannel config"],
    [{ Network: "10.0.0.0/16", SubnetLen: 31 }, "SubnetLen must be less than /31"],
    [{ Network: "10.0.0.0/16", SubnetLen: 17 }, "network must be able to accommodate at least four subnets"],
    [{ Network: "10.0.0.0/16", SubnetLen: 17 }, "make SubnetLen at least 18"],
    [{ Network: "10.0.0.0/29" }, "network is too small. Minimum useful network prefix is /28"],
    [{ Network: "10.0.0.0/16", SubnetMin: "10.1.0.0" }, "SubnetMin is not in the range of the Network"],
    [{ Network: "10.0.0.0/16", SubnetMax: "10.1.0.0" }, "SubnetMax is not in the range of the Network"],
    [{ Network: "10.0.0.0/16", SubnetMin: "10.0.5.1" }, "SubnetMin is not on a SubnetLen boundary: 10.0.5.1"],
    [{ Network: "10.0.0.0/16", SubnetMax: "10.0.5.1" }, "SubnetMax is not on a SubnetLen boundary: 10.0.5.1"],
    [
      { Network: "10.0.0.0/16", SubnetMin: "10.0.9.0", SubnetMax: "10.0.5.0" },
      "SubnetMin 10.0.9.0 is above SubnetMax 10.0.5.0",
    ],
    [v6({}), "please define a correct IPv6Network parameter in the flannel config"],
    [v6({ IPv6Network: "::/0" }), "please define a correct IPv6Network parameter in the flannel config"],
    [v6({ IPv6Network: "fd00::/48", IPv6SubnetLen: 127 }), "SubnetLen must be less than /127"],
    [
      v6({ IPv6Network: "fd00::/48", IPv6SubnetLen: 49 }),
      "network must be able to accommodate at least four subnets",
    ],
    [v6({ IPv6Network: "fd00::/125" }), "IPv6Network is too small. Minimum useful network prefix is /124"],
    [
      v6({ IPv6Network: "fd00::/48", IPv6SubnetMin: "fd01::" }),
      "IPv6SubnetMin is not in the range of the IPv6Network",
    ],
    [
      v6({ IPv6Network: "fd00::/48", IPv6SubnetMax: "fd01::" }),
      "IPv6SubnetMax is not in the range of the IPv6Network",
    ],
    [
      v6({ IPv6Network: "fd00::/48", IPv6SubnetMin: "fd00::1" }),
      "IPv6SubnetMin is not on a SubnetLen boundary: fd00::1",
    ],
    [
      v6({ IPv6Network: "fd00::/48", IPv6SubnetMax: "fd00::1" }),
      "IPv6SubnetMax is not on a SubnetLen boundary: fd00::1",
    ],
    [{ EnableIPv4: false }, "none defined stack"],
    [{ Network: "10.0.0.0/16", Backend: {} }, "unknown backend type: "],
    [{ Network: "10.0.0.0/16", Backend: null }, "unknown backend type: "],
    [
      { Network: "10.0.0.0/16", Backend: "vxlan" },
      'Backend is "vxlan" (a string), but must be an object, for example {"Type":"vxlan"}',
    ],
    [
      { Network: "10.0.0.0/16", Backend: { Type: 1 } },
      "Backend.Type is 1 (a number), but must be a text in quotes",
    ],
    [
      { Network: "10.0.0.0/16", SubnetLen: "24" },
      'SubnetLen is "24" (a string), but must be a whole number, for example 24',
    ],
    [{ Network: "10.0.0.0/16", SubnetLen: -1 }, "SubnetLen is -1 (a number), but must be a whole number"],
    [{ Network: "10.0.0.0/16", SubnetLen: 24.5 }, "SubnetLen is 24.5 (a number), but must be a whole number"],
    [
      { Network: "10.0.0.0" },
      'Network is "10.0.0.0" (a string), but must be an IPv4 CIDR, for example "10.244.0.0/16"',
    ],
    [{ Network: "010.0.0.0/16" }, "must be an IPv4 CIDR"],
    [{ Network: "fd00::/48" }, "must be an IPv4 CIDR"],
    [{ Network: null }, "Network is null, but must be an IPv4 CIDR"],
    [
      { Network: "10.0.0.0/16", IPv6Network: "10.0.0.0/16" },
      'IPv6Network is "10.0.0.0/16" (a string), but must be an IPv6 CIDR',
    ],
    [
      { Network: "10.0.0.0/16", SubnetMin: "10.0.1.0/24" },
      'SubnetMin is "10.0.1.0/24" (a string), but must be an IPv4 address',
    ],
    [{ Network: "10.0.0.0/16", SubnetMin: null }, "SubnetMin is null, but must be an IPv4 address"],
    [
      { Network: "10.0.0.0/16", EnableIPv6: "true" },
      'EnableIPv6 is "true" (a string), but must be true or false',
    ],
    [
      { Network: "10.0.0.0/16", EnableNFTables: 1 },
      "EnableNFTables is 1 (a number), but must be true or false",
    ],
    [[], "it is [] (a list), but must be an object"],
    [null, "it is null, but must be an object"],
  ])("%j: %s", (config, message) => {
    let error: unknown;
    try {
      parse(JSON.stringify(config));
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(InvalidValueError);
    expect((error as Error).message).toMatch(/^network config: /);
    expect((error as Error).message).toContain(message);
  });

  it("text that is not JSON", () => {
    expect(() => parse("Network=10.0.0.0/16")).toThrow(/^network config: not valid JSON: /);
  });
});

describe("Kubernetes: allocate false", () => {
  it("ignores lengths, minimum and maximum", () => {
    const text =
      '{"Network":"10.244.0.0/16","SubnetLen":31,"SubnetMin":"1.2.3.4","EnableNFTables":true,"Backend":{"Type":"vxlan"}}';
    expect(parse(text, { allocate: false })).toMatchObject({
      ipv4: { network: "10.244.0.0/16" },
      enableNftables: true,
      backend: { type: "vxlan" },
    });
    expect(parse('{"Network":"10.244.0.0/30"}', { allocate: false }).ipv4?.network).toBe("10.244.0.0/30");
  });

  it("still wants the right JSON types and a network", () => {
    expect(() => parse('{"Network":"10.244.0.0/16","SubnetLen":"x"}', { allocate: false })).toThrow(
      /SubnetLen is "x"/,
    );
    expect(() => parse("{}", { allocate: false })).toThrow(/please define a correct Network parameter/);
  });
});

describe("formatNetworkConfig", () => {
  it.each([
    {
      name: "defaults go, the length and the backend stay",
      text: '{"network":"10.3.7.9/16"}',
      canonical: '{"Network":"10.3.0.0/16","SubnetLen":24,"Backend":{"Type":"udp"}}',
    },
    {
      name: "options in their order, the type first and in lower case",
      text: '{"Network":"10.3.0.0/16","SubnetMin":"10.3.5.0","SubnetMax":"10.3.9.0","Backend":{"VNI":3,"type":"VxLan","Port":8472}}',
      canonical:
        '{"Network":"10.3.0.0/16","SubnetLen":24,"SubnetMin":"10.3.5.0","SubnetMax":"10.3.9.0","Backend":{"Type":"vxlan","VNI":3,"Port":8472}}',
    },
    {
      name: "dual stack",
      text: '{"EnableIPv6":true,"EnableNFTables":true,"Network":"10.3.0.0/16","IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}',
      canonical:
        '{"EnableIPv6":true,"EnableNFTables":true,"Network":"10.3.0.0/16","SubnetLen":24,"IPv6Network":"fd00::/48","IPv6SubnetLen":64,"Backend":{"Type":"vxlan"}}',
    },
    {
      name: "IPv6 only",
      text: '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}',
      canonical:
        '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":64,"Backend":{"Type":"vxlan"}}',
    },
  ])("$name", ({ text, canonical }) => {
    expect(formatNetworkConfig(parse(text))).toBe(canonical);
    expect(formatNetworkConfig(parse(canonical))).toBe(canonical);
  });
});

/** Expected addresses are written as people write them; the library picks the canonical run of zeros. */
function parseCanonical(text: string): string {
  return new URL(`http://[${text}]`).hostname.slice(1, -1);
}
