// Which subnet a node takes: flannel's order, as a table.
import { describe, expect, test } from "vitest";
import { chooseSubnet } from "../../../src/ipam/allocator.ts";
import { planAcquire } from "../../../src/ipam/etcd-acquire-plan.ts";
import type { AcquireInput, StoredEntry } from "../../../src/ipam/etcd-acquire-plan.ts";
import { readLeaseEntry } from "../../../src/ipam/etcd-lease-codec.ts";
import { parseNetworkConfig } from "../../../src/ipam/parse-network-config.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";

const PREFIX = "/net";
const V4 = parseNetworkConfig('{"Network":"10.5.0.0/16"}');
const DUAL = parseNetworkConfig('{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"}');

const V6 = parseNetworkConfig('{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}');

function entry(name: string, publicIp: string, reservation = false): StoredEntry {
  const value = publicIp.includes(":") ? { PublicIPv6: publicIp } : { PublicIP: publicIp };
  return { ...readLeaseEntry(PREFIX, `${PREFIX}/subnets/${name}`, JSON.stringify(value)), reservation };
}

function plan(input: Partial<AcquireInput>) {
  const node = { publicIp: parseIp("192.0.2.7"), publicIp6: parseIp("2001:db8::7") };
  return planAcquire({ config: V4, entries: [], node, chooseSubnet, random: () => 0, ...input });
}

describe("1. the lease of the same public IP", () => {
  test("first in the order of the keys", () => {
    const entries = [
      entry("10.5.3.0-24", "192.0.2.3"),
      entry("10.5.5.0-24", "192.0.2.7"),
      entry("10.5.6.0-24", "192.0.2.7"),
    ];
    expect(plan({ entries })).toMatchObject({ type: "reuse", lease: { subnet: "10.5.5.0/24" } });
  });
  test("goes before the previous subnet", () => {
    const entries = [entry("10.5.5.0-24", "192.0.2.7")];
    expect(plan({ entries, previous: { subnet: parseCidr("10.5.9.0/24") } }).type).toBe("reuse");
  });
  test.each(["10.6.5.0-24", "10.5.5.0-25", "10.5.0.0-24", "10.5.5.0-24&fd00:5:0:5::-64"])(
    "%s does not fit",
    (name) => {
      expect(plan({ entries: [entry(name, "192.0.2.7")] }).type).toBe("release");
    },
  );
  test("a v4-only lease does not fit dual stack", () => {
    expect(plan({ config: DUAL, entries: [entry("10.5.5.0-24", "192.0.2.7")] }).type).toBe("release");
  });
  test("a reservation that does not fit is passed over", () => {
    expect(plan({ entries: [entry("10.6.5.0-24", "192.0.2.7", true)] }).type).toBe("create");
  });
});

describe("2. the previous subnet", () => {
  const previous = { subnet: parseCidr("10.5.9.0/24") };
  test("if it is free", () => {
    expect(plan({ previous })).toEqual({ type: "create", subnets: previous, because: "previous" });
  });
  test.each(["10.5.9.0-24", "10.5.8.0-23", "10.5.9.128-25", "10.5.9.0-24&fd00::-64"])(
    "not if %s is taken",
    (name) => {
      expect(plan({ previous, entries: [entry(name, "192.0.2.1")] })).toMatchObject({ because: "free" });
    },
  );
  test("not with IPv6 where the config has none, and not without where it has", () => {
    const both = { ...previous, subnet6: parseCidr("fd00:5:0:9::/64") };
    expect(plan({ previous: both })).toMatchObject({ because: "free" });
    expect(plan({ config: DUAL, previous })).toMatchObject({ because: "free" });
    expect(plan({ config: DUAL, previous: both })).toMatchObject({ because: "previous", subnets: both });
  });
});

describe("3. a free one", () => {
  test("from the minimum on, past what is taken, broken values included", () => {
    const broken: StoredEntry = {
      ...readLeaseEntry(PREFIX, `${PREFIX}/subnets/10.5.1.0-24`, "?"),
      reservation: true,
    };
    expect(plan({ entries: [broken, entry("10.5.2.0-24", "192.0.2.1")] })).toMatchObject({
      subnets: { subnet: "10.5.3.0/24" },
    });
  });
  test("of each family", () => {
    expect(plan({ config: DUAL })).toMatchObject({
      subnets: { subnet: "10.5.1.0/24", subnet6: "fd00:5:0:1::/64" },
    });
  });
  test("or the network is full, in words that help", () => {
    const config = parseNetworkConfig(
      '{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.2.0"}',
    );
    const entries = [entry("10.5.1.0-24", "192.0.2.1"), entry("10.5.2.0-24", "192.0.2.2", true)];
    expect(plan({ config, entries })).toEqual({
      type: "full",
      problem:
        "out of subnets: none of the 2 /24 subnets from 10.5.1.0 to 10.5.2.0 is free (1 leases, 1 reservations); " +
        "delete the keys of nodes that are gone or enlarge the network. Waiting for one to become free",
    });
  });
  test("full in IPv6 alone names the IPv6 range", () => {
    const config = { ...DUAL, ipv6: { ...DUAL.ipv6!, max: DUAL.ipv6!.min } };
    expect(plan({ config, entries: [entry("10.5.9.0-24&fd00:5:0:1::-64", "192.0.2.1")] })).toMatchObject({
      type: "full",
      problem: expect.stringContaining("none of the 1 /64 subnets from fd00:5:0:1::"),
    });
  });
});

describe("a network without IPv4", () => {
  const node = { publicIp6: parseIp("2001:db8::7") };
  const mine = entry("0.0.0.0-0&fd00:5:0:5::-64", "2001:db8::7");

  test("the lease of the same IPv6 address is taken again", () => {
    const others = entry("0.0.0.0-0&fd00:5:0:3::-64", "2001:db8::3");
    expect(plan({ config: V6, node, entries: [others, mine] })).toMatchObject({
      type: "reuse",
      lease: { nodeName: "2001:db8::7", subnet6: "fd00:5:0:5::/64" },
    });
  });
  test("many nodes have no IPv4 subnet, and that is no overlap", () => {
    const others = [1, 2, 3].map((n) => entry(`0.0.0.0-0&fd00:5:0:${n}::-64`, `2001:db8::${n}`));
    expect(plan({ config: V6, node, entries: others })).toEqual({
      type: "create",
      subnets: { subnet6: "fd00:5:0:4::/64" },
      because: "free",
    });
  });
  test("the previous IPv6 subnet alone is enough", () => {
    const previous = { subnet6: parseCidr("fd00:5:0:9::/64") };
    expect(plan({ config: V6, node, previous })).toMatchObject({ because: "previous", subnets: previous });
  });
  test.each([
    { change: "to dual stack", config: DUAL, before: mine },
    { change: "from IPv4", config: V6, before: { ...entry("10.5.5.0-24", "192.0.2.7") } },
  ])("a change $change gives the old lease back", ({ config, before }) => {
    expect(plan({ config, entries: [before] })).toMatchObject({ type: "release", entry: before });
  });
});
