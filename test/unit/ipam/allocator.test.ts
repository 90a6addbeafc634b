// Allocation: flannel's order and bounds, overlaps of any length, a full range, a large one.
import { describe, expect, it } from "vitest";
import { capacityOf, chooseSubnet, fitsRange } from "../../../src/ipam/allocator.ts";
import type { SubnetRange } from "../../../src/ipam/network-config.ts";
import { parseNetworkConfig } from "../../../src/ipam/parse-network-config.ts";
import { parseCidr } from "../../../src/net/cidr.ts";

function range4(config: object): SubnetRange {
  const { ipv4 } = parseNetworkConfig(JSON.stringify(config));
  if (ipv4 === undefined) throw new Error("no IPv4");
  return ipv4;
}

function range6(config: object): SubnetRange {
  const { ipv6 } = parseNetworkConfig(JSON.stringify({ EnableIPv4: false, EnableIPv6: true, ...config }));
  if (ipv6 === undefined) throw new Error("no IPv6");
  return ipv6;
}

const first = () => 0;
const last = () => 1 - Number.EPSILON;
const small = range4({ Network: "10.5.0.0/16", SubnetMin: "10.5.5.0", SubnetMax: "10.5.8.0" });
const choose = (range: SubnetRange, taken: readonly string[], random = first) =>
  chooseSubnet({ range, taken: taken.map((text) => parseCidr(text)), random });

describe("chooseSubnet", () => {
  it.each([
    { name: "starts at the minimum", taken: [], expected: "10.5.5.0/24" },
    { name: "skips what is taken", taken: ["10.5.5.0/24", "10.5.6.0/24"], expected: "10.5.7.0/24" },
    { name: "a longer taken prefix blocks its subnet", taken: ["10.5.5.240/30"], expected: "10.5.6.0/24" },
    { name: "a shorter taken prefix blocks all it covers", taken: ["10.5.4.0/22"], expected: "10.5.8.0/24" },
    {
      name: "nested taken prefixes",
      taken: ["10.5.4.0/22", "10.5.5.0/24", "10.5.8.64/26"],
      expected: undefined,
    },
    {
      name: "order of taken does not matter",
      taken: ["10.5.7.0/24", "10.5.5.0/24"],
      expected: "10.5.6.0/24",
    },
    { name: "repeats do not matter", taken: ["10.5.5.0/24", "10.5.5.0/24"], expected: "10.5.6.0/24" },
    {
      name: "what is outside does not matter",
      taken: ["10.6.5.0/24", "10.5.4.0/24"],
      expected: "10.5.5.0/24",
    },
    { name: "the other family does not matter", taken: ["fd00::/16"], expected: "10.5.5.0/24" },
    { name: "everything taken", taken: ["10.5.0.0/16"], expected: undefined },
    {
      name: "full",
      taken: ["10.5.5.0/24", "10.5.6.0/24", "10.5.7.0/24", "10.5.8.0/24"],
      expected: undefined,
    },
  ])("$name", ({ taken, expected }) => {
    expect(choose(small, taken)).toBe(expected);
  });

  it("includes the maximum", () => {
    expect(choose(small, [], last)).toBe("10.5.8.0/24");
  });

  it("never gives the first subnet of the network by default, and gives the last", () => {
    const range = range4({ Network: "10.5.0.0/22" });
    expect(choose(range, [])).toBe("10.5.1.0/24");
    expect(choose(range, [], last)).toBe("10.5.3.0/24");
  });

  it("draws uniformly among the first hundred free ones", () => {
    const range = range4({ Network: "10.5.0.0/16" });
    expect(choose(range, ["10.5.2.0/24"], last)).toBe("10.5.101.0/24");
    const drawn = new Set(Array.from({ length: 100 }, (_, i) => choose(range, [], () => (i + 0.5) / 100)));
    expect(drawn.size).toBe(100);
  });

  it("works at both ends of the address space", () => {
    expect(choose(range4({ Network: "255.255.0.0/16" }), ["255.255.0.0/17"], first)).toBe("255.255.128.0/24");
    expect(choose(range4({ Network: "255.255.255.0/24" }), ["255.255.255.64/26"], last)).toBe(
      "255.255.255.192/26",
    );
    expect(
      choose(range4({ Network: "255.255.255.0/24" }), ["255.255.255.128/25", "255.255.255.64/26"]),
    ).toBeUndefined();
  });

  it("IPv6 by the same code", () => {
    const range = range6({ IPv6Network: "fd00:5::/48" });
    expect(choose(range, ["fd00:5:0:1::/64", "10.0.0.0/8"])).toBe("fd00:5:0:2::/64");
    expect(choose(range, [], last)).toBe("fd00:5:0:64::/64");
    expect(choose(range6({ IPv6Network: "fd00::/8", IPv6SubnetLen: 126 }), ["fd00::/9"])).toBe("fd80::/126");
  });

  it("finds the one hole among 65,000 taken subnets of a /8", () => {
    const range = range4({ Network: "10.0.0.0/8" });
    const hole = "10.200.17.0/24";
    const taken = Array.from({ length: 65_536 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`).filter(
      (c) => c !== hole,
    );
    expect(choose(range, taken)).toBe(hole);
    expect(choose(range, [...taken, hole])).toBeUndefined();
  });
});

describe("fitsRange and capacityOf", () => {
  it.each([
    ["10.5.5.0/24", true],
    ["10.5.8.0/24", true],
    ["10.5.4.0/24", false],
    ["10.5.9.0/24", false],
    ["10.5.5.0/25", false],
    ["fd00::/24", false],
  ])("%s: %s", (subnet, expected) => {
    expect(fitsRange(small, parseCidr(subnet))).toBe(expected);
  });

  it("counts both ends", () => {
    expect(capacityOf(small)).toBe(4n);
    expect(capacityOf(range4({ Network: "10.0.0.0/16" }))).toBe(255n);
    expect(capacityOf(range6({ IPv6Network: "fd00::/48" }))).toBe(65_535n);
  });
});
