// Every kernel table keeps the contract on the real kernel.
import { afterEach, beforeEach, describe } from "vitest";
import type { Address, FdbEntry, Neighbor, Route } from "../../src/host/state.ts";
import { createNetTables } from "../../src/kernel/tables.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import type { Family } from "../../src/net/ip.ts";
import { parseIp } from "../../src/net/ip.ts";
import { parseMac } from "../../src/net/mac.ts";
import { itIsAKernelTable } from "../support/kernel-table-compliance.ts";
import { createOverlayNode, FLANNEL_1, FLANNEL_V6_1, OWNERSHIP } from "../support/overlay-node.ts";
import type { OverlayNode } from "../support/overlay-node.ts";

let node: OverlayNode;
beforeEach(async () => {
  node = await createOverlayNode();
});
afterEach(() => node.remove());

/** The devices that other tables' rows need, with a global address each, since a device without one drops its rows. */
async function withDevices() {
  const tables = createNetTables({ ownership: OWNERSHIP, exec: node.exec, sysctlFiles: node.sysctlFiles });
  await tables.links.put([FLANNEL_1, FLANNEL_V6_1]);
  return tables;
}

const NAMES = { 4: "IPv4", 6: "IPv6" } as const;
const DEVICE: Record<Family, string> = { 4: "flannel.1", 6: "flannel-v6.1" };
const REMOTE = { 4: parseIp("192.0.2.2"), 6: parseIp("2001:db8::2") };
const OTHER_REMOTE = { 4: parseIp("192.0.2.3"), 6: parseIp("2001:db8::3") };

/** The nth peer's subnet base, in our networks. */
function baseOf(family: Family, n: number) {
  return family === 4
    ? parseIp(`10.244.${128 + (n >> 6)}.${(n & 63) * 4}`)
    : parseIp(`fd00:244:0:${(n + 1).toString(16)}::`);
}

function macOf(n: number) {
  return parseMac(
    `02:00:00:01:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`,
  );
}

describe("links", () => {
  itIsAKernelTable(async () => {
    const { links } = createNetTables({ ownership: OWNERSHIP, exec: node.exec });
    return {
      table: links,
      rows: [FLANNEL_1, FLANNEL_V6_1],
      changed: { ...FLANNEL_1, mtu: 1400, mac: macOf(9) },
      bad: { ...FLANNEL_1, name: "flannel.7", vni: 7, uplink: "nosuch0" },
      foreign: {
        add: () =>
          node.run(
            "ip link add vxlan9 type vxlan id 9 dev eth0 dstport 4789",
            "ip link add br0 type bridge",
            "ip link set br0 alias somebody",
          ),
        show: () => node.run("ip -d link show vxlan9", "ip -d link show br0"),
      },
    };
  });
});

