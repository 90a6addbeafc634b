// What the udp backend's data path must do between real nodes: carry everything, bear a bad network, restart, take changes.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DataPathPlan } from "../../src/host/data-path.ts";
import { parseIp } from "../../src/net/ip.ts";
import type { TestNamespace } from "./netns.ts";
import { addressesOf, makeDevice, peersOf, startInside, UDP_PORT } from "./udp-nodes.ts";
import type { InsideProcess, UdpNode } from "./udp-nodes.ts";
import { ownHost, ownPair, releaseOwned } from "./udp-owned.ts";
import type { RelayReport } from "./udp-relay-inside.ts";

const [N1, N2] = [addressesOf(1), addressesOf(2)];
/** `ping` with DF: one try that must be answered. */
const pingArgs = (address: string, size = 56): string[] =>
  ["-n", "-c", "1", "-W", "10", "-M", "do", "-s", String(size), address]; // prettier-ignore

async function ping(from: TestNamespace, address: string, ...more: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await from.exec("ping", [...more, ...pingArgs(address)], {
    allowFailure: true,
  });
  return exitCode === 0 ? "ok" : `${stdout}${stderr}`;
}

export function describePair(what: string, options: Partial<DataPathPlan>): void {
  describe(`between two nodes, ${what}`, () => {
    let nodes: readonly [UdpNode, UdpNode];
    beforeAll(async () => {
      nodes = await ownPair(options);
    });
    afterAll(releaseOwned);

    test("packets of the device's MTU pass with DF, longer ones are refused", async () => {
      const [here] = nodes;
      for (const [address, header] of [
        [N2.pod4, 28],
        [N2.pod6, 48],
      ] as const) {
        const at = async (size: number) =>
          here.namespace.exec("ping", pingArgs(address, size), { allowFailure: true });
        expect((await at(1452 - header)).exitCode).toBe(0);
        const { stdout, stderr } = await at(1452 - header + 1);
        expect(stdout + stderr).toMatch(/message too long/i);
      }
    });

    test.each([
      ["IPv4", N2.pod4],
      ["IPv6", N2.pod6],
    ])("%s: TCP carries every byte", async (_family, address) => {
      await expectTransfer(nodes, address, 20_000_000);
      const [sent, received] = [await nodes[0].counters(), await nodes[1].counters()];
      expect(received).toMatchObject({ malformed: 0, truncated: 0, foreignSource: 0, writeErrors: 0 });
      expect(sent).toMatchObject({ sendErrors: 0, sentMalformed: 0 });
      // What offload is for: many packets in one call.
      const perMessage = (sent["sentPackets"] ?? 0) / (sent["sentMessages"] ?? 1);
      if (options.offload) expect(perMessage).toBeGreaterThan(3);
      else expect(perMessage).toBe(1);
    });
  });
}

/** A listener on the second node that digests, a sender on the first. */
async function expectTransfer(
  [from, to]: readonly [UdpNode, UdpNode],
  address: string,
  bytes: number,
): Promise<void> {
  const receiver = startInside(to.namespace, "tcp-transfer.ts", ["receive", address, "7000"]);
  expect(await receiver.next()).toBe("ready");
  const sender = startInside(from.namespace, "tcp-transfer.ts", [
    "send",
    address,
    "7000",
    String(bytes),
    "0",
  ]);
  try {
    const read = async (end: InsideProcess) =>
      JSON.parse(await end.next()) as { bytes: number; sha256: string };
    const [sent, received] = [await read(sender), await read(receiver)];
    expect(sent.bytes).toBe(bytes);
    expect(received).toMatchObject({ bytes, sha256: sent.sha256 });
  } finally {
    await Promise.all([sender.stop("SIGKILL"), receiver.stop("SIGKILL")]);
  }
}

export function describeRelay(): void {
  describe("through a relay that loses, reorders and duplicates", () => {
    const RELAY = "192.0.2.254";
    let nodes: readonly [UdpNode, UdpNode];
    let relayHost: TestNamespace;
    beforeAll(async () => {
      nodes = await ownPair({}, RELAY);
      relayHost = await ownHost([RELAY]);
    });
    afterAll(releaseOwned);

    const withRelay = async (shares: readonly string[], act: () => Promise<void>): Promise<RelayReport> => {
      const args = [RELAY, String(UDP_PORT), N1.public4, N2.public4, ...shares];
      const relay = startInside(relayHost, "udp-relay-inside.ts", args);
      expect(await relay.next()).toBe("ready");
      await act();
      const report = relay.next();
      await relay.stop();
      return JSON.parse(await report) as RelayReport;
    };

    test("every packet on the wire is one that any host accepts: length and checksums", async () => {
      const report = await withRelay(["0", "0", "0"], () => expectTransfer(nodes, N2.pod4, 4_000_000));
      expect(report).toMatchObject({ problems: [], largest: 1452 });
      expect(report.forwarded).toBeGreaterThan(2000);
    });

    test("TCP arrives whole, whatever the network does", async () => {
      const report = await withRelay(["0.01", "0.05", "0.05", "42"], () =>
        expectTransfer(nodes, N2.pod4, 2_000_000),
      );
      expect(report.problems).toEqual([]);
      for (const what of ["lost", "reordered", "duplicated"] as const)
        expect(report[what]).toBeGreaterThan(0);
    });
  });
}

