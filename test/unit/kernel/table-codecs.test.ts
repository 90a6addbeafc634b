// What iproute2 prints of routes, devices, neighbors and FDB entries, read as rows; and what is ours of it.
import { describe, expect, it } from "vitest";
import { ownershipOf } from "../../../src/host/ownership.ts";
import { parseInterfaces } from "../../../src/kernel/address-codec.ts";
import { parseFdb } from "../../../src/kernel/fdb-codec.ts";
import { parseJsonRows } from "../../../src/kernel/json.ts";
import { linkChangeLines, linkCreateLines, isOurLink, parseLinks } from "../../../src/kernel/link-codec.ts";
import { parseNeighbors } from "../../../src/kernel/neighbor-codec.ts";
import {
  familiesOf,
  isOurRoute,
  parseRoutes,
  routePutArgs,
  routeRemoveArgs,
} from "../../../src/kernel/route-codec.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { FLANNEL_1, OWNERSHIP } from "../../support/overlay-node.ts";

describe("JSON of iproute2", () => {
  it("is nothing for nothing, and without rows that a filter left empty", () => {
    expect(parseJsonRows("", "ip route")).toEqual([]);
    expect(parseJsonRows('[{},{"dst":"x"},{}]\n', "ip route")).toEqual([{ dst: "x" }]);
  });
  it("is asked for by a version that has it", () => {
    expect(() => parseJsonRows("default via 192.0.2.1", "ip route")).toThrow("iproute2 5.3 or newer");
    expect(() => parseJsonRows("{}", "ip route")).toThrow("no array");
  });
  it("is read piece by piece where it is long, and what is broken is not read in part", () => {
    const rows = Array.from({ length: 5_000 }, (_, i) => ({
      dst: `10.${i >> 8}.${i & 255}.0/24`,
      hops: [{}, {}],
    }));
    expect(parseJsonRows(JSON.stringify(rows), "ip route")).toEqual(rows);
    const text = JSON.stringify(rows);
    for (const broken of [
      text.slice(0, -1),
      text.replace("}]},", "}]}"),
      `${text}]`,
      text.replace('"dst"', '"dst'),
    ])
      expect(() => parseJsonRows(broken, "ip route")).toThrow("iproute2 5.3 or newer");
  });
});