for (const family of [4, 6] as const) {
  const dev = DEVICE[family];
  const length = family === 4 ? 30 : 64;

  describe(`addresses, ${NAMES[family]}`, () => {
    itIsAKernelTable<Address>(async () => {
      const { addresses } = await withDevices();
      const row = (n: number): Address => ({
        dev,
        ip: baseOf(family, n),
        prefixLength: family === 4 ? 32 : 128,
      });
      return {
        table: addresses,
        rows: [row(1), row(2), row(3)],
        bad: { ...row(4), dev: "nosuch0" },
        foreign: {
          // On our device an IPv4 address of another network, on the uplink one of ours.
          add: () =>
            node.run(
              "ip address add 198.51.100.1/24 dev flannel.1",
              "ip address add 10.244.7.1/24 dev eth0",
              "ip address add fd00:244:0:7::1/64 dev eth0 nodad",
              "ip address add fe80::7/64 dev flannel-v6.1 nodad",
            ),
          show: () =>
            node.run(
              "ip -4 -o address show dev eth0",
              "ip -o address show to 198.51.100.1",
              "ip -o address show to fe80::7",
              "ip -o address show to fd00:244:0:7::1",
            ),
        },
      };
    });
  });

  describe(`routes, ${NAMES[family]}`, () => {
    itIsAKernelTable<Route>(async () => {
      const { routes, addresses } = await withDevices();
      await addresses.put([{ dev, ip: baseOf(family, 1000), prefixLength: family === 4 ? 32 : 128 }]);
      const dst = (n: number) => parseCidr(`${baseOf(family, n)}/${length}`);
      const overlay = (n: number): Route => ({
        dst: dst(n),
        type: "unicast",
        via: baseOf(family, n),
        dev,
        onlink: true,
      });
      const direct = (n: number): Route => ({
        dst: dst(n),
        type: "unicast",
        via: REMOTE[family],
        dev: "eth0",
        onlink: false,
      });
      const [network = ""] = OWNERSHIP.networks.slice(family === 4 ? 0 : 1);
      return {
        table: routes,
        rows: [
          overlay(1),
          direct(2),
          { ...direct(3), src: family === 4 ? parseIp("192.0.2.1") : parseIp("2001:db8::1") },
          { dst: parseCidr(network), type: "blackhole", onlink: false },
        ],
        changed: direct(1),
        bad: {
          ...direct(5000),
          dst: dst(5000),
          via: family === 4 ? parseIp("203.0.113.9") : parseIp("2001:db9::9"),
        },
        bulk: (count) => Array.from({ length: count }, (_, n) => overlay(n)),
        foreign: {
          // In our networks without our protocol, and with our protocol outside our networks.
          add: () =>
            node.run(
              `ip -${family} route add ${dst(2000)} via ${REMOTE[family]} dev eth0`,
              `ip -${family} route add ${dst(2001)} via ${REMOTE[family]} dev eth0 proto static`,
              `ip -${family} route add ${family === 4 ? "198.51.100.0/24" : "2001:db8:7::/64"} via ${REMOTE[family]} dev eth0 proto 250`,
            ),
          show: () =>
            node
              .run(`ip -${family} route show proto boot`, `ip -${family} route show proto static`)
              .then(
                async (shown) =>
                  shown +
                  (await node.run(
                    `ip -${family} route show ${family === 4 ? "198.51.100.0/24" : "2001:db8:7::/64"}`,
                  )),
              ),
        },
      };
    });
  });

  describe(`neighbors, ${NAMES[family]}`, () => {
    itIsAKernelTable<Neighbor>(async () => {
      const { neighbors, addresses } = await withDevices();
      await addresses.put([{ dev, ip: baseOf(family, 1000), prefixLength: family === 4 ? 32 : 128 }]);
      const row = (n: number): Neighbor => ({ dev, ip: baseOf(family, n), mac: macOf(n) });
      return {
        table: neighbors,
        rows: [row(1), row(2), row(3)],
        changed: { ...row(1), mac: macOf(77) },
        bad: { ...row(5000), dev: "nosuch0" },
        bulk: (count) => Array.from({ length: count }, (_, n) => row(n)),
        foreign: {
          add: () =>
            node.run(
              `ip neigh add ${REMOTE[family]} lladdr 02:00:00:00:00:99 dev eth0 nud permanent`,
              `ip neigh add ${baseOf(family, 9)} lladdr 02:00:00:00:00:98 dev ${dev} nud noarp`,
            ),
          show: () =>
            node.run(
              `ip neigh show ${REMOTE[family]} nud permanent`,
              `ip neigh show ${baseOf(family, 9)} nud noarp`,
            ),
        },
      };
    });
  });

  describe(`fdb, ${NAMES[family]}`, () => {
    itIsAKernelTable<FdbEntry>(async () => {
      const { fdb } = await withDevices();
      const row = (n: number): FdbEntry => ({ dev, mac: macOf(n), remote: REMOTE[family] });
      return {
        table: fdb,
        rows: [row(1), row(2), row(3)],
        changed: { ...row(1), remote: OTHER_REMOTE[family] },
        bad: { ...row(5000), remote: REMOTE[family === 4 ? 6 : 4] },
        bulk: (count) => Array.from({ length: count }, (_, n) => row(n)),
        foreign: {
          add: () =>
            node.run(
              "ip link add vxlan9 type vxlan id 9 dev eth0 dstport 4789",
              "bridge fdb add 02:00:00:00:00:97 dev vxlan9 dst 192.0.2.9 self permanent",
              `bridge fdb add 02:00:00:00:00:96 dev ${dev} dst ${REMOTE[family]} self dynamic`,
            ),
          show: () => node.run("bridge fdb show dev vxlan9", `bridge fdb show dev ${dev}`),
        },
      };
    });
  });
}

describe("sysctls", () => {
  itIsAKernelTable(async () => {
    const { sysctls } = await withDevices();
    return {
      table: sysctls,
      rows: [
        { key: "net/ipv6/conf/flannel.1/accept_ra", value: "0" },
        { key: "net/ipv4/ip_local_port_range", value: "40000 50000" },
        { key: "net/ipv6/conf/flannel-v6.1/accept_ra", value: "0" },
      ],
      changed: { key: "net/ipv6/conf/flannel.1/accept_ra", value: "2" },
      bad: { key: "net/ipv6/conf/nosuch0/accept_ra", value: "0" },
    };
  });
});
