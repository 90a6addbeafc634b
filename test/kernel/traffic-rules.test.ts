// The blackhole of the own subnet beside the bridge's connected route: it must never take the pods' place.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { planBlackhole } from "../../src/backends/traffic-rules.ts";
import { ownershipOf } from "../../src/host/ownership.ts";
import { createRoutesTable } from "../../src/kernel/routes.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import type { Family } from "../../src/net/ip.ts";
import { createNamespace } from "../support/netns.ts";
import type { TestNamespace } from "../support/netns.ts";

const ADDRESSES: Readonly<Record<Family, { network: string; subnet: string; bridge: string; pod: string }>> =
  {
    4: { network: "10.244.0.0/16", subnet: "10.244.1.0/24", bridge: "10.244.1.1/24", pod: "10.244.1.7" },
    6: {
      network: "fd00:10:244::/56",
      subnet: "fd00:10:244:1::/64",
      bridge: "fd00:10:244:1::1/64",
      pod: "fd00:10:244:1::7",
    },
  };

describe.each([4, 6] as const)("IPv%d", (family) => {
  const { network, subnet, bridge, pod } = ADDRESSES[family];
  const blackhole = planBlackhole([parseCidr(subnet)]);
  let namespace: TestNamespace;

  beforeEach(async () => {
    namespace = await createNamespace("fts-bh");
    await ip("link add cni0 type bridge");
    await ip("link set cni0 up");
  });
  afterEach(() => namespace.remove());

  const ip = (args: string) => namespace.exec("ip", args.split(" "), { allowFailure: true });
  const addBridgeAddress = () => ip(`address add ${bridge} dev cni0${family === 6 ? " nodad" : ""}`);
  const routeToPod = async (): Promise<string> => (await ip(`-${family} route get ${pod}`)).stdout;
  const table = () =>
    createRoutesTable({ ownership: ownershipOf([parseCidr(network)], []), exec: namespace.exec });

  test("put before the bridge has its address, it lets go when it gets one", async () => {
    expect(await table().put(blackhole)).toEqual([]);
    expect(await routeToPod()).not.toContain("dev cni0");
    await addBridgeAddress();
    expect(await routeToPod()).toContain("dev cni0");
  });

  test("put after the bridge has its address, it does not replace that route, and is known when listed", async () => {
    await addBridgeAddress();
    expect(await table().put(blackhole)).toEqual([]);
    expect(await routeToPod()).toContain("dev cni0");
    const [actual] = await table().list();
    expect(actual !== undefined && table().equal(actual, blackhole[0]!)).toBe(true);
    await ip("link set cni0 down");
    expect((await ip(`-${family} route show`)).stdout).toContain("blackhole");
    expect(await table().remove(await table().list())).toEqual([]);
    expect(await table().list()).toEqual([]);
  });

  test("one of ours without a metric is not taken for it", async () => {
    await ip(`route add blackhole ${subnet} proto 250`);
    const [actual] = await table().list();
    expect(actual !== undefined && table().equal(actual, blackhole[0]!)).toBe(false);
  });
});
