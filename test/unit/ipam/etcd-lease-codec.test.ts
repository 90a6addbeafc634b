// Keys and values of etcd leases: flannel's own bytes as golden text, and what a parser must and must not take.
import { describe, expect, test } from "vitest";
import {
  formatLeaseKey,
  formatLeaseValue,
  parseLeaseKey,
  parseLeaseValue,
  readLeaseEntry,
} from "../../../src/ipam/etcd-lease-codec.ts";
import type { LeaseAttributes } from "../../../src/ipam/lease.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";

const PREFIX = "/coreos.com/network";
const key = (name: string) => `${PREFIX}/subnets/${name}`;
const publicIp = parseIp("192.0.2.7");
const VTEP = { VNI: 1, VtepMAC: "0a:1b:2c:3d:4e:5f" };

describe("values as Go flannel writes them", () => {
  const cases: readonly { name: string; attributes: LeaseAttributes; text: string }[] = [
    {
      name: "vxlan",
      attributes: { publicIp, backendType: "vxlan", backendData: VTEP },
      text: '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"}}',
    },
    {
      name: "host-gw",
      attributes: { publicIp, backendType: "host-gw" },
      text: '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"host-gw"}',
    },
    {
      name: "wireguard",
      attributes: {
        publicIp,
        backendType: "wireguard",
        backendData: { PublicKey: "mC1Pk3BIqYqKkVvGxaP9jmrzxCN5FtVvcXgJVkGkGmY=", Port: 51820 },
      },
      text: '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"mC1Pk3BIqYqKkVvGxaP9jmrzxCN5FtVvcXgJVkGkGmY=","Port":51820}}',
    },
    {
      name: "udp and alloc",
      attributes: { publicIp, backendType: "" },
      text: '{"PublicIP":"192.0.2.7","PublicIPv6":null}',
    },
    {
      name: "extension, with what Go escapes",
      attributes: { publicIp, backendType: "extension", backendData: "a<b>&c\u2028" },
      text: '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"extension","BackendData":"a\\u003cb\\u003e\\u0026c\\u2028"}',
    },
    {
      name: "vxlan in dual stack",
      attributes: {
        publicIp,
        publicIp6: parseIp("2001:db8::7"),
        backendType: "vxlan",
        backendData: VTEP,
        backendData6: { VNI: 1, VtepMAC: "0a:1b:2c:3d:4e:60" },
      },
      text: '{"PublicIP":"192.0.2.7","PublicIPv6":"2001:db8::7","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"},"BackendV6Data":{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:60"}}',
    },
  ];
  test.each(cases)("$name", ({ attributes, text }) => {
    expect(formatLeaseValue(attributes)).toBe(text);
    expect(parseLeaseValue(text)).toEqual(attributes);
  });

  test("without IPv4 the public IP is flannel's zero value, never null", () => {
    const attributes = { publicIp6: parseIp("2001:db8::7"), backendType: "vxlan", backendData6: VTEP };
    expect(formatLeaseValue(attributes)).toBe(
      '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::7","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"}}',
    );
  });
});

describe("values that others may have written", () => {
  test.each([
    { text: "{}", attributes: { publicIp: "0.0.0.0", backendType: "" } },
    { text: '{"PublicIP":"0.0.0.0"}', attributes: { publicIp: "0.0.0.0", backendType: "" } },
    {
      text: ' {"publicip":"192.0.2.7","BACKENDTYPE":"vxlan"}\n',
      attributes: { publicIp, backendType: "vxlan" },
    },
    { text: '{"PublicIP":"192.0.2.1","publicIP":"192.0.2.7"}', attributes: { publicIp, backendType: "" } },
    {
      text: '{"PublicIP":"192.0.2.7","BackendType":null,"X":[1]}',
      attributes: { publicIp, backendType: "" },
    },
    { text: '{"PublicIP":"192.0.2.7","BackendData":null}', attributes: { publicIp, backendType: "" } },
  ])("$text is read", ({ text, attributes }) => {
    expect(parseLeaseValue(text)).toEqual(attributes);
  });

  test.each([
    { text: "", reason: "not valid JSON" },
    { text: "null", reason: "not a JSON object" },
    { text: "[1]", reason: "not a JSON object" },
    { text: '{"PublicIP":null}', reason: "PublicIP is null, but must be an IPv4 address" },
    {
      text: '{"PublicIP":"fd00::1"}',
      reason: 'PublicIP is "fd00::1" (a string), but must be an IPv4 address',
    },
    { text: '{"PublicIP":"010.0.0.1"}', reason: "must be an IPv4 address" },
    { text: '{"PublicIP":7}', reason: "PublicIP is 7 (a number)" },
    { text: '{"PublicIPv6":"192.0.2.7"}', reason: "PublicIPv6 is" },
    { text: '{"PublicIPv6":""}', reason: "PublicIPv6 is" },
    { text: '{"BackendType":1}', reason: 'BackendType is 1 (a number), but must be a text such as "vxlan"' },
    { text: `{"X":"${"x".repeat(70_000)}"}`, reason: "at most 65536" },
  ])("$reason", ({ text, reason }) => {
    expect(() => parseLeaseValue(text)).toThrow(reason);
  });
});

