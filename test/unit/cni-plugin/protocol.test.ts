// Requests, names, versions and error results of the CNI protocol.
import { describe, expect, test } from "vitest";
import {
  CniError,
  SUPPORTED_VERSIONS,
  compareVersions,
  formatError,
  parseRequest,
  problemOfContainerId,
  problemOfIfName,
} from "../../../cni-plugin/protocol.ts";

const COMPLETE = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "abc",
  CNI_NETNS: "/run/netns/x",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin:/usr/lib/cni:",
};

test("a request is read from the environment", () => {
  expect(parseRequest(COMPLETE)).toMatchObject({
    verb: "ADD",
    containerId: "abc",
    netns: "/run/netns/x",
    ifName: "eth0",
    pluginPath: ["/opt/cni/bin", "/usr/lib/cni"],
  });
});

describe("variables that each verb cannot do without", () => {
  const needs: Readonly<Record<string, readonly string[]>> = {
    ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
    CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
    DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
    GC: ["CNI_PATH"],
    STATUS: [],
    VERSION: [],
  };
  for (const [verb, names] of Object.entries(needs)) {
    test(`${verb}: ${names.join(", ") || "none"}`, () => {
      const read = () => parseRequest({ CNI_COMMAND: verb });
      if (names.length === 0) expect(read().verb).toBe(verb);
      else expect(read).toThrow(`required env variables [${names.join(",")}] missing`);
    });
  }
});

describe("container IDs", () => {
  const good = ["a", "0", "some-container_id.1", "f".repeat(64), "A..", "a".repeat(200)];
  const bad = ["", ".", "..", "../x", "-a", "_a", "a/b", "a b", "a\n", "a@b", "ä", "a\0", "a".repeat(201)];
  for (const id of good)
    test(`${id.slice(0, 20)} is good`, () => expect(problemOfContainerId(id)).toBeUndefined());
  for (const id of bad) {
    test(`${JSON.stringify(id.slice(0, 20))} is bad`, () => expect(problemOfContainerId(id)).toBeDefined());
  }
});

describe("interface names, as the kernel's dev_valid_name", () => {
  const good = ["eth0", "a", "...", "net@1", "a23456789012345", "ü"];
  const bad = [".", "..", "a/b", "a:b", "a b", "a\tb", "a\u0001", "a234567890123456", "üüüüüüüü"];
  for (const name of good) test(`${name} is good`, () => expect(problemOfIfName(name)).toBeUndefined());
  for (const name of bad) {
    test(`${JSON.stringify(name)} is bad`, () => expect(problemOfIfName(name)).toBeDefined());
  }
});

test("versions are ordered, not compared as text", () => {
  expect([...SUPPORTED_VERSIONS].toSorted(compareVersions)).toEqual(SUPPORTED_VERSIONS);
  expect(compareVersions("0.4.0", "1.1.0")).toBeLessThan(0);
});

describe("error results", () => {
  test("have version, code, msg and details", () => {
    expect(JSON.parse(formatError(new CniError(7, "no", "because"), "0.4.0"))).toEqual({
      cniVersion: "0.4.0",
      code: 7,
      msg: "no",
      details: "because",
    });
  });
  test("leave empty details out, as libcni does", () => {
    expect(JSON.parse(formatError(new CniError(7, "no"), "1.0.0"))).not.toHaveProperty("details");
  });
});