export function describeLifecycle(): void {
  describe("lifecycle", () => {
    let nodes: readonly [UdpNode, UdpNode];
    beforeAll(async () => {
      nodes = await ownPair();
    });
    afterAll(releaseOwned);
    const deviceOf = async ({ namespace }: UdpNode): Promise<string> => {
      const index = (await namespace.exec("cat", ["/sys/class/net/flannel0/ifindex"], { allowFailure: true }))
        .stdout;
      const { stdout: routes } = await namespace.exec("sh", [
        "-c",
        "ip route show dev flannel0; ip -6 route show dev flannel0",
      ]);
      const kept = routes.split("\n").filter((line) => /^(10\.244|fd00)/.test(line));
      return `${index} ${kept.map((line) => line.replaceAll(/ linkdown|\s+$/g, "")).join(" | ")}`;
    };

    test("peers come and go without loss to others", async () => {
      const [here] = nodes;
      const more = { prefix: peersOf(3)[0]!.prefix, remote: parseIp("192.0.2.3") };
      expect(await here.apply([...peersOf(2), more])).toBeUndefined();
      const pings = here.namespace.exec("ping", [
        "-n",
        "-q",
        "-c",
        "1000",
        "-i",
        "0.001",
        "-W",
        "10",
        N2.pod4,
      ]);
      await here.swap(2000);
      expect((await pings).stdout).toContain(" 0% packet loss");
    });

    test("kill -9: device and routes stay, and a new process takes them up", async () => {
      const [here] = nodes;
      const before = await deviceOf(here);
      expect(before).toMatch(/10\.244\.0\.0\/16.*fd00:244::\/48/);
      await here.stopPath("SIGKILL");
      expect(await deviceOf(here)).toBe(before);
      here.startPath();
      expect(await here.apply(peersOf(2))).toBeUndefined();
      expect(await deviceOf(here)).toBe(before);
      expect(await ping(here.namespace, N2.pod4)).toBe("ok");
      expect(await ping(here.namespace, N2.pod6)).toBe("ok");
    });

    test("a device that was deleted and made anew is taken up by the next pass", async () => {
      const [here] = nodes;
      await here.namespace.exec("ip", ["link", "del", "flannel0"]);
      expect(await here.apply(peersOf(2))).toMatch(/flannel0/);
      await makeDevice(here.namespace, 1);
      expect(await here.apply(peersOf(2))).toBeUndefined();
      expect(await ping(here.namespace, N2.pod4)).toBe("ok");
      expect((await here.log()).map(({ message }) => message)).toContain("the udp data path starts anew");
    });

    test("over a path of smaller MTU packets are sent in fragments, not lost", async () => {
      const [here] = nodes;
      await here.namespace.exec("ip", ["route", "add", N2.public4, "dev", "eth0", "mtu", "1300"]);
      await expectTransfer(nodes, N2.pod4, 1_000_000);
      expect((await here.counters())["sendFragmented"]).toBeGreaterThan(0);
      await here.namespace.exec("ip", ["route", "del", N2.public4, "dev", "eth0"]);
    });

    test("what stands in the way is named with its cure", async () => {
      const [here] = nodes;
      expect(await here.apply(peersOf(2), { device: "flannel7" })).toMatch(/flannel7 has gone/);
      const holder = startInside(here.namespace, "udp-peer-inside.ts", ["4", N1.public4, "9999"]);
      try {
        expect(await holder.next()).toBe("ready");
        expect(await here.apply(peersOf(2), { port: 9999 })).toMatch(
          /bind4: Address already in use: another program has UDP port 9999; stop it, or choose another Backend.Port/,
        );
      } finally {
        await holder.stop("SIGKILL");
      }
      const locals = { 4: parseIp("192.0.2.99") };
      expect(await here.apply(peersOf(2), { locals })).toMatch(/192\.0\.2\.99 is not this host's/);
      expect(await here.apply(peersOf(2))).toBeUndefined();
      expect(await ping(here.namespace, N2.pod4)).toBe("ok");
    });
  });
}