describe("routes", () => {
  it("are read with numbers and with names", () => {
    const stdout = `[
      {"type":"6","dst":"fd00:10::/48","dev":"lo","protocol":"250","metric":1024,"flags":[],"pref":"medium"},
      {"type":"blackhole","dst":"fd00:11::/48","dev":"lo","protocol":"250","metric":1024,"flags":[]},
      {"dst":"default","gateway":"fe80::1","dev":"eth0","protocol":"kernel","metric":100,"flags":[]},
      {"dst":"fd00:10:0:2::/64","gateway":"fd00:10:0:2::","dev":"flannel-v6.1","protocol":"250","metric":1024,"flags":["onlink"]},
      {"dst":"fd00:12::1","dev":"eth0","flags":[]}]`;
    expect(parseRoutes(stdout, 6)).toEqual([
      {
        dst: "fd00:10::/48",
        type: "blackhole",
        onlink: false,
        metric: 1024,
        protocol: 250,
        multipath: false,
      },
      {
        dst: "fd00:11::/48",
        type: "blackhole",
        onlink: false,
        metric: 1024,
        protocol: 250,
        multipath: false,
      },
      {
        dst: "::/0",
        type: "unicast",
        via: "fe80::1",
        dev: "eth0",
        onlink: false,
        metric: 100,
        protocol: 2,
        multipath: false,
      },
      {
        dst: "fd00:10:0:2::/64",
        type: "unicast",
        via: "fd00:10:0:2::",
        dev: "flannel-v6.1",
        onlink: true,
        metric: 1024,
        protocol: 250,
        multipath: false,
      },
      {
        dst: "fd00:12::1/128",
        type: "unicast",
        dev: "eth0",
        onlink: false,
        metric: 0,
        protocol: 3,
        multipath: false,
      },
    ]);
  });

  it("with several next hops are never what we want", () => {
    const stdout = `[{"dst":"10.99.0.0/16","flags":[],"nexthops":[{"gateway":"192.0.2.7","dev":"eth0","weight":1,"flags":[]},{"gateway":"192.0.2.8","dev":"eth0","weight":1,"flags":[]}]}]`;
    expect(parseRoutes(stdout, 4)).toMatchObject([{ via: "192.0.2.7", dev: "eth0", multipath: true }]);
  });

  const ownership = ownershipOf([parseCidr("10.244.0.0/16")], ["flannel.1"]);
  for (const { name, dst, dev, via, protocol, expected } of [
    { name: "our protocol in our network", dst: "10.244.2.0/24", dev: "eth0", protocol: 250, expected: true },
    {
      name: "our protocol, the whole network",
      dst: "10.244.0.0/16",
      dev: undefined,
      protocol: 250,
      expected: true,
    },
    {
      name: "our protocol elsewhere: another instance",
      dst: "10.245.2.0/24",
      dev: "eth0",
      protocol: 250,
      expected: false,
    },
    { name: "a wider destination", dst: "10.0.0.0/8", dev: "eth0", protocol: 250, expected: false },
    {
      name: "another protocol in our network",
      dst: "10.244.2.0/24",
      dev: "eth0",
      protocol: 3,
      expected: false,
    },
    {
      name: "another protocol on our device",
      dst: "10.244.2.0/24",
      dev: "flannel.1",
      protocol: 3,
      expected: true,
    },
    {
      name: "somebody's way through our device to other networks",
      dst: "172.16.0.0/12",
      dev: "flannel.1",
      via: "10.244.2.0",
      protocol: 3,
      expected: false,
    },
    {
      name: "what Go flannel has left of a network that was changed",
      dst: "10.99.2.0/24",
      dev: "flannel.1",
      via: "10.99.2.0",
      protocol: 3,
      expected: true,
    },
    {
      name: "what we have left of a network that was changed",
      dst: "10.99.2.0/24",
      dev: "flannel.1",
      protocol: 250,
      expected: true,
    },
    {
      name: "the kernel's own on our device",
      dst: "10.244.1.0/24",
      dev: "flannel.1",
      protocol: 2,
      expected: false,
    },
  ]) {
    it(`are ours or not: ${name}`, () => {
      expect(
        isOurRoute(ownership, {
          dst: parseCidr(dst),
          protocol,
          onlink: via !== undefined,
          ...(via !== undefined && { via: parseIp(via) }),
          ...(dev !== undefined && { dev }),
        }),
      ).toBe(expected);
    });
  }

  it("are written and removed by lines that name everything", () => {
    const route = {
      dst: parseCidr("10.244.2.0/24"),
      type: "unicast",
      via: parseIp("10.244.2.0"),
      dev: "flannel.1",
      src: parseIp("10.244.1.0"),
      onlink: true,
    } as const;
    expect(routePutArgs(route).join(" ")).toBe(
      "route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 src 10.244.1.0 onlink proto 250",
    );
    expect(routeRemoveArgs({ ...route, metric: 50, protocol: 3 }).join(" ")).toBe(
      "route del 10.244.2.0/24 via 10.244.2.0 dev flannel.1 src 10.244.1.0 onlink proto 3 metric 50",
    );
    expect(
      routePutArgs({ dst: parseCidr("10.244.0.0/16"), type: "blackhole", onlink: false }).join(" "),
    ).toBe("route replace blackhole 10.244.0.0/16 proto 250");
  });

  it("are listed only in families that we have networks of", () => {
    expect(familiesOf([parseCidr("10.244.0.0/16")])).toEqual([4]);
    expect(familiesOf([parseCidr("fd00::/48")])).toEqual([6]);
    expect(familiesOf(OWNERSHIP.networks)).toEqual([4, 6]);
  });
});

const VXLAN_JSON = `{"ifindex":4,"ifname":"flannel.1","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"mtu":1400,
  "address":"02:00:00:00:00:01","linkinfo":{"info_kind":"vxlan","info_data":{"id":1,"local":"192.0.2.1","link":"eth0",
  "port_range":{"low":0,"high":0},"port":8472,"learning":false,"ttl":0,"df":"unset","ageing":300,"udp_csum":true,
  "udp_zero_csum6_tx":false,"udp_zero_csum6_rx":false}},"ifalias":"flanneld-ts 10.244.0.0/16"}`;

