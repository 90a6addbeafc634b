// The udp data path's pure and faked parts: the peer table as bytes, causes and cures, when it starts anew.
import { constants } from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { DataPathPlan } from "../../../src/host/data-path.ts";
import { loadUdpAddon } from "../../../src/kernel/udp/addon.ts";
import type { UdpAddon, UdpHandle, UdpState } from "../../../src/kernel/udp/addon.ts";
import { createDataPath } from "../../../src/kernel/udp/data-path.ts";
import { explainOffloads, explainStartFailure } from "../../../src/kernel/udp/explain.ts";
import { formatPeers } from "../../../src/kernel/udp/peer-codec.ts";
import { linkCreateLines, isOurLink, parseLinks } from "../../../src/kernel/link-codec.ts";
import { ownershipOf } from "../../../src/host/ownership.ts";
import { EMPTY_HOST_STATE } from "../../../src/host/state.ts";
import { driftOf, indexForDrift } from "../../../src/kernel/drift.ts";
import type { LinkEvent } from "../../../src/kernel/monitor-codec.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { memoryLogger } from "../../support/memory-logger.ts";

const PEERS = [
  { prefix: parseCidr("10.244.2.0/24"), remote: parseIp("192.0.2.2") },
  { prefix: parseCidr("fd00:5:0:2::/64"), remote: parseIp("2001:db8::2") },
];
const PLAN: DataPathPlan = {
  kind: "udp",
  device: "flannel0",
  port: 8285,
  locals: { 4: parseIp("192.0.2.1") },
  inner: { 4: parseIp("10.244.1.0") },
  offload: true,
  peersOnly: true,
  peers: PEERS,
};
const ALL_WELL: UdpState = {
  tunIndex: 3,
  errno: 0,
  tcpSegmentation: true,
  udpSegmentation: true,
  udpSegment: true,
  udpGro: true,
};

test("a peer is 36 bytes: families, prefix length, prefix, outer address", () => {
  const [four, six] = [formatPeers(PEERS).subarray(0, 36), formatPeers(PEERS).subarray(36)];
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  expect(hex(four)).toBe(`04180400${"0af40200".padEnd(32, "0")}${"c0000202".padEnd(32, "0")}`);
  expect(hex(six)).toBe("06400600fd00000500000002000000000000000020010db8000000000000000000000002");
});

describe("failures", () => {
  const { ENOENT, EPERM, EBUSY, EADDRINUSE, EIO } = constants.errno;
  test.each([
    [ENOENT, "tun-open", /modprobe tun.*mount \/dev\/net\/tun/],
    [EPERM, "tun-attach", /CAP_NET_ADMIN.*privileged/],
    [EBUSY, "tun-attach", /another program is attached to flannel0/],
    [EADDRINUSE, "bind4", /UDP port 8285/],
    [EIO, "tun-attach", /^the udp data path does not start: tun-attach: words$/],
  ])("errno %d of %s is told with its cure", (errno, code, expected) => {
    expect(explainStartFailure({ errno, code, message: "words" }, PLAN)).toMatch(expected);
  });

  test("an addon that is not there, or is none, is told with the cure", () => {
    expect(() => loadUdpAddon("/nowhere/udp.node")).toThrow(/cannot load .*apt-get install gcc libc6-dev/);
    expect(() => loadUdpAddon(path.resolve("LICENSE"))).toThrow(/cannot load .*must be built where it runs/);
  });
});

test("missing offloads are named with what they cost", () => {
  expect(explainOffloads(ALL_WELL)).toBeUndefined();
  expect(explainOffloads({ ...ALL_WELL, udpSegmentation: false })).toMatch(/Linux 6\.2.*lower than it could/);
  const plain = { ...ALL_WELL, tcpSegmentation: false, udpSegmentation: false };
  expect(explainOffloads(plain)).toMatch(/about a tenth/);
});

/** Remembers what it was asked for. */
function fakeAddon(state: () => UdpState): { readonly addon: UdpAddon; readonly calls: string[] } {
  const calls: string[] = [];
  const handle = {} as UdpHandle;
  return {
    calls,
    addon: {
      start: (tun, port) => {
        calls.push(`start ${tun} ${port}`);
        return handle;
      },
      stop: () => void calls.push("stop"),
      setPeers: (_handle, records) => void calls.push(`peers ${records.length / 36}`),
      counters: () => ({ sentPackets: 5 }),
      state,
    },
  };
}

