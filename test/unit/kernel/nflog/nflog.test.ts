// NFLOG packets from tcpdump's stream: read in pieces of any size, and nothing in them is believed.
import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { parsePacketHeader } from "../../../../src/kernel/nflog/ip-header-codec.ts";
import { parseNflogMessage } from "../../../../src/kernel/nflog/nflog-codec.ts";
import { createPcapReader, LINKTYPE_NFLOG, PcapError } from "../../../../src/kernel/nflog/pcap-codec.ts";
import {
  ipv4Packet,
  ipv6Packet,
  nflogMessage,
  pcapHeader,
  pcapRecord,
  transport,
} from "../../../support/nflog-bytes.ts";

const PACKET = ipv4Packet("10.244.1.5", "10.244.1.7", 6, 80);
const MESSAGE = nflogMessage({ prefix: "FTSP-DENY-IN", payload: PACKET });

describe("the pcap stream", () => {
  it("gives the same records in whatever pieces it comes", () => {
    const stream = Buffer.concat([
      pcapHeader(),
      pcapRecord(MESSAGE),
      pcapRecord(Buffer.alloc(0)),
      pcapRecord(PACKET),
    ]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: stream.length - 1 }), { maxLength: 20 }), (cuts) => {
        const places = [0, ...cuts.sort((a, b) => a - b), stream.length];
        const reader = createPcapReader(LINKTYPE_NFLOG);
        const records = places.slice(1).flatMap((end, i) => reader.push(stream.subarray(places[i], end)));
        expect(records.map(({ data }) => data)).toEqual([MESSAGE, Buffer.alloc(0), PACKET]);
      }),
    );
  });

  it("of a big-endian machine", () => {
    const header = Buffer.from(pcapHeader()).swap32();
    const record = pcapRecord(PACKET);
    const swapped = Buffer.concat([Buffer.from(record.subarray(0, 16)).swap32(), PACKET]);
    const [first] = createPcapReader(LINKTYPE_NFLOG).push(Buffer.concat([header, swapped]));
    expect(first).toEqual({ data: PACKET, littleEndian: false });
  });

  it.each([
    ["that is something else", Buffer.from("tcpdump: no such device nflog\n")],
    ["of another link type", pcapHeader(1)],
    ["with a length that no record has", Buffer.concat([pcapHeader(), Buffer.alloc(16, 0xff)])],
  ])("%s is refused", (_, bytes) => {
    expect(() => createPcapReader(LINKTYPE_NFLOG).push(bytes)).toThrow(PcapError);
  });
});

describe("an NFLOG message", () => {
  it("gives prefix and packet", () => {
    expect(parseNflogMessage({ data: MESSAGE, littleEndian: true })).toEqual({
      prefix: "FTSP-DENY-IN",
      payload: PACKET,
    });
  });

  it("whose packet was cut off gives what there is", () => {
    const data = MESSAGE.subarray(0, MESSAGE.length - 4);
    expect(parseNflogMessage({ data, littleEndian: true })?.payload).toEqual(PACKET.subarray(0, -4));
  });

  test.for([
    ["without a packet", nflogMessage({ prefix: "x", payload: PACKET }).subarray(0, 20)],
    ["with an attribute shorter than its header", Buffer.from([2, 0, 0, 1, 3, 0, 9, 0, 1, 1, 1, 1])],
    ["that is empty", Buffer.alloc(0)],
  ] as const)("%s gives nothing", ([, data]) => {
    expect(parseNflogMessage({ data, littleEndian: true })).toBeUndefined();
  });
});

const IPV6 = { family: 6, src: "fd00:1::5", dst: "fd00:2::6" } as const;
const PORTS = { src: 40_000, dst: 53 };

describe("an IP packet", () => {
  const laterFragment = Buffer.from(PACKET);
  laterFragment.writeUInt16BE(185, 6);
  it.each([
    ["TCP", PACKET, { family: 4, src: "10.244.1.5", dst: "10.244.1.7", protocol: 6, ports: { src: 40_000, dst: 80 } }],
    ["ICMP", ipv4Packet("10.0.0.1", "10.0.0.2", 1, 0).fill(8, 20, 21), { family: 4, src: "10.0.0.1", dst: "10.0.0.2", protocol: 1, icmpType: 8 }],
    ["a later fragment has no ports", laterFragment, { family: 4, src: "10.244.1.5", dst: "10.244.1.7", protocol: 6 }],
    ["cut off behind its header", PACKET.subarray(0, 22), { family: 4, src: "10.244.1.5", dst: "10.244.1.7", protocol: 6 }],
    ["GRE", ipv4Packet("10.0.0.1", "10.0.0.2", 47, 0), { family: 4, src: "10.0.0.1", dst: "10.0.0.2", protocol: 47 }],
    ["IPv6 UDP", ipv6Packet(17, [transport(53)]), { ...IPV6, protocol: 17, ports: PORTS }],
    ["IPv6 behind extension headers", ipv6Packet(0, [Buffer.from([43, 0, 0, 0, 0, 0, 0, 0]), Buffer.from([60, 1, ...Array(14).fill(0)]), Buffer.from([51, 0, 0, 0, 0, 0, 0, 0]), Buffer.from([132, 1, ...Array(10).fill(0)]), transport(53)]), { ...IPV6, protocol: 132, ports: PORTS }],
    ["the first IPv6 fragment", ipv6Packet(44, [Buffer.from([17, 0, 0, 1, 0, 0, 0, 0]), transport(53)]), { ...IPV6, protocol: 17, ports: PORTS }],
    ["a later IPv6 fragment", ipv6Packet(44, [Buffer.from([17, 0, 0, 8, 0, 0, 0, 0]), transport(53)]), { ...IPV6, protocol: 17 }],
    ["ICMPv6", ipv6Packet(58, [Buffer.from([128, 0, 0, 0])]), { ...IPV6, protocol: 58, icmpType: 128 }],
  ])("%s", (_, bytes, expected) => {
    expect(parsePacketHeader(bytes)).toEqual(expected);
  });

  it.each([
    ["nothing", Buffer.alloc(0)],
    ["half a header", PACKET.subarray(0, 19)],
    ["a header length below its least", Buffer.concat([Buffer.from([0x44]), PACKET.subarray(1)])],
    ["half an IPv6 header", ipv6Packet(6, []).subarray(0, 39)],
    ["another version", Buffer.alloc(60, 0x55)],
  ])("%s is none", (_, bytes) => {
    expect(parsePacketHeader(bytes)).toBeUndefined();
  });
}); // prettier-ignore

it("no bytes whatever make a reader fail otherwise", () => {
  const anything = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  const almost = fc
    .tuple(
      fc.constantFrom(MESSAGE, PACKET, ipv6Packet(0, [transport(43), transport(60)])),
      anything,
      fc.nat(80),
    )
    .map(([bytes, noise, at]) => {
      const changed = Buffer.from(bytes);
      noise.copy(changed, at % changed.length);
      return changed;
    });
  fc.assert(
    fc.property(fc.oneof(anything, almost), fc.boolean(), (data, littleEndian) => {
      parsePacketHeader(data);
      const message = parseNflogMessage({ data, littleEndian });
      if (message) parsePacketHeader(message.payload);
      try {
        createPcapReader(LINKTYPE_NFLOG).push(Buffer.concat([pcapHeader(), data]));
      } catch (error) {
        if (!(error instanceof PcapError)) throw error;
      }
    }),
    { numRuns: 2_000 },
  );
});
