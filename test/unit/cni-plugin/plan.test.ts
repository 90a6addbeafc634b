// The delegate gets what flannel would give it.
import { describe, expect, test } from "vitest";
import { formatCanonicalJson } from "../../../cni-plugin/canonical-json.ts";
import { parseNetConf } from "../../../cni-plugin/config.ts";
import { parseStoredConfig, planCheckConfig, planDelegateConfig } from "../../../cni-plugin/plan.ts";
import { parseSubnetFileForPlugin } from "../../../src/ipam/subnet-file-codec.ts";

const IPV4 =
  "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";
const DUAL =
  "FLANNEL_NETWORK=10.1.0.0/16,192.168.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\n" +
  "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";

const plan = (conf: object, subnetEnv = IPV4) =>
  planDelegateConfig(
    parseNetConf({ name: "cni-flannel", type: "flannel", ...conf }, "ADD"),
    parseSubnetFileForPlugin(subnetEnv, "subnet.env"),
  );

const IPAM4 = '{"ranges":[[{"subnet":"10.1.17.0/24"}]],"routes":[{"dst":"10.1.0.0/16"}],"type":"host-local"}';

/** The texts were rendered by the rules of flannel's plugin with libcni 1.3 in Go. */
const CASES: readonly { name: string; conf: object; subnetEnv?: string; expected: string }[] = [
  {
    name: "nothing given",
    conf: {},
    expected: `{"ipMasq":false,"ipam":${IPAM4},"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}`,
  },
  {
    name: "kube-flannel's manifest",
    conf: { cniVersion: "0.3.1", delegate: { hairpinMode: true, isDefaultGateway: true } },
    expected: `{"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":${IPAM4},"isDefaultGateway":true,"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}`,
  },
  {
    name: "the delegate's own ipMasq, mtu and isGateway stay, also when they are null",
    conf: { delegate: { ipMasq: null, mtu: 9000, isGateway: false } },
    expected: `{"ipMasq":null,"ipam":${IPAM4},"isGateway":false,"mtu":9000,"name":"cni-flannel","type":"bridge"}`,
  },
  {
    name: "isGateway is bridge's alone",
    conf: { delegate: { type: "ipvlan", master: "eth0" } },
    expected: `{"ipMasq":false,"ipam":${IPAM4},"master":"eth0","mtu":1472,"name":"cni-flannel","type":"ipvlan"}`,
  },
  {
    name: "cniVersion replaces the delegate's",
    conf: { cniVersion: "1.0.0", delegate: { cniVersion: "0.4.0" } },
    expected: `{"cniVersion":"1.0.0","ipMasq":false,"ipam":${IPAM4},"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}`,
  },
  {
    name: "without cniVersion the delegate's stays",
    conf: { delegate: { cniVersion: "0.4.0" } },
    expected: `{"cniVersion":"0.4.0","ipMasq":false,"ipam":${IPAM4},"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}`,
  },
  {
    name: "runtimeConfig replaces the delegate's",
    conf: { runtimeConfig: { portMappings: [{ HostPort: 80 }] }, delegate: { runtimeConfig: { x: 1 } } },
    expected: `{"ipMasq":false,"ipam":${IPAM4},"isGateway":true,"mtu":1472,"name":"cni-flannel","runtimeConfig":{"portMappings":[{"HostPort":80}]},"type":"bridge"}`,
  },
  {
    name: "prevResult is not passed on",
    conf: { prevResult: { ips: [] } },
    expected: `{"ipMasq":false,"ipam":${IPAM4},"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}`,
  },
  {
    name: "dual stack, two networks, a daemon that does not masquerade",
    conf: {},
    subnetEnv: DUAL,
    expected:
      '{"ipMasq":true,"ipam":{"ranges":[[{"subnet":"10.1.17.0/24"}],[{"subnet":"fc00::/64"}]],' +
      '"routes":[{"dst":"10.1.0.0/16"},{"dst":"192.168.0.0/16"},{"dst":"fc00::/48"}],"type":"host-local"},' +
      '"isGateway":true,"mtu":1450,"name":"cni-flannel","type":"bridge"}',
  },
  {
    name: "ipam: ranges are replaced, the rest stays, routes are normalized as libcni does",
    conf: {
      ipam: {
        type: "my-ipam",
        subnet: "9.9.9.0/24",
        ranges: [[{ subnet: "1.2.3.0/24" }]],
        routes: [
          { DST: "192.168.244.7/24", gw: "10.1.17.20", unknown: 1 },
          { dst: "FC00::0:1/48", gw: "FE80::1", mtu: 0, table: null },
          { dst: "0.0.0.0/0", gw: "", priority: 5, table: 0 },
        ],
      },
    },
    expected:
      '{"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.1.17.0/24"}]],"routes":[{"dst":"192.168.244.7/24","gw":"10.1.17.20"},' +
      '{"dst":"fc00::1/48","gw":"fe80::1"},{"dst":"0.0.0.0/0","priority":5,"table":0},{"dst":"10.1.0.0/16"}],' +
      '"subnet":"9.9.9.0/24","type":"my-ipam"},"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}',
  },
  {
    name: "routes null and empty",
    conf: { ipam: { routes: null } },
    expected: `{"ipMasq":false,"ipam":${IPAM4},"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}`,
  },
];

describe("the delegate's configuration", () => {
  for (const { name, conf, subnetEnv, expected } of CASES) {
    test(name, () => expect(formatCanonicalJson(plan(conf, subnetEnv))).toBe(expected));
  }
});

describe("CHECK hands over routes as the plugins programmed them", () => {
  const stored = { type: "bridge", name: "n", cniVersion: "1.0.0" };
  const routesFor = (prevResult: object) => {
    const config = planCheckConfig(stored, "1.1.0", prevResult as never);
    return (config["prevResult"] as { routes?: unknown }).routes;
  };
  const ips = [
    { address: "10.1.17.2/24", gateway: "10.1.17.1" },
    { address: "fc00::2/64", gateway: "fc00::1" },
  ];

  test("via the gateway of the address of the same family", () => {
    expect(routesFor({ ips, routes: [{ dst: "10.1.0.0/16" }, { dst: "fc00::/48" }] })).toEqual([
      { dst: "10.1.0.0/16", gw: "10.1.17.1" },
      { dst: "fc00::/48", gw: "fc00::1" },
    ]);
  });
  test("a route with a gateway keeps it", () => {
    expect(routesFor({ ips, routes: [{ dst: "0.0.0.0/0", gw: "10.1.17.9" }] })).toEqual([
      { dst: "0.0.0.0/0", gw: "10.1.17.9" },
    ]);
  });
  test("without a gateway of the family it stays without", () => {
    expect(routesFor({ ips: [{ address: "10.1.17.2/24" }], routes: [{ dst: "10.1.0.0/16" }] })).toEqual([
      { dst: "10.1.0.0/16" },
    ]);
  });
  test("a result without routes stays without", () => {
    expect(routesFor({ ips })).toBeUndefined();
  });
  test("the version is the request's", () => {
    expect(planCheckConfig(stored, "1.1.0", {})).toMatchObject({ cniVersion: "1.1.0", type: "bridge" });
  });
});

test("a stored configuration is usable if it is an object with a type", () => {
  expect(parseStoredConfig('{"type":"bridge"}')).toEqual({ type: "bridge" });
  for (const text of ["", "{", "null", "[]", "{}", '{"type":1}', '{"type":""}']) {
    expect(parseStoredConfig(text)).toBeUndefined();
  }
});