describe("devices", () => {
  it("are read with what a plan wants of them", () => {
    expect(parseLinks(`[${VXLAN_JSON},{"ifname":"eth0","mtu":1500,"flags":[]}]`)).toMatchObject([
      {
        ...FLANNEL_1,
        mtu: 1400,
        up: true,
        alias: "flanneld-ts 10.244.0.0/16",
        largestMtu: 1450,
      },
      { name: "eth0", deviation: "is a plain device" },
    ]);
  });

  for (const attribute of [
    '"group":"239.1.1.1"',
    '"remote6":"2001:db8::9"',
    '"external":true',
    '"l2miss":true',
    '"proxy":true',
  ]) {
    it(`deviate with ${attribute}`, () => {
      const stdout = `[${VXLAN_JSON.replace('"id":1', `"id":1,${attribute}`)}]`;
      expect(parseLinks(stdout)[0]?.deviation).toMatch(/^is a vxlan device with/);
    });
  }

  for (const { name, change, expected } of [
    { name: "a planned name", change: {}, expected: true },
    {
      name: "our alias under another name",
      change: { name: "x", alias: OWNERSHIP.linkAlias },
      expected: true,
    },
    {
      name: "our alias on another kind",
      change: { deviation: "is a wireguard", alias: OWNERSHIP.linkAlias },
      expected: true,
    },
    { name: "a planned name of another kind", change: { deviation: "is a bridge" }, expected: false },
    {
      name: "a vxlan with another name and alias",
      change: { name: "vxlan9", alias: "flanneld-ts 10.9.0.0/16" },
      expected: false,
    },
  ]) {
    it(`are ours or not: ${name}`, () => {
      expect(isOurLink(OWNERSHIP, { ...FLANNEL_1, alias: "", up: true, ...change })).toBe(expected);
    });
  }

  it("are created in one line that carries the MAC, so that no one sees another", () => {
    expect(linkCreateLines(FLANNEL_1, "a b").map((line) => line.join(" "))).toEqual([
      "link add name flannel.1 up address 02:00:00:00:00:01 mtu 1450 txqueuelen 0 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning",
      "link set dev flannel.1 alias a b",
    ]);
  });

  it("are changed by exactly what differs, up last", () => {
    const actual = { ...FLANNEL_1, mtu: 1300, up: false, alias: "a" };
    expect(linkChangeLines(actual, FLANNEL_1, "a").map((line) => line.join(" "))).toEqual([
      "link set dev flannel.1 mtu 1450",
      "link set dev flannel.1 up",
    ]);
    expect(linkChangeLines({ ...actual, up: true, largestMtu: 1300 }, FLANNEL_1, "a")).toEqual([]);
  });
});

it("neighbors without an address or a MAC are skipped", () => {
  const stdout = `[{"dst":"10.244.2.0","dev":"flannel.1","lladdr":"02:00:00:00:00:02","state":["PERMANENT"]},
    {"dst":"10.244.3.0","dev":"flannel.1","state":["PERMANENT"]},{"dst":"x","dev":"y","lladdr":"z"}]`;
  expect(parseNeighbors(stdout)).toEqual([{ dev: "flannel.1", ip: "10.244.2.0", mac: "02:00:00:00:00:02" }]);
});

it("FDB entries are those of the device's own table, permanent, with a remote", () => {
  const stdout = `[
    {"mac":"33:33:00:00:00:01","ifname":"eth0","flags":["self"],"state":"permanent"},
    {"mac":"02:00:00:00:00:02","ifname":"flannel.1","dst":"192.0.2.2","flags":["self"],"state":"permanent"},
    {"mac":"02:00:00:00:00:03","ifname":"flannel.1","dst":"192.0.2.3","flags":["self"],"state":""},
    {"mac":"02:00:00:00:00:04","ifname":"veth1","vlan":1,"flags":[],"master":"cni0","state":"permanent"}]`;
  expect(parseFdb(stdout)).toEqual([{ dev: "flannel.1", mac: "02:00:00:00:00:02", remote: "192.0.2.2" }]);
});

it("interfaces are read with all that an uplink choice asks", () => {
  const stdout = `[{"ifindex":3,"link":"if7","ifname":"eth0","flags":["BROADCAST","UP"],"mtu":1500,"addr_info":[
    {"family":"inet","local":"192.0.2.1","prefixlen":24,"scope":"global","dynamic":true,"label":"eth0"},
    {"family":"inet6","local":"2001:db8::7","prefixlen":64,"scope":"global","temporary":true,"deprecated":true},
    {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"},
    {"family":"inet","local":"10.0.0.1","prefixlen":8,"scope":"200"}, {}]}]`;
  const off = { dynamic: false, temporary: false, deprecated: false };
  expect(parseInterfaces(stdout)).toEqual([
    {
      name: "eth0",
      index: 3,
      mtu: 1500,
      up: true,
      addresses: [
        { ip: "192.0.2.1", prefixLength: 24, scope: "global", ...off, dynamic: true },
        { ip: "2001:db8::7", prefixLength: 64, scope: "global", ...off, temporary: true, deprecated: true },
        { ip: "fe80::1", prefixLength: 64, scope: "link", ...off },
        { ip: "10.0.0.1", prefixLength: 8, scope: "global", ...off },
      ],
    },
  ]);
});
