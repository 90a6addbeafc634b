// What the udp backend's data path must do with packets built from the description, good ones and hostile ones.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { echoPacket, ipPacket, udpPacket } from "./ip-packets.ts";
import type { TestNamespace } from "./netns.ts";
import { addressesOf, peersOf, startInside, UDP_PORT } from "./udp-nodes.ts";
import type { InsideProcess, UdpNode } from "./udp-nodes.ts";
import { owned, ownHost, ownNode, releaseOwned } from "./udp-owned.ts";
import { waitFor } from "./wait.ts";

const [N1, N2] = [addressesOf(1), addressesOf(2)];

/** Byte by byte, but for the flow label, which an IPv6 sender may choose. */
function expectPacket(actual: Buffer, expected: Buffer, family: 4 | 6): void {
  if (family === 6) actual.copy(expected, 1, 1, 4);
  expect(actual.toString("hex")).toBe(expected.toString("hex"));
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
