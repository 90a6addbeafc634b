// The 23 cases of flannel's own CNI plugin tests, through the built executable.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildCniPlugin } from "../../scripts/build-cni-plugin.ts";
import { exec } from "../../src/kernel/exec.ts";
import { CNI_EXECUTABLE, CniNode, SUBNET_ENV } from "../support/cni.ts";
import type { Json } from "../support/cni.ts";

beforeAll(() => buildCniPlugin());

let node: CniNode;
beforeEach(async () => {
  node = await CniNode.create();
});
afterEach(async () => {
  await node.remove();
});

type Stack = keyof typeof SUBNET_ENV;

const ROUTES: Readonly<Record<Stack, readonly Json[]>> = {
  ipv4: [{ dst: "10.1.0.0/16" }],
  twoNetworks: [{ dst: "10.1.0.0/16" }, { dst: "192.168.0.0/16" }],
  ipv6: [{ dst: "fc00::/48" }],
  dual: [{ dst: "10.1.0.0/16" }, { dst: "fc00::/48" }],
};
const RANGES: Readonly<Record<Stack, readonly unknown[]>> = {
  ipv4: [[{ subnet: "10.1.17.0/24" }]],
  twoNetworks: [[{ subnet: "10.1.17.0/24" }]],
  ipv6: [[{ subnet: "fc00::/64" }]],
  dual: [[{ subnet: "10.1.17.0/24" }], [{ subnet: "fc00::/64" }]],
};

describe("CNI lifecycle", () => {
  const cases: readonly (readonly [number, Stack, number])[] = [
    [1, "ipv4", 1],
    [2, "twoNetworks", 1],
    [3, "ipv6", 1],
    [4, "dual", 2],
  ];
  for (const [number, stack, addressCount] of cases) {
    test(`upstream case ${number}: uses dataDir for storing network configuration, ${stack}`, async () => {
      writeFileSync(node.subnetFile, SUBNET_ENV[stack]);
      const pod = await node.addPod();
      const containerId = `some-container-id-${stack}`;
      // As upstream's, this configuration names no version.
      const { cniVersion: _, ...conf } = node.conf();
      const call = { containerId, netns: pod.path };

      // Without a version the result would have the shape of 0.2.0, which has one address per family.
      const result = await node.succeed(conf, call);
      const shape = result as { ip4?: unknown; ip6?: unknown };
      expect([shape.ip4, shape.ip6].filter((family) => family !== undefined)).toHaveLength(addressCount);

      expect(JSON.parse(node.stateText(containerId))).toEqual({
        ipMasq: false,
        ipam: {
          dataDir: path.join(node.directory, "ipam"),
          routes: ROUTES[stack],
          ranges: RANGES[stack],
          type: "host-local",
        },
        isGateway: true,
        mtu: 1472,
        name: "cni-flannel",
        type: "bridge",
      });

      await node.succeed(conf, { verb: "DEL", ...call });
      expect(node.stateFiles()).toEqual([]);
      await node.succeed(conf, { verb: "DEL", ...call });
    });
  }
});

/** Calls ADD with a bridge that only writes down what it gets. */
async function renderedFor(conf: Json): Promise<Json> {
  const seen = path.join(node.directory, "seen");
  const cniPath = node.fakePlugin("bridge", `printf %s "$CONF" > ${seen}; echo '{"cniVersion":"1.0.0"}'`);
  for (const ipam of ["host-local", "my-ipam"]) node.fakePlugin(ipam, "exit 0");
  await node.succeed(conf, { netns: "/proc/self/ns/net", cniPath });
  return JSON.parse(readFileSync(seen, "utf8")) as Json;
}

