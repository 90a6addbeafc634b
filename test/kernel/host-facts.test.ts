// The facts of a host as the kernel has them: interfaces, addresses, and routes of others.
import { afterEach, beforeEach, expect, it } from "vitest";
import { isOnLink, lookupRoute } from "../../src/host/uplink.ts";
import { readHostFacts } from "../../src/kernel/host-facts.ts";
import { parseIp } from "../../src/net/ip.ts";
import { createOverlayNode, OWNERSHIP } from "../support/overlay-node.ts";
import type { OverlayNode } from "../support/overlay-node.ts";

let node: OverlayNode;
beforeEach(async () => {
  node = await createOverlayNode();
});
afterEach(() => node.remove());

it("has every interface with its addresses", async () => {
  const { interfaces } = await readHostFacts({ ownership: OWNERSHIP, exec: node.exec });
  const eth0 = interfaces.find(({ name }) => name === "eth0");
  expect(eth0).toMatchObject({ mtu: 1500, up: true });
  const own = { prefixLength: 24, scope: "global", dynamic: false, temporary: false, deprecated: false };
  expect(eth0?.addresses).toContainEqual({ ...own, ip: "192.0.2.1" });
  expect(eth0?.addresses).toContainEqual({ ...own, ip: "2001:db8::1", prefixLength: 64 });
  expect(eth0?.addresses.some(({ scope }) => scope === "link")).toBe(true);
});

it("tells an address with a lifetime and an interface that is down", async () => {
  await node.run(
    "ip address add 192.0.2.9/24 dev eth0 valid_lft 3600 preferred_lft 0",
    "ip link set eth0-peer down",
  );
  const { interfaces } = await readHostFacts({ ownership: OWNERSHIP, exec: node.exec });
  const addresses = interfaces.flatMap((one) => one.addresses);
  expect(addresses.find(({ ip }) => ip === parseIp("192.0.2.9"))).toMatchObject({
    dynamic: true,
    deprecated: true,
  });
  expect(interfaces.find(({ name }) => name === "eth0-peer")?.up).toBe(false);
});

it("has the routes of others in both families, and not ours", async () => {
  await node.run(
    "ip route add default via 192.0.2.254 metric 100",
    "ip -6 route add default via 2001:db8::ff",
    "ip route add 10.244.2.0/24 via 192.0.2.2 proto 250",
    "ip route add 10.244.3.0/24 via 192.0.2.3",
    "ip route add 198.51.100.0/24 via 192.0.2.4 src 192.0.2.1",
  );
  const { routes, interfaces } = await readHostFacts({ ownership: OWNERSHIP, exec: node.exec });
  expect(routes.map(({ dst }) => dst)).not.toContain("10.244.2.0/24");
  expect(routes).toContainEqual({
    dst: "10.244.3.0/24",
    via: "192.0.2.3",
    dev: "eth0",
    metric: 0,
    fromBoot: true,
  });
  expect(routes).toContainEqual({
    dst: "198.51.100.0/24",
    via: "192.0.2.4",
    dev: "eth0",
    src: "192.0.2.1",
    metric: 0,
    fromBoot: true,
  });
  expect(lookupRoute(routes, parseIp("203.0.113.1"))).toMatchObject({ via: "192.0.2.254", metric: 100 });
  expect(lookupRoute(routes, parseIp("2001:db8:9::1"))).toMatchObject({ via: "2001:db8::ff" });
  const index = interfaces.find(({ name }) => name === "eth0")?.index ?? 0;
  const uplink = { name: "eth0", index, mtu: 1500, addresses: {}, routes };
  expect(isOnLink(uplink, parseIp("192.0.2.77"))).toBe(true);
  expect(isOnLink(uplink, parseIp("198.51.100.7"))).toBe(false);
});
