// Devices on the real kernel: what is changed in place, what is made anew, and what is never touched.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { KernelTable } from "../../src/host/kernel-table.ts";
import type { Link, VxlanLink } from "../../src/host/state.ts";
import type { Exec } from "../../src/kernel/exec.ts";
import { createLinksTable } from "../../src/kernel/links.ts";
import { parseIp } from "../../src/net/ip.ts";
import { parseMac } from "../../src/net/mac.ts";
import { createOverlayNode, FLANNEL_1, FLANNEL_V6_1, OWNERSHIP } from "../support/overlay-node.ts";
import type { OverlayNode } from "../support/overlay-node.ts";

let node: OverlayNode;
let links: KernelTable<Link>;
beforeEach(async () => {
  node = await createOverlayNode();
  links = createLinksTable({ ownership: OWNERSHIP, exec: node.exec });
});
afterEach(() => node.remove());

async function indexOf(name: string): Promise<number> {
  const [row] = JSON.parse(await node.run(`ip -j link show ${name}`)) as { ifindex: number }[];
  return row?.ifindex ?? 0;
}

/** `ip -d link` without the counter at the start, wrapped as printed. */
async function show(name: string): Promise<string> {
  return (await node.run(`ip -d link show ${name}`)).replace(/^\d+: /, "");
}

it("creates the device that flannel creates", async () => {
  expect(await links.put([FLANNEL_1])).toEqual([]);
  const shown = await show("flannel.1");
  expect(shown).toContain("flannel.1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450");
  expect(shown).toContain("link/ether 02:00:00:00:00:01");
  expect(shown).toContain(
    "vxlan id 1 local 192.0.2.1 dev eth0 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 udpcsum noudp6zerocsumtx noudp6zerocsumrx addrgenmode",
  );
  expect(shown).toContain("alias flanneld-ts 10.244.0.0/16,fd00:244::/48");
});

it("creates one with learning and GBP on another port", async () => {
  expect(await links.put([{ ...FLANNEL_1, learning: true, gbp: true, port: 4789 }])).toEqual([]);
  const shown = await show("flannel.1");
  expect(shown).toContain("dstport 4789 ttl auto");
  expect(shown).toContain(" gbp ");
});

describe("what ip link set can change", () => {
  const changes: readonly { name: string; wanted: Partial<VxlanLink>; shown: string }[] = [
    { name: "MTU", wanted: { mtu: 1400 }, shown: "mtu 1400" },
    {
      name: "MAC",
      wanted: { mac: parseMac("02:00:00:00:00:77") },
      shown: "link/ether 02:00:00:00:00:77",
    },
  ];
  for (const { name, wanted, shown } of changes) {
    it(`is changed in place: ${name}`, async () => {
      await links.put([FLANNEL_1]);
      const before = await indexOf("flannel.1");
      expect(await links.put([{ ...FLANNEL_1, ...wanted }])).toEqual([]);
      expect(await show("flannel.1")).toContain(shown);
      expect(await indexOf("flannel.1")).toBe(before);
    });
  }

  it("is put back when others changed it: down, alias, MAC and MTU at once", async () => {
    await links.put([FLANNEL_1]);
    const before = await indexOf("flannel.1");
    await node.run(
      "ip link set flannel.1 down",
      "ip link set flannel.1 alias stranger address 02:00:00:00:00:99 mtu 1300",
    );
    const [actual] = await links.list();
    expect(actual && links.equal(actual, FLANNEL_1)).toBe(false);
    expect(await links.put([FLANNEL_1])).toEqual([]);
    const [repaired] = await links.list();
    expect(repaired && links.equal(repaired, FLANNEL_1)).toBe(true);
    expect(await indexOf("flannel.1")).toBe(before);
  });
});

describe("what it cannot change", () => {
  const changes: readonly { name: string; wanted: Partial<VxlanLink> }[] = [
    { name: "VNI", wanted: { vni: 2 } },
    { name: "port", wanted: { port: 4789 } },
    { name: "local address", wanted: { local: parseIp("192.0.2.7") } },
    { name: "uplink", wanted: { uplink: "eth0-peer" } },
    { name: "learning", wanted: { learning: true } },
    { name: "GBP", wanted: { gbp: true } },
  ];
  for (const { name, wanted } of changes) {
    it(`makes the device anew: ${name}`, async () => {
      await links.put([FLANNEL_1]);
      const before = await indexOf("flannel.1");
      const [actual] = await links.list();
      const desired = { ...FLANNEL_1, ...wanted };
      expect(actual && links.equal(actual, desired)).toBe(false);
      expect(await links.put([desired])).toEqual([]);
      expect(await indexOf("flannel.1")).not.toBe(before);
      const [now] = await links.list();
      expect(now && links.equal(now, desired)).toBe(true);
    });
  }

  it("makes a device with a multicast group anew, which flannel never sets", async () => {
    await node.run("ip link add flannel.1 type vxlan id 1 group 239.1.1.1 dev eth0 dstport 8472");
    expect(await links.put([FLANNEL_1])).toEqual([]);
    expect(await show("flannel.1")).not.toContain("group 239");
  });
});

it("adopts the device of a Go flannel as it is, and only names it", async () => {
  await node.run(
    "ip link add flannel.1 address 02:00:00:00:00:01 mtu 1450 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning",
    "ip link set flannel.1 up",
  );
  const before = await indexOf("flannel.1");
  expect((await links.list()).map((link) => link.name)).toEqual(["flannel.1"]);
  expect(await links.put([FLANNEL_1])).toEqual([]);
  expect(await indexOf("flannel.1")).toBe(before);
  expect(await show("flannel.1")).toContain("alias flanneld-ts");
});

it("refuses a device of the wanted name that is no vxlan, says the cure, and does the others", async () => {
  await node.run("ip link add flannel.1 type bridge");
  const before = await indexOf("flannel.1");
  const failures = await links.put([FLANNEL_1, FLANNEL_V6_1]);
  expect(failures).toEqual([
    {
      key: "flannel.1",
      reason:
        "a device of this name exists already and is a bridge: rename or delete it, or choose another VNI",
    },
  ]);
  expect(await links.list()).toHaveLength(1);
  expect(await indexOf("flannel.1")).toBe(before);
});

it("removes a device of ours under whatever name, since it bears our alias", async () => {
  await links.put([FLANNEL_1]);
  await node.run("ip link set flannel.1 down", "ip link set flannel.1 name renamed0");
  const listed = await links.list();
  expect(listed.map((link) => link.name)).toEqual(["renamed0"]);
  await links.remove(listed);
  expect(await links.list()).toEqual([]);
});

it("gets the MTU that the kernel allows over IPv6, where flannel asks for too much", async () => {
  expect(await links.put([FLANNEL_V6_1])).toEqual([]);
  expect(await show("flannel-v6.1")).toContain("mtu 1430");
  const [actual] = await links.list();
  expect(actual && links.equal(actual, FLANNEL_V6_1)).toBe(true);
});

it("says who may be at work when the MAC does not stay", async () => {
  const meddling: Exec = async (command, args, options) => {
    const result = await node.exec(command, args, options);
    if (args.includes("-batch")) await node.run("ip link set flannel.1 address 02:00:00:00:00:99");
    return result;
  };
  const failures = await createLinksTable({ ownership: OWNERSHIP, exec: meddling }).put([FLANNEL_1]);
  expect(failures).toHaveLength(1);
  expect(failures[0]?.reason).toContain("MAC address is 02:00:00:00:00:99, wanted 02:00:00:00:00:01");
  expect(failures[0]?.reason).toContain("MACAddressPolicy=none");
});