describe("the data path", () => {
  test("starts once, swaps peers only when they change, and starts anew when the rest changes", async () => {
    const { addon, calls } = fakeAddon(() => ALL_WELL);
    const log = memoryLogger();
    const dataPath = createDataPath({ loadAddon: () => addon, log });
    expect(await dataPath.apply(PLAN)).toBeUndefined();
    expect(await dataPath.apply({ ...PLAN, peers: [...PEERS] })).toBeUndefined();
    expect(await dataPath.apply({ ...PLAN, peers: PEERS.slice(0, 1) })).toBeUndefined();
    expect(await dataPath.apply({ ...PLAN, port: 9000, peers: [] })).toBeUndefined();
    expect(calls).toEqual(["start flannel0 8285", "peers 2", "peers 1", "stop", "start flannel0 9000"]);
    expect(log.lines.map(({ message }) => message)).toEqual(["the udp data path starts anew"]);
    // Those of the run that has ended count on.
    expect(dataPath.counters()).toEqual({ sentPackets: 10 });
    dataPath.stop();
    expect(dataPath.counters()).toEqual({ sentPackets: 10 });
  });

  test.each([
    ["its device was made anew", { tunIndex: 0 }],
    ["a thread has ended", { errno: 77 }],
  ])("starts anew when %s", async (_what, change) => {
    let state = ALL_WELL;
    const { addon, calls } = fakeAddon(() => state);
    const dataPath = createDataPath({ loadAddon: () => addon, log: memoryLogger() });
    await dataPath.apply(PLAN);
    state = { ...ALL_WELL, ...change };
    await dataPath.apply(PLAN);
    expect(calls.filter((call) => call.startsWith("start"))).toHaveLength(2);
  });

  test("says what offload is missing, once", async () => {
    const { addon } = fakeAddon(() => ({ ...ALL_WELL, tcpSegmentation: false }));
    const log = memoryLogger();
    const dataPath = createDataPath({ loadAddon: () => addon, log });
    await dataPath.apply(PLAN);
    await dataPath.apply(PLAN);
    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).toMatchObject({
      level: "warn",
      message: expect.stringMatching(/a tenth/) as string,
    });
  });
});

describe("TUN devices", () => {
  const listed = (data: object): string =>
    JSON.stringify([
      {
        ifname: "flannel0",
        flags: ["UP"],
        mtu: 1472,
        ifalias: "x",
        linkinfo: { info_kind: "tun", info_data: data },
      },
    ]);
  const ownership = ownershipOf([parseCidr("10.244.0.0/16")], ["flannel0"]);

  test("are listed, and ours by name if they are persistent TUN devices", () => {
    const [ours] = parseLinks(listed({ type: "tun", persist: true }));
    expect(ours).toEqual({ kind: "tun", name: "flannel0", mtu: 1472, up: true, alias: "x" });
    expect(ours && isOurLink(ownership, ours)).toBe(true);
    for (const data of [
      { type: "tap", persist: true },
      { type: "tun", persist: false },
    ]) {
      const [other] = parseLinks(listed(data));
      expect(other && isOurLink(ownership, other)).toBe(false);
    }
  });

  test("are made persistent, and come up with MTU and alias", () => {
    expect(
      linkCreateLines({ kind: "tun", name: "flannel0", mtu: 1472 }, "ours").map((line) => line.join(" ")),
    ).toEqual(["tuntap add dev flannel0 mode tun", "link set dev flannel0 mtu 1472 alias ours up"]);
  });
});

describe("events of the TUN device", () => {
  const ownership = ownershipOf([parseCidr("10.244.0.0/16")], ["flannel0"]);
  const plan = { ...EMPTY_HOST_STATE, links: [{ kind: "tun", name: "flannel0", mtu: 1472 } as const] };
  const tablesOf = (event: Partial<LinkEvent>): readonly string[] => {
    const asWanted = {
      kind: "link",
      name: "flannel0",
      deleted: false,
      up: true,
      fresh: false,
      mtu: 1472,
    } as const;
    const index = indexForDrift(plan, { ownership });
    return driftOf({ ...asWanted, mac: undefined, ...event }, index).tables;
  };

  test("that repeat the plan are no drift, though it has no MAC", () => {
    expect(tablesOf({})).toEqual([]);
  });
  test.each([{ deleted: true }, { up: false }, { mtu: 1400 }])("%j has its rows listed again", (event) => {
    expect(tablesOf(event)).toContain("links");
    expect(tablesOf(event)).toContain("routes");
  });
});
