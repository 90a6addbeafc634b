// What the udp backend's native data path must do on real TUN devices and sockets; run with the shipped and with the sanitized build.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RelayReport } from "./udp-relay-inside.ts";
import { echoPacket, ipPacket, udpPacket } from "./ip-packets.ts";
import { createNamespace } from "./netns.ts";
import type { TestNamespace } from "./netns.ts";
import {
  addressesOf,
  createLink,
  createUdpNode,
  makeDevice,
  peersOf,
  startInside,
  UDP_PORT,
} from "./udp-nodes.ts";
import type { InsideProcess, TestLink, UdpNode } from "./udp-nodes.ts";
import type { DataPathPlan } from "../../src/host/data-path.ts";
import { parseIp } from "../../src/net/ip.ts";
import { waitFor } from "./wait.ts";

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

/** Byte by byte, but for the flow label, which an IPv6 sender may choose. */
function expectPacket(actual: Buffer, expected: Buffer, family: 4 | 6): void {
  if (family === 6) actual.copy(expected, 1, 1, 4);
  expect(actual.toString("hex")).toBe(expected.toString("hex"));
}

/** For the data path's processes. */
type Environment = Readonly<Record<string, string>>;

let link: TestLink;
let environment: Environment = {};

/** One link for all groups of a file. */
export function useLink(env: Environment = {}): void {
  environment = env;
  beforeAll(async () => {
    link = await createLink();
  });
  afterAll(() => link.remove());
}

/** What the tests of a group have made; goes with the group, also after a failure half-way. */
const owned: (() => Promise<unknown>)[] = [];
async function releaseOwned(): Promise<void> {
  await Promise.all(owned.splice(0).map((release) => release()));
}
async function ownNode(n: number): Promise<UdpNode> {
  const node = await createUdpNode(link, n, environment);
  owned.push(() => node.remove());
  return node;
}
async function ownHost(addresses: readonly string[]): Promise<TestNamespace> {
  const host = await createNamespace("ud-p");
  owned.push(() => host.remove());
  await link.attach(host, addresses);
  return host;
}
/** Nodes 1 and 2 that know each other, perhaps through somebody else's address. */
async function ownPair(
  options: Partial<DataPathPlan> = {},
  remote?: string,
): Promise<readonly [UdpNode, UdpNode]> {
  const pair = await Promise.all([ownNode(1), ownNode(2)]);
  expect(await pair[0].apply(peersOf(2, remote), options)).toBeUndefined();
  expect(await pair[1].apply(peersOf(1, remote), options)).toBeUndefined();
  return pair;
}

