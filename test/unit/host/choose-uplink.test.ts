// Choice of the uplink: flannel's order of wishes, its order of addresses, and errors that name the cure.
import { describe, expect, it } from "vitest";
import { chooseUplink, UplinkError } from "../../../src/host/choose-uplink.ts";
import type { UplinkWish } from "../../../src/host/choose-uplink.ts";
import type { ForeignRoute, HostFacts, HostInterface, InterfaceAddress } from "../../../src/host/uplink.ts";
import { parseAddressWithPrefix, parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";

type Marks = Partial<Pick<InterfaceAddress, "dynamic" | "temporary" | "deprecated">>;

function address(text: string, marks: Marks = {}): InterfaceAddress {
  const { ip, prefixLength } = parseAddressWithPrefix(text);
  return { ip, prefixLength, scope: "global", dynamic: false, temporary: false, deprecated: false, ...marks };
}

function iface(
  index: number,
  name: string,
  addresses: readonly (string | InterfaceAddress)[],
  mtu = 1500,
): HostInterface {
  return {
    name,
    index,
    mtu,
    up: true,
    addresses: addresses.map((item) => (typeof item === "string" ? address(item) : item)),
  };
}

function route(
  dst: string,
  rest: { via?: string; dev?: string; src?: string; metric?: number },
): ForeignRoute {
  return {
    dst: parseCidr(dst),
    metric: rest.metric ?? 0,
    ...(rest.via !== undefined && { via: parseIp(rest.via) }),
    ...(rest.dev !== undefined && { dev: rest.dev }),
    ...(rest.src !== undefined && { src: parseIp(rest.src) }),
  };
}

/** A host with a management network on eth0 (default route) and the cluster's on eth2. */
const HOST: HostFacts = {
  interfaces: [
    iface(1, "lo", ["127.0.0.1/8", "::1/128"], 65_536),
    iface(2, "eth0", ["192.0.2.7/24", "2001:db8::7/64", "fe80::2/64"]),
    iface(3, "eth1", ["169.254.9.9/16", "198.51.100.7/24"], 9000),
    iface(4, "eth2", ["172.33.0.7/16", "172.33.0.8/16", "fd00:33::7/64"], 1400),
    iface(5, "eth3", []),
  ],
  routes: [
    route("0.0.0.0/0", { via: "198.51.100.1", dev: "eth1", metric: 200 }),
    route("0.0.0.0/0", { via: "192.0.2.1", dev: "eth0", metric: 100 }),
    route("::/0", { dev: "lo", metric: 1 }),
    route("::/0", { via: "fe80::1", dev: "eth0", metric: 1024 }),
    route("192.0.2.0/24", { dev: "eth0" }),
    route("198.51.100.0/24", { dev: "eth1" }),
    route("172.33.0.0/16", { dev: "eth2" }),
    route("10.9.0.0/16", { via: "172.33.0.1", dev: "eth2", src: "172.33.0.8" }),
    route("10.8.0.0/16", { via: "198.51.100.1", dev: "eth1" }),
  ],
};

function choose(wish: Partial<UplinkWish>, facts: HostFacts = HOST) {
  const { uplink, publicIps } = chooseUplink(facts, { ifaces: [], ifaceRegexes: [], families: [4], ...wish });
  return { name: uplink.name, mtu: uplink.mtu, addresses: uplink.addresses, publicIps };
}

const BOTH = [4, 6] as const;

describe("chooseUplink finds", () => {
  it.each<{ name: string; wish: Partial<UplinkWish>; dev: string; v4?: string; v6?: string }>([
    { name: "the default route with the lowest metric", wish: {}, dev: "eth0", v4: "192.0.2.7" },
    {
      name: "the IPv6 default route, not the kernel's unreachable one on lo",
      wish: { families: [6] },
      dev: "eth0",
      v6: "2001:db8::7",
    },
    {
      name: "both families' default route",
      wish: { families: BOTH },
      dev: "eth0",
      v4: "192.0.2.7",
      v6: "2001:db8::7",
    },
    { name: "by name (GetInterfaceByName)", wish: { ifaces: ["eth2"] }, dev: "eth2", v4: "172.33.0.7" },
    {
      name: "by address, which is then the one used (GetInterfaceByIP)",
      wish: { ifaces: ["172.33.0.8"] },
      dev: "eth2",
      v4: "172.33.0.8",
    },
    {
      name: "the first --iface that is usable",
      wish: { ifaces: ["eth9", "eth3", "203.0.113.1", "eth2", "eth0"] },
      dev: "eth2",
      v4: "172.33.0.7",
    },
    {
      name: "--iface before --iface-regex",
      wish: { ifaces: ["eth2"], ifaceRegexes: [/eth0/] },
      dev: "eth2",
      v4: "172.33.0.7",
    },
    {
      name: "--iface-regex after a failing --iface",
      wish: { ifaces: ["eth9"], ifaceRegexes: [/^eth2$/] },
      dev: "eth2",
      v4: "172.33.0.7",
    },
    {
      name: "a regex on addresses",
      wish: { ifaceRegexes: [/^172\.33\.0\.8$/] },
      dev: "eth2",
      v4: "172.33.0.8",
    },
    {
      name: "a regex on addresses before names",
      wish: { ifaceRegexes: [/^(eth0|172\.33\..*)$/] },
      dev: "eth2",
      v4: "172.33.0.7",
    },
    {
      name: "the lowest index when a regex fits many, loopback never",
      wish: { ifaceRegexes: [/./] },
      dev: "eth0",
      v4: "192.0.2.7",
    },
    {
      name: "a regex on IPv6 addresses",
      wish: { ifaceRegexes: [/^fd00/], families: [6] },
      dev: "eth2",
      v6: "fd00:33::7",
    },
    {
      name: "a regex that fits one family of two",
      wish: { ifaceRegexes: [/^172/], families: BOTH },
      dev: "eth2",
      v4: "172.33.0.7",
      v6: "fd00:33::7",
    },
    {
      name: "--iface-can-reach on-link",
      wish: { canReach: parseIp("172.33.5.5") },
      dev: "eth2",
      v4: "172.33.0.7",
    },
    {
      name: "--iface-can-reach by a route with a preferred source",
      wish: { canReach: parseIp("10.9.1.1") },
      dev: "eth2",
      v4: "172.33.0.8",
    },
    {
      name: "--iface-can-reach: source from the gateway's subnet",
      wish: { canReach: parseIp("10.8.1.1") },
      dev: "eth1",
      v4: "198.51.100.7",
    },
    {
      name: "--iface-can-reach by the default route",
      wish: { canReach: parseIp("203.0.113.99") },
      dev: "eth0",
      v4: "192.0.2.7",
    },
    {
      name: "--iface-can-reach comes after --iface-regex",
      wish: { ifaceRegexes: [/^eth1$/], canReach: parseIp("172.33.5.5") },
      dev: "eth1",
      v4: "198.51.100.7",
    },
    {
      name: "--iface-can-reach an address of our own",
      wish: { canReach: parseIp("172.33.0.8") },
      dev: "eth2",
      v4: "172.33.0.8",
    },
    {
      name: "--public-ip alone finds the interface",
      wish: { publicIp: parseIp("172.33.0.8") },
      dev: "eth2",
      v4: "172.33.0.8",
    },
    {
      name: "dual stack: --iface with an IPv4 address, IPv6 from the same link",
      wish: { ifaces: ["172.33.0.8"], families: BOTH },
      dev: "eth2",
      v4: "172.33.0.8",
      v6: "fd00:33::7",
    },
    {
      name: "dual stack: --iface with an IPv6 address, IPv4 from the same link",
      wish: { ifaces: ["fd00:33::7"], families: BOTH },
      dev: "eth2",
      v4: "172.33.0.7",
      v6: "fd00:33::7",
    },
    {
      name: "dual stack: both public addresses on one interface",
      wish: { publicIp: parseIp("172.33.0.8"), publicIp6: parseIp("fd00:33::7"), families: BOTH },
      dev: "eth2",
      v4: "172.33.0.8",
      v6: "fd00:33::7",
    },
    {
      name: "a public address of a family that is off does not count",
      wish: { publicIp6: parseIp("fd00:33::7") },
      dev: "eth0",
      v4: "192.0.2.7",
    },
  ])("$name", ({ wish, dev, v4, v6 }) => {
    const addresses = { ...(v4 !== undefined && { 4: v4 }), ...(v6 !== undefined && { 6: v6 }) };
    expect(choose(wish)).toMatchObject({ name: dev, addresses, publicIps: addresses });
    expect(Object.keys(choose(wish).addresses)).toEqual(Object.keys(addresses));
  });

  it("advertises --public-ip and still uses the own address behind NAT", () => {
    const chosen = choose({ ifaces: ["eth2"], publicIp: parseIp("203.0.113.50") });
    expect(chosen).toEqual({
      name: "eth2",
      mtu: 1400,
      addresses: { 4: "172.33.0.7" },
      publicIps: { 4: "203.0.113.50" },
    });
  });

  it("hands the routes on, for on-link questions", () => {
    expect(chooseUplink(HOST, { ifaces: [], ifaceRegexes: [], families: [4] }).uplink).toMatchObject({
      index: 2,
      routes: HOST.routes,
    });
  });

  it("does not depend on the order of the facts", () => {
    const shuffled = { interfaces: HOST.interfaces.toReversed(), routes: HOST.routes };
    expect(choose({ ifaceRegexes: [/./] }, shuffled)).toEqual(choose({ ifaceRegexes: [/./] }));
  });
});

describe("addresses in flannel's order", () => {
  const only = (...addresses: readonly InterfaceAddress[]): HostFacts => ({
    interfaces: [iface(2, "eth0", addresses)],
    routes: [],
  });
  it.each([
    {
      name: "global before link-local",
      facts: only(address("169.254.1.1/16"), address("192.0.2.7/24", { dynamic: true })),
      expected: "192.0.2.7",
    },
    {
      name: "link-local if there is nothing else",
      facts: only(address("169.254.1.1/16")),
      expected: "169.254.1.1",
    },
    {
      name: "permanent before dynamic",
      facts: only(address("192.0.2.7/24", { dynamic: true }), address("192.0.2.8/24")),
      expected: "192.0.2.8",
    },
    {
      name: "else as the kernel lists them",
      facts: only(address("192.0.2.9/24"), address("192.0.2.8/24")),
      expected: "192.0.2.9",
    },
    {
      name: "no deprecated one",
      facts: only(address("192.0.2.9/24", { deprecated: true }), address("192.0.2.8/24", { dynamic: true })),
      expected: "192.0.2.8",
    },
    {
      name: "no loopback, multicast or broadcast",
      facts: only(
        address("127.0.0.5/8"),
        address("224.0.0.5/24"),
        address("255.255.255.255/32"),
        address("192.0.2.8/24"),
      ),
      expected: "192.0.2.8",
    },
  ])("$name", ({ facts, expected }) => {
    expect(choose({ ifaces: ["eth0"] }, facts).addresses[4]).toBe(expected);
  });

  it("lasting before temporary, permanent before either (RFC 8981 addresses)", () => {
    const facts = only(
      address("2001:db8::a/64", { dynamic: true, temporary: true }),
      address("2001:db8::b/64", { dynamic: true }),
      address("fe80::1/64"),
      address("2001:db8::c/64"),
    );
    expect(choose({ ifaces: ["eth0"], families: [6] }, facts).addresses[6]).toBe("2001:db8::c");
    const withoutPermanent = only(...facts.interfaces[0]!.addresses.slice(0, 3));
    expect(choose({ ifaces: ["eth0"], families: [6] }, withoutPermanent).addresses[6]).toBe("2001:db8::b");
  });

  it("an address that starts with ff is no multicast unless its first group is ff00 or above", () => {
    expect(choose({ ifaces: ["eth0"], families: [6] }, only(address("ff::7/64"))).addresses[6]).toBe("ff::7");
    expect(() => choose({ ifaces: ["eth0"], families: [6] }, only(address("ff02::7/64")))).toThrow(
      UplinkError,
    );
  });
});

describe("errors say what was tried, what there is, and the cure", () => {
  const noDefault: HostFacts = { interfaces: HOST.interfaces, routes: [] };
  const splitDefault: HostFacts = {
    interfaces: HOST.interfaces,
    routes: [route("0.0.0.0/0", { dev: "eth0" }), route("::/0", { dev: "eth2" })],
  };
  it.each<{ name: string; wish: Partial<UplinkWish>; facts?: HostFacts; message: string }>([
    {
      name: "unknown name",
      wish: { ifaces: ["eth9"] },
      message: "--iface=eth9: there is no interface of this name",
    },
    {
      name: "unknown address",
      wish: { ifaces: ["203.0.113.1"] },
      message: "--iface=203.0.113.1: no interface has this address",
    },
    {
      name: "no address",
      wish: { ifaces: ["eth3"] },
      message: "--iface=eth3: eth3 has no usable IPv4 address",
    },
    {
      name: "one family only",
      wish: { ifaces: ["eth1"], families: BOTH },
      message: "--iface=eth1: eth1 has no usable IPv6 address",
    },
    {
      name: "wrong family",
      wish: { ifaces: ["fd00:33::7"] },
      message: "it is IPv6, but the cluster's configuration has only IPv4",
    },
    {
      name: "regex",
      wish: { ifaceRegexes: [/^wlan/] },
      message: "--iface-regex=^wlan: matches no address and no name",
    },
    {
      name: "every attempt is listed",
      wish: { ifaces: ["a"], ifaceRegexes: [/b/], canReach: parseIp("fd00::1") },
      message:
        "--iface=a: there is no interface of this name; --iface-regex=b: matches no address and no name; --iface-can-reach=fd00::1: it is IPv6",
    },
    {
      name: "no route",
      wish: { canReach: parseIp("203.0.113.1") },
      facts: noDefault,
      message: "--iface-can-reach=203.0.113.1: there is no route to it",
    },
    {
      name: "no default route",
      wish: {},
      facts: noDefault,
      message: "default route: there is no IPv4 default route",
    },
    {
      name: "default routes differ",
      wish: { families: BOTH },
      facts: splitDefault,
      message: "the IPv4 default route leaves by eth0, the IPv6 one by eth2, but both must be the same",
    },
    {
      name: "public IP not local",
      wish: { publicIp: parseIp("203.0.113.50") },
      message:
        "--public-ip=203.0.113.50: no interface has the address 203.0.113.50; behind NAT give --iface=NAME together with the public address",
    },
    {
      name: "public IPs on two interfaces",
      wish: { publicIp: parseIp("192.0.2.7"), publicIp6: parseIp("fd00:33::7"), families: BOTH },
      message: "the IPv4 address is on eth0, the IPv6 address on eth2, but both must be on one interface",
    },
    {
      name: "MTU 0",
      wish: { ifaces: ["odd0"] },
      facts: { interfaces: [iface(2, "odd0", ["192.0.2.7/24"], 0)], routes: [] },
      message: "failed to determine MTU for odd0",
    },
  ])("$name", ({ wish, facts, message }) => {
    expect(() => choose(wish, facts ?? HOST)).toThrow(UplinkError);
    expect(() => choose(wish, facts ?? HOST)).toThrow(message);
  });

  it("lists the interfaces with their addresses", () => {
    expect(() => choose({ ifaces: ["eth9"] })).toThrow(
      "Interfaces here: lo (no usable address), eth0 (192.0.2.7, 2001:db8::7, fe80::2), " +
        "eth1 (198.51.100.7, 169.254.9.9), eth2 (172.33.0.7, 172.33.0.8, fd00:33::7), eth3 (no usable address). " +
        "Name one with --iface=NAME (or its address)",
    );
  });
});