describe("keys", () => {
  test.each([
    { name: "10.5.7.0-24", subnets: { subnet: parseCidr("10.5.7.0/24") } },
    {
      name: "10.5.7.0-24&fd00:5:0:7::-64",
      subnets: { subnet: parseCidr("10.5.7.0/24"), subnet6: parseCidr("fd00:5:0:7::/64") },
    },
    { name: "10.5.7.0-30", subnets: { subnet: parseCidr("10.5.7.0/30") } },
    { name: "0.0.0.0-0&fd00:5:0:7::-64", subnets: { subnet6: parseCidr("fd00:5:0:7::/64") } },
  ])("$name", ({ name, subnets }) => {
    expect(formatLeaseKey(PREFIX, subnets)).toBe(key(name));
    expect(parseLeaseKey(PREFIX, key(name))).toEqual(subnets);
  });

  test.each([
    { name: "", reason: "is not an IPv4 subnet such as 10.5.7.0-24" },
    { name: "hello", reason: '"hello" is not an IPv4 subnet' },
    { name: "10.5.7.0", reason: "is not an IPv4 subnet" },
    { name: "10.5.7.0-", reason: "is not an IPv4 subnet" },
    { name: "10.5.7.0-33", reason: "is not an IPv4 subnet" },
    { name: "10.5.7.0-24 ", reason: "is not an IPv4 subnet" },
    { name: "10.5.7.0-024", reason: "10.5.7.0-24 would be" },
    { name: "x/10.5.7.0-24", reason: "is not an IPv4 subnet" },
    { name: "0.0.0.0-0", reason: "is not an IPv4 subnet" },
    { name: "0.0.0.0-0&", reason: "is not an IPv6 subnet" },
    { name: "0.0.0.0-00&fd00:5:0:7::-64", reason: "is not an IPv4 subnet" },
    { name: "10.5.7.9-24", reason: "has host bits set; the subnet is 10.5.7.0-24" },
    { name: "fd00::-64", reason: "is not an IPv4 subnet" },
    { name: "10.5.7.0-24&", reason: "is not an IPv6 subnet" },
    { name: "10.5.7.0-24&10.6.0.0-24", reason: "is not an IPv6 subnet" },
    { name: "10.5.7.0-24&FD00:5::-64", reason: "10.5.7.0-24&fd00:5::-64 would be" },
    { name: "10.5.7.0-24&fd00:5::-64&x", reason: "is not how this subnet is written" },
    { name: `10.5.7.0-24${"9".repeat(400)}`, reason: "is not an IPv4 subnet" },
  ])("$name: $reason", ({ name, reason }) => {
    expect(() => parseLeaseKey(PREFIX, key(name))).toThrow(reason);
  });

  test("flannel lists without a slash and so reads these; we do not", () => {
    expect(() => parseLeaseKey(PREFIX, `${PREFIX}/subnets-old/10.5.7.0-24`)).toThrow("does not begin with");
  });
});

describe("an entry", () => {
  test("is a lease, named by its public IP", () => {
    expect(readLeaseEntry(PREFIX, key("10.5.7.0-24"), '{"PublicIP":"192.0.2.7"}')).toEqual({
      key: key("10.5.7.0-24"),
      subnets: { subnet: "10.5.7.0/24" },
      lease: { nodeName: "192.0.2.7", subnet: "10.5.7.0/24", publicIp: "192.0.2.7", backendType: "" },
    });
  });

  test("without IPv4 is named by its IPv6 address, and must have one", () => {
    const name = key("0.0.0.0-0&fd00:5:0:7::-64");
    expect(readLeaseEntry(PREFIX, name, '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::7"}').lease).toEqual({
      nodeName: "2001:db8::7",
      subnet6: "fd00:5:0:7::/64",
      publicIp6: "2001:db8::7",
      backendType: "",
    });
    expect(readLeaseEntry(PREFIX, name, '{"PublicIP":"192.0.2.7"}').reason).toContain("PublicIPv6 is absent");
  });

  test("with a broken value still says which subnet it takes", () => {
    expect(readLeaseEntry(PREFIX, key("10.5.7.0-24"), "x")).toMatchObject({
      subnets: { subnet: "10.5.7.0/24" },
      reason: expect.stringContaining("not valid JSON"),
    });
  });

  test("with a foreign key has nothing but the reason", () => {
    expect(Object.keys(readLeaseEntry(PREFIX, key("x"), "{}"))).toEqual(["key", "reason"]);
  });
});
