// flannel's annotations, text for text.
import { describe, expect, test } from "vitest";
import {
  addressProblems,
  annotationNames,
  diffAnnotations,
  formatAnnotations,
  readBackendData,
  readOwnAttributes,
} from "../../../src/ipam/kube-annotations-codec.ts";
import type { LeaseAttributes } from "../../../src/ipam/lease.ts";
import { parseIp } from "../../../src/net/ip.ts";

// The cases of flannel's own annotations_test.go.
test.each([
  ["flannel.alpha.coreos.com", "flannel.alpha.coreos.com/backend-type"],
  ["flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/backend-type"],
  ["flannel.alpha.coreos.com/prefix", "flannel.alpha.coreos.com/prefix-backend-type"],
  ["flannel.alpha.coreos.com/prefix-", "flannel.alpha.coreos.com/prefix-backend-type"],
  ["org.com", "org.com/backend-type"],
  ["org9.com", "org9.com/backend-type"],
  ["org.com/9", "org.com/9-backend-type"],
])("prefix %s", (prefix, backendType) => {
  expect(annotationNames(prefix).backendType).toBe(backendType);
});

test.each([
  "org",
  "org/",
  "org/prefix",
  "org.COM",
  "org.com/PREFIX",
  "a.b/c/d",
  "",
  "org.com/a.b",
  " org.com",
])("prefix %j is refused", (prefix) => {
  expect(() => annotationNames(prefix)).toThrow(/--kube-annotation-prefix.*must be a domain/);
});

const NAMES = annotationNames("flannel.alpha.coreos.com");
const short = (annotations: object): object =>
  Object.fromEntries(
    Object.entries(annotations).map(([name, value]) => [
      name.replace("flannel.alpha.coreos.com/", ""),
      value,
    ]),
  );
const vtep = (mac: string) => ({ VNI: 1, VtepMAC: mac });
const V4 = { publicIp: parseIp("192.0.2.7") };
const DUAL = { ...V4, publicIp6: parseIp("2001:db8::7") };