describe("network configuration", () => {
  const given: readonly (readonly [number, Stack])[] = [
    [5, "ipv4"],
    [6, "ipv6"],
    [7, "dual"],
  ];
  for (const [number, stack] of given) {
    test(`upstream case ${number}: subnetFile and dataDir are specified, ${stack}`, async () => {
      writeFileSync(node.subnetFile, SUBNET_ENV[stack]);
      const rendered = await renderedFor(node.conf());
      expect(rendered).toMatchObject({ name: "cni-flannel", type: "bridge", mtu: 1472 });
      expect(JSON.parse(node.stateText("container-1"))).toEqual(rendered);
    });
  }

  const defaulted: readonly (readonly [number, Stack])[] = [
    [8, "ipv4"],
    [9, "ipv6"],
    [10, "dual"],
  ];
  for (const [number, stack] of defaulted) {
    test(`upstream case ${number}: subnetFile and dataDir have defaults, ${stack}`, async () => {
      writeFileSync(node.subnetFile, SUBNET_ENV[stack]);
      const cniPath = node.fakePlugin("bridge", `echo '{"cniVersion":"1.0.0"}'`);
      node.fakePlugin("host-local", "exit 0");
      // A mount namespace of its own, so that the machine's /run/flannel and /var/lib/cni stay as they are.
      const script = `set -e
        mount -t tmpfs none /run; mount -t tmpfs none /var/lib
        mkdir /run/flannel
        cp ${node.subnetFile} /run/flannel/subnet.env
        ${CNI_EXECUTABLE} >&2
        cat /var/lib/cni/flannel/pod`;
      const result = await exec("unshare", ["--mount", "sh", "-c", script], {
        input: JSON.stringify({ name: "cni-flannel", type: "flannel" }),
        env: {
          CNI_COMMAND: "ADD",
          CNI_CONTAINERID: "pod",
          CNI_NETNS: "/proc/self/ns/net",
          CNI_IFNAME: "eth0",
          CNI_PATH: cniPath,
        },
      });
      expect(JSON.parse(result.stdout)).toMatchObject({
        name: "cni-flannel",
        type: "bridge",
        ipam: { ranges: RANGES[stack], routes: ROUTES[stack], type: "host-local" },
      });
    });
  }
});

describe("subnet file", () => {
  const valid: readonly (readonly [number, Stack])[] = [
    [11, "ipv4"],
    [12, "ipv6"],
    [13, "dual"],
  ];
  for (const [number, stack] of valid) {
    test(`upstream case ${number}: flannel subnet env is valid, ${stack}`, async () => {
      writeFileSync(node.subnetFile, SUBNET_ENV[stack]);
      expect(await renderedFor(node.conf())).toMatchObject({
        mtu: 1472,
        ipMasq: false,
        ipam: { ranges: RANGES[stack], routes: ROUTES[stack] },
      });
    });
  }

  for (const [number, stack] of [
    [14, "ipv4"],
    [15, "ipv6"],
    [16, "dual"],
  ] as const) {
    test(`upstream case ${number}: flannel subnet env is invalid, ${stack}`, async () => {
      writeFileSync(node.subnetFile, "foo=bar");
      const { exitCode, json } = await node.call(node.conf(), { netns: "/proc/self/ns/net" });
      expect(exitCode).toBe(1);
      expect(json?.msg).toContain(
        `failed to load flannel 'subnet.env' file: ${node.subnetFile} is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, ` +
          "FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ. Check the flannel pod log for this node.",
      );
      expect(node.stateFiles()).toEqual([]);
    });
  }
});

describe("ipam of the delegate", () => {
  const inputRoutes = [{ dst: "10.96.0.0/12" }, { dst: "192.168.244.0/24", gw: "10.1.17.20" }];
  const ipamOf = async (ipam: Json): Promise<unknown> => {
    const { ipam: _, ...conf } = node.conf();
    return (await renderedFor({ ...conf, ipam }))["ipam"];
  };

  const merges: readonly (readonly [number, Stack, string | undefined])[] = [
    [17, "ipv4", "my-ipam"],
    [19, "ipv6", "my-ipam"],
    [20, "dual", "my-ipam"],
    [21, "ipv4", undefined],
    [22, "ipv6", undefined],
    [23, "dual", undefined],
  ];
  for (const [number, stack, type] of merges) {
    test(`upstream case ${number}: input ipam ${type === undefined ? "without type " : ""}is merged, ${stack}`, async () => {
      writeFileSync(node.subnetFile, SUBNET_ENV[stack]);
      const ipam = { "unknown-param": "unknown-value", routes: inputRoutes, ...(type && { type }) };
      expect(await ipamOf(ipam)).toEqual({
        ...ipam,
        type: type ?? "host-local",
        ranges: RANGES[stack],
        routes: [...inputRoutes, ...ROUTES[stack]],
      });
    });
  }

  test("upstream case 18: two networks give two routes, ipv4", async () => {
    writeFileSync(node.subnetFile, SUBNET_ENV.twoNetworks);
    expect(await ipamOf({ type: "host-local", routes: [] })).toEqual({
      type: "host-local",
      ranges: RANGES.twoNetworks,
      routes: ROUTES.twoNetworks,
    });
  });
});
