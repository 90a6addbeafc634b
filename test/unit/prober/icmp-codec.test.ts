// ICMP messages as they lie on the wire, and everything that is not one of ours.
import { describe, expect, it } from "vitest";
import { formatEchoRequest, parseIcmpMessage } from "../../../src/prober/icmp-codec.ts";

const TOKEN = Buffer.from("0123456789abcdef", "hex");
const TAG = { id: 0x1234, sequence: 7 };
const IP4 = Buffer.from("4500003c00000000400100000a0000020a000001", "hex");
const IP6 = Buffer.alloc(40);
IP6[0] = 0x60;
IP6[6] = 58;

function reply(type: number, rest = TOKEN): Buffer {
  return Buffer.concat([Buffer.from([type, 0, 0, 0, 0x12, 0x34, 0, 7]), rest]);
}

describe("an echo request", () => {
  it("has the size that makes the whole IP packet as long as was asked", () => {
    expect(formatEchoRequest(4, { ...TAG, bytes: 1500, token: TOKEN })).toHaveLength(1480);
    expect(formatEchoRequest(6, { ...TAG, bytes: 1500, token: TOKEN })).toHaveLength(1460);
  });

  it("begins with type, checksum, identifier, sequence and token", () => {
    const message = formatEchoRequest(4, { ...TAG, bytes: 84, token: TOKEN });
    expect(message.subarray(0, 16).toString("hex")).toBe("0800479f123400070123456789abcdef");
    expect(
      formatEchoRequest(6, { ...TAG, bytes: 104, token: TOKEN })
        .subarray(0, 4)
        .toString("hex"),
    ).toBe("80000000");
  });

  it("has a checksum that adds up to all ones (RFC 1071)", () => {
    const message = formatEchoRequest(4, { ...TAG, bytes: 1400, token: TOKEN });
    let sum = 0;
    for (let i = 0; i < message.length; i += 2) sum += message.readUInt16BE(i);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    expect(sum).toBe(0xffff);
  });
});

describe("what arrives", () => {
  it("is a reply with its token", () => {
    const expected = { kind: "reply", ...TAG, token: TOKEN };
    expect(parseIcmpMessage(4, Buffer.concat([IP4, reply(0)]))).toEqual(expected);
    expect(parseIcmpMessage(6, reply(129))).toEqual(expected);
  });

  it("is a router's word that a packet of ours was too big, with the MTU it names", () => {
    const quoted4 = Buffer.concat([IP4, Buffer.from("080000001234000700000000", "hex")]);
    const tooBig4 = Buffer.concat([IP4, Buffer.from("0304000000000578", "hex"), quoted4]);
    expect(parseIcmpMessage(4, tooBig4)).toEqual({ kind: "too big", ...TAG, mtu: 1400 });
    const quoted6 = Buffer.concat([IP6, Buffer.from("8000000012340007", "hex")]);
    const tooBig6 = Buffer.concat([Buffer.from("0200000000000578", "hex"), quoted6]);
    expect(parseIcmpMessage(6, tooBig6)).toEqual({ kind: "too big", ...TAG, mtu: 1400 });
  });

  it.each([
    ["empty", 4, Buffer.alloc(0)],
    ["a header that claims more than there is", 4, Buffer.from("4f000000", "hex")],
    ["no IPv4", 4, Buffer.alloc(64, 0x60)],
    ["a reply without room for a token", 4, Buffer.concat([IP4, reply(0, Buffer.alloc(3))])],
    ["a request", 4, Buffer.concat([IP4, reply(8)])],
    ["host unreachable", 4, Buffer.concat([IP4, Buffer.from("0301000000000000", "hex"), IP4, reply(8)])],
    ["too big without what was too big", 4, Buffer.concat([IP4, Buffer.from("0304000000000578", "hex")])],
    ["too big about UDP", 6, Buffer.concat([Buffer.from("0200000000000578", "hex"), Buffer.alloc(48, 0x11)])],
    [
      "too big, cut in the quoted header",
      6,
      Buffer.concat([Buffer.from("0200000000000578", "hex"), IP6.subarray(0, 20)]),
    ],
  ] as const)("is none of our concern: %s", (_, family, packet) => {
    expect(parseIcmpMessage(family, packet)).toBeUndefined();
  });
});