describe("what a node publishes", () => {
  test.each<[string, LeaseAttributes, object]>([
    [
      "vxlan",
      { ...V4, backendType: "vxlan", backendData: vtep("0a:1b:2c:3d:4e:5f") },
      {
        "kube-subnet-manager": "true",
        "backend-type": "vxlan",
        "backend-data": '{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"}',
        "public-ip": "192.0.2.7",
      },
    ],
    [
      "vxlan, both families",
      {
        ...DUAL,
        backendType: "vxlan",
        backendData: vtep("0a:1b:2c:3d:4e:5f"),
        backendData6: vtep("0a:1b:2c:3d:4e:60"),
      },
      {
        "kube-subnet-manager": "true",
        "backend-type": "vxlan",
        "backend-data": '{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"}',
        "public-ip": "192.0.2.7",
        "backend-v6-data": '{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:60"}',
        "public-ipv6": "2001:db8::7",
      },
    ],
    [
      "vxlan, IPv6 alone: nothing of IPv4",
      { publicIp6: DUAL.publicIp6, backendType: "vxlan", backendData6: vtep("0a:1b:2c:3d:4e:60") },
      {
        "kube-subnet-manager": "true",
        "backend-type": "vxlan",
        "backend-v6-data": '{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:60"}',
        "public-ipv6": "2001:db8::7",
      },
    ],
    [
      "host-gw: the word null",
      { ...V4, backendType: "host-gw" },
      {
        "kube-subnet-manager": "true",
        "backend-type": "host-gw",
        "backend-data": "null",
        "public-ip": "192.0.2.7",
      },
    ],
    [
      "host-gw, both families",
      { ...DUAL, backendType: "host-gw" },
      {
        "kube-subnet-manager": "true",
        "backend-type": "host-gw",
        "backend-data": "null",
        "public-ip": "192.0.2.7",
        "backend-v6-data": "null",
        "public-ipv6": "2001:db8::7",
      },
    ],
    [
      "alloc and udp: an empty type, nothing of IPv6",
      { ...DUAL, backendType: "" },
      {
        "kube-subnet-manager": "true",
        "backend-type": "",
        "backend-data": "null",
        "public-ip": "192.0.2.7",
      },
    ],
    [
      "wireguard",
      { ...V4, backendType: "wireguard", backendData: { PublicKey: "a+/=", Port: 51820 } },
      {
        "kube-subnet-manager": "true",
        "backend-type": "wireguard",
        "backend-data": '{"PublicKey":"a+/=","Port":51820}',
        "public-ip": "192.0.2.7",
      },
    ],
    [
      "extension: a JSON string, with Go's escapes",
      { ...V4, backendType: "extension", backendData: "<a & b>" },
      {
        "kube-subnet-manager": "true",
        "backend-type": "extension",
        "backend-data": '"\\u003ca \\u0026 b\\u003e"',
        "public-ip": "192.0.2.7",
      },
    ],
  ])("%s", (_, attributes, expected) => {
    expect(short(formatAnnotations(attributes, NAMES, {}))).toEqual(expected);
  });

  test("an administrator's overwrite is published in place of our address, also after years", () => {
    const present = {
      [NAMES.publicIpOverwrite[4]]: "203.0.113.9",
      [NAMES.publicIpOverwrite[6]]: "2001:DB8::9",
    };
    const attributes = { ...DUAL, backendType: "host-gw" };
    expect(short(formatAnnotations(attributes, NAMES, present))).toMatchObject({
      "public-ip": "203.0.113.9",
      "public-ipv6": "2001:db8::9",
    });
  });

  test("an overwrite that is no address of the family is ignored, and named", () => {
    const present = { [NAMES.publicIpOverwrite[4]]: "2001:db8::9", [NAMES.nodePublicIp[6]]: "here" };
    expect(short(formatAnnotations({ ...V4, backendType: "host-gw" }, NAMES, present))).toMatchObject({
      "public-ip": "192.0.2.7",
    });
    expect(addressProblems(present, NAMES)).toEqual([
      'annotation flannel.alpha.coreos.com/public-ip-overwrite is "2001:db8::9", but must be an IPv4 address; it is ignored',
      'annotation flannel.alpha.coreos.com/node-public-ipv6 is "here", but must be an IPv6 address; it is ignored',
    ]);
  });
});

test("only what differs is written", () => {
  const wanted = { a: "1", b: "2" };
  expect(diffAnnotations(wanted, { a: "1", b: "2", c: "3" })).toBeUndefined();
  expect(diffAnnotations(wanted, { a: "1", b: "3" })).toEqual({ b: "2" });
  expect(diffAnnotations(wanted, {})).toEqual(wanted);
});

test.each<[string | undefined, unknown]>([
  ['{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"}', vtep("0a:1b:2c:3d:4e:5f")],
  ["null", undefined],
  ["", undefined],
  [undefined, undefined],
  ["{", undefined],
])("backend-data %j", (text, expected) => {
  const annotations = text === undefined ? {} : { [NAMES.backendData[4]]: text };
  expect(readBackendData(annotations, NAMES, 4)).toEqual(expected);
});

test.each<[string, string, unknown]>([
  ["as flannel writes it", '{"VNI":1,"VtepMAC":"0a:1b:2c:3d:4e:5f"}', vtep("0a:1b:2c:3d:4e:5f")],
  ["another order, spaces", '{ "VtepMAC" : "0a:1b:2c:3d:4e:5f", "VNI" : 1 }', vtep("0a:1b:2c:3d:4e:5f")],
  ["flannel 0.11", '{"VtepMAC":"0a:1b:2c:3d:4e:5f"}', { VtepMAC: "0a:1b:2c:3d:4e:5f" }],
  ["broken by hand", '{VNI:1,"VtepMAC":"0A:1B:2C:3D:4E:5F"}', { VtepMAC: "0a:1b:2c:3d:4e:5f" }],
  ["nothing to recover", "hello", undefined],
])("our own MAC is recovered: %s", (_, text, data) => {
  const annotations = { [NAMES.backendType]: "vxlan", [NAMES.backendData[4]]: text };
  expect(readOwnAttributes(annotations, NAMES)?.backendData).toEqual(data);
});