export function describeWire(): void {
  describe("against packets built from the description", () => {
    let node: UdpNode;
    let peerHost: TestNamespace;
    let peer: Record<4 | 6, InsideProcess>;

    beforeAll(async () => {
      node = await ownNode(1);
      expect(await node.apply(peersOf(2))).toBeUndefined();
      peerHost = await ownHost([N2.public4, N2.public6, "192.0.2.66"]);
      const start = async (family: 4 | 6, address: string): Promise<InsideProcess> => {
        const started = startInside(peerHost, "udp-peer-inside.ts", [`${family}`, address, `${UDP_PORT}`]);
        owned.push(() => started.stop("SIGKILL"));
        expect(await started.next()).toBe("ready");
        return started;
      };
      peer = { 4: await start(4, N2.public4), 6: await start(6, N2.public6) };
    });
    afterAll(releaseOwned);

    const sendTo = (family: 4 | 6, packet: Uint8Array): void => {
      const destination = family === 4 ? N1.public4 : N1.public6;
      peer[family].send(`${destination} ${UDP_PORT} ${Buffer.from(packet).toString("hex")}`);
    };
    const receive = async (family: 4 | 6): Promise<Buffer> => Buffer.from(await peer[family].next(), "hex");
    const grown = async (name: string, by: number, act: () => unknown): Promise<void> => {
      const before = (await node.counters())[name] ?? 0;
      await act();
      await waitFor(
        `${name} to grow by ${by}`,
        async () => ((await node.counters())[name] ?? 0) >= before + by,
      );
      expect((await node.counters())[name]).toBe(before + by);
    };
    const ends = (family: 4 | 6) => ({
      here: family === 4 ? N1.pod4 : N1.pod6,
      there: family === 4 ? N2.pod4 : N2.pod6,
    });

    test.each([4, 6] as const)(
      "IPv%d: an echo request comes in, and exactly its answer goes out",
      async (family) => {
        const { here, there } = ends(family);
        const data = Buffer.from("0123456789");
        sendTo(family, echoPacket({ source: there, destination: here, ttl: 9 }, data));
        const answer = await receive(family);
        // The kernel sends with 64 and chooses the ID; our own hop takes one.
        const id = family === 4 ? answer.readUInt16BE(4) : 0;
        const fragment = family === 4 ? answer.readUInt16BE(6) : 0;
        const expected = { source: here, destination: there, ttl: 63, id, fragment, reply: true };
        expectPacket(answer, echoPacket(expected, data), family);
      },
    );

    test.each([4, 6] as const)("IPv%d: a datagram of a pod goes out as one bare packet", async (family) => {
      const { here, there } = ends(family);
      const script = `exec 3<>/dev/udp/${there}/4000 && printf hello >&3`;
      await node.namespace.exec("bash", ["-c", script]);
      const packet = await receive(family);
      const sourcePort = packet.readUInt16BE(family === 4 ? 20 : 40);
      const id = family === 4 ? packet.readUInt16BE(4) : 0;
      const expected = udpPacket(
        { source: here, destination: there, ttl: 63, id, sourcePort, destinationPort: 4000 },
        Buffer.from("hello"),
      );
      expectPacket(packet, expected, family);
    });

    test("hostile datagrams are dropped and counted, each as what it is, and the path goes on", async () => {
      const good = echoPacket({ source: N2.pod4, destination: N1.pod4 }, Buffer.alloc(40));
      const good6 = echoPacket({ source: N2.pod6, destination: N1.pod6 }, Buffer.alloc(40));
      const changed = (packet: Buffer, at: number, value: number): Buffer => {
        const copy = Buffer.from(packet);
        copy[at] = value;
        return copy;
      };
      const truncated = [
        Buffer.alloc(0),
        Buffer.from([0x45]),
        good.subarray(0, 19),
        good.subarray(0, good.length - 1),
        good6.subarray(0, 39),
        good6.subarray(0, good6.length - 1),
        changed(good, 2, 0xff),
      ];
      const malformed = [
        changed(good, 0, 0x44),
        changed(good, 0, 0x55),
        changed(good, 0, 0x05),
        Buffer.concat([good, Buffer.alloc(3)]),
        Buffer.concat([good6, Buffer.alloc(1)]),
        changed(changed(good, 2, 0), 3, 10),
      ];
      await grown("truncated", truncated.length, () => truncated.forEach((packet) => sendTo(4, packet)));
      await grown("malformed", malformed.length, () => malformed.forEach((packet) => sendTo(4, packet)));
      // Headers that promise more header than there is: the kernel's to refuse, never ours to read.
      const options = changed(good, 0, 0x4f);
      const tcp = ipPacket({ source: N2.pod4, destination: N1.pod4, protocol: 6 }, Buffer.alloc(13, 0xff));
      await grown("receivedPackets", 2, () => [options, tcp].forEach((packet) => sendTo(4, packet)));
      sendTo(4, good);
      expect((await receive(4)).length).toBe(good.length);
    });

    test("a packet at the end of its hops is dropped, counted, and its sender is told", async () => {
      for (const family of [4, 6] as const) {
        const { here, there } = ends(family);
        const last = udpPacket(
          { source: there, destination: here, ttl: 1, sourcePort: 1, destinationPort: 2 },
          Buffer.from("x"),
        );
        await grown("ttlExpired", 1, () => sendTo(family, last));
        const told = await receive(family);
        const [type, quoted] = family === 4 ? [told[20], told.subarray(28)] : [told[40], told.subarray(48)];
        expect(type).toBe(family === 4 ? 11 : 3);
        expect(quoted.toString("hex")).toBe(last.subarray(0, quoted.length).toString("hex"));
      }
    });

    test("only peers may send; with PeersOnly off anybody may", async () => {
      const stranger = startInside(peerHost, "udp-peer-inside.ts", ["4", "192.0.2.66", String(UDP_PORT)]);
      try {
        expect(await stranger.next()).toBe("ready");
        const packet = echoPacket({ source: N2.pod4, destination: N1.pod4, sequence: 7 }, Buffer.from("?"));
        const send = (): void => stranger.send(`${N1.public4} ${UDP_PORT} ${packet.toString("hex")}`);
        await grown("foreignSource", 1, send);
        expect(await node.apply(peersOf(2), { peersOnly: false })).toBeUndefined();
        send();
        expect((await receive(4)).readUInt16BE(26)).toBe(7);
      } finally {
        await stranger.stop("SIGKILL");
        expect(await node.apply(peersOf(2))).toBeUndefined();
      }
    });

    test("an address of no peer is unreachable, at once; pings to it are not answered", async () => {
      const connect = (address: string) =>
        node.namespace.exec("bash", ["-c", `exec 3<>/dev/tcp/${address}/80`], { allowFailure: true });
      expect((await connect("10.244.99.1")).stderr).toContain("Network is unreachable");
      expect((await connect("fd00:244:0:99::1")).stderr).toMatch(/unreachable|No route to host/);
      const { icmpSent } = await node.counters();
      const args = ["-n", "-c", "1", "-W", "0.2", "10.244.99.1"];
      await node.namespace.exec("ping", args, { allowFailure: true });
      expect((await node.counters())["icmpSent"]).toBe(icmpSent);
    });
  });
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
