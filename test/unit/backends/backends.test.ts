// Rules of the backends that golden files do not show: bad peers, options, attributes, MTU.
import { describe, expect, test } from "vitest";
import { createBackend } from "../../../src/backends/registry.ts";
import type { Lease } from "../../../src/ipam/lease.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import {
  backendInput,
  dualStackConfig,
  lease,
  networkConfig,
  NODE,
  UPLINK,
} from "../../support/backend-inputs.ts";

function planOne(type: string, peer: Lease, options: Record<string, unknown> = {}) {
  const config = networkConfig(type, options);
  return createBackend(config).plan(backendInput(config, [peer]));
}

describe("peers that cannot be right are named with the cure and never programmed", () => {
  const cases: { name: string; peer: Lease; how: string; problem: RegExp }[] = [
    {
      name: "another backend",
      peer: lease(2, "host-gw"),
      how: "ignored",
      problem: /give all nodes one Backend\.Type/,
    },
    {
      name: "the default route as a subnet",
      peer: lease(2, "vxlan", { subnet: parseCidr("0.0.0.0/0") }),
      how: "ignored",
      problem: /outside the network 10\.244\.0\.0\/16/,
    },
    {
      name: "a subnet that covers ours",
      peer: lease(2, "vxlan", { subnet: parseCidr("10.244.0.0/22") }),
      how: "ignored",
      problem: /overlaps this node's own 10\.244\.1\.0\/24/,
    },
    {
      name: "our public IP",
      peer: lease(2, "vxlan", { publicIp: parseIp("192.0.2.1") }),
      how: "ignored",
      problem: /own public IP/,
    },
    ...["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1"].map((ip) => ({
      name: `public IP ${ip}`,
      peer: lease(2, "vxlan", { publicIp: parseIp(ip) }),
      how: "ignored",
      problem: /no packet can be sent to its public IP/,
    })),
    {
      name: "no data",
      peer: lease(2, "vxlan", { backendData: undefined }),
      how: "unreachable",
      problem: /no BackendData/,
    },
    {
      name: "null data",
      peer: lease(2, "vxlan", { backendData: null }),
      how: "unreachable",
      problem: /no BackendData/,
    },
    {
      name: "a text for a VNI",
      peer: lease(2, "vxlan", { backendData: { VNI: "1", VtepMAC: "0a:00:00:00:00:02" } }),
      how: "unreachable",
      problem: /no usable VNI/,
    },
    {
      name: "a shell command for a MAC",
      peer: lease(2, "vxlan", { backendData: { VNI: 1, VtepMAC: "$(reboot)" } }),
      how: "unreachable",
      problem: /no usable VtepMAC/,
    },
    {
      name: "a multicast MAC",
      peer: lease(2, "vxlan", { backendData: { VNI: 1, VtepMAC: "01:00:5e:00:00:02" } }),
      how: "unreachable",
      problem: /no usable VtepMAC/,
    },
    {
      name: "another VNI",
      peer: lease(2, "vxlan", { backendData: { VNI: 2, VtepMAC: "0a:00:00:00:00:02" } }),
      how: "unreachable",
      problem: /its VNI is 2, ours 1/,
    },
    {
      name: "our MAC",
      peer: lease(2, "vxlan", { backendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:01" } }),
      how: "unreachable",
      problem: /also that of this node/,
    },
    {
      name: "no IPv6 public IP where IPv6 is on is not asked of an IPv4-only lease",
      peer: lease(2, "vxlan"),
      how: "vxlan",
      problem: /^$/,
    },
  ];
  test.each(cases)("$name", ({ peer, how, problem }) => {
    const { state, reach } = planOne("vxlan", peer);
    expect(reach).toHaveLength(1);
    expect(reach[0]?.how).toBe(how);
    expect(reach[0]?.problem ?? "").toMatch(problem);
    if (how !== "vxlan") expect([...state.routes, ...state.neighbors, ...state.fdb]).toEqual([]);
  });

  test("one MAC at two public IPs: the first by subnet is kept, the other named", () => {
    const config = networkConfig("vxlan");
    const clone = lease(3, "vxlan", { backendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:02" } });
    const { state, reach } = createBackend(config).plan(backendInput(config, [clone, lease(2, "vxlan")]));
    expect(state.fdb).toHaveLength(1);
    expect(state.routes.map(({ dst }) => dst)).toEqual(["10.244.2.0/24"]);
    expect(reach.find(({ subnetKey }) => subnetKey === "10.244.3.0/24")?.problem).toMatch(/cloned machine/);
  });

  test("two leases for one subnet do not both get a route", () => {
    const config = networkConfig("host-gw");
    const twin = lease(3, "host-gw", {
      subnet: parseCidr("10.244.2.0/24"),
      subnet6: parseCidr("fd00:5:0:2::/64"),
    });
    const { state } = createBackend(config).plan(backendInput(config, [lease(2, "host-gw"), twin]));
    expect(state.routes).toHaveLength(1);
  });

  // Found end to end: a lease of an odd length with a lower subnet took the place of a node that everybody talked to.
  test("a lease of another length than SubnetLen loses the MAC to one of the right length", () => {
    const config = networkConfig("vxlan");
    const thief = lease(3, "vxlan", {
      subnet: parseCidr("10.244.0.32/28"),
      backendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:02" },
    });
    const { state, reach } = createBackend(config).plan(backendInput(config, [thief, lease(2, "vxlan")]));
    expect(state.fdb).toEqual([{ dev: "flannel.1", mac: "0a:00:00:00:00:02", remote: "192.0.2.2" }]);
    expect(reach.find(({ subnetKey }) => subnetKey === "10.244.0.32/28")?.problem).toMatch(/cloned machine/);
  });

  test.each(["10.244.2.128/25", "10.244.2.0/25", "10.244.2.0/23", "10.244.128.0/17"])(
    "a lease whose subnet %s shares addresses with those of nodes is named and gets no route",
    (subnet) => {
      const config = networkConfig("host-gw");
      const greedy = lease(9, "host-gw", { subnet: parseCidr(subnet) });
      const peers = [greedy, lease(2, "host-gw"), lease(130, "host-gw")];
      const { state, reach } = createBackend(config).plan(backendInput(config, peers));
      expect(state.routes.map(({ dst }) => dst)).toEqual(["10.244.130.0/24", "10.244.2.0/24"]);
      expect(reach.find(({ subnetKey }) => subnetKey === subnet)).toMatchObject({
        how: "ignored",
        problem: expect.stringMatching(/overlaps 10\.244\.(2|130)\.0\/24 of 192\.0\.2\.(2|130)/) as string,
      });
    },
  );

  test("a host-gw peer behind a router is named with the cure", () => {
    const { state, reach } = planOne("host-gw", lease(2, "host-gw", { publicIp: parseIp("203.0.113.9") }));
    expect(state.routes).toEqual([]);
    expect(reach[0]).toMatchObject({ how: "unreachable" });
    expect(reach[0]?.problem).toMatch(/not on the link of eth0.*DirectRouting/);
  });

  test("on-link follows the longest prefix: a host route through a gateway is not on-link", () => {
    const uplink = {
      ...UPLINK,
      routes: [
        ...UPLINK.routes,
        { dst: parseCidr("192.0.2.7/32"), via: parseIp("192.0.2.254"), dev: "eth0", metric: 0 },
      ],
    };
    const config = networkConfig("host-gw");
    const { reach } = createBackend(config).plan(
      backendInput(config, [lease(7, "host-gw"), lease(8, "host-gw")], { ...NODE, uplink }),
    );
    expect(reach.map(({ how }) => how).toSorted()).toEqual(["direct", "unreachable"]);
  });
});

describe("options", () => {
  const wrong = [
    { options: { VNI: 2 ** 24 }, message: /VNI.*16777215/ },
    { options: { VNI: "1" }, message: /VNI/ },
    { options: { Port: 70_000 }, message: /Port.*65535/ },
    { options: { DirectRouting: "yes" }, message: /DirectRouting.*true or false/ },
  ];
  test.each(wrong)("vxlan refuses $options", ({ options, message }) => {
    expect(() => createBackend(networkConfig("vxlan", options))).toThrow(message);
  });

  test("an unknown backend names those there are", () => {
    expect(() => createBackend(networkConfig("constructor"))).toThrow(
      /unknown backend type: constructor.*vxlan, host-gw/,
    );
  });
});

describe("attributes", () => {
  test("vxlan publishes flannel's text, keys in flannel's order", () => {
    const backend = createBackend(networkConfig("vxlan"));
    expect(JSON.stringify(backend.attributes(NODE))).toBe(
      '{"backendType":"vxlan","backendData":{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"}}',
    );
  });

  test("an own lease gives its MACs back", () => {
    const backend = createBackend(dualStackConfig("vxlan"));
    expect(backend.publishedMacs(lease(1, "vxlan"))).toEqual({ 4: "0a:00:00:00:00:01" });
  });

  test("host-gw behind NAT is refused with flannel's words", () => {
    const backend = createBackend(networkConfig("host-gw"));
    expect(() => backend.attributes({ ...NODE, publicIps: { 4: parseIp("198.51.100.7") } })).toThrow(
      /your PublicIP differs from interface IP, meaning that probably you're on a NAT, which is not supported by host-gw backend/,
    );
  });

  test("pod MTU: the uplink's less the overhead of the widest family", () => {
    expect(createBackend(networkConfig("vxlan")).podMtu(UPLINK)).toBe(1450);
    expect(createBackend(dualStackConfig("vxlan")).podMtu(UPLINK)).toBe(1430);
    expect(createBackend(networkConfig("vxlan", { MTU: 1400 })).podMtu(UPLINK)).toBe(1350);
    expect(createBackend(networkConfig("host-gw")).podMtu(UPLINK)).toBe(1500);
  });
});
