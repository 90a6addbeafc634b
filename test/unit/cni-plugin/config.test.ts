// What a network configuration may say, and what it means when it does not.
import { describe, expect, test } from "vitest";
import { decodeNetConf, parseNetConf, versionOf } from "../../../cni-plugin/config.ts";

const parse = (conf: object, verb: Parameters<typeof parseNetConf>[1] = "ADD") =>
  parseNetConf({ name: "n", ...conf }, verb);

test("what is not given has flannel's defaults", () => {
  expect(parse({})).toEqual({
    name: "n",
    cniVersion: "",
    subnetFile: "/run/flannel/subnet.env",
    dataDir: "/var/lib/cni/flannel",
    delegate: {},
    ipam: {},
    delegateTimeoutMs: 60_000,
  });
});

test("null and an empty path mean absent", () => {
  const conf = {
    subnetFile: null,
    dataDir: "",
    delegate: null,
    ipam: null,
    runtimeConfig: null,
    prevResult: null,
  };
  expect(parse(conf)).toEqual(parse({}));
});

test("an empty runtimeConfig is kept: flannel gives it to the delegate", () => {
  expect(parse({ runtimeConfig: {} })).toHaveProperty("runtimeConfig", {});
});

test("keys match in any case, as in Go; inside delegate they are the delegate's", () => {
  const conf = parse({ CNIVersion: "0.4.0", SUBNETFILE: "/s", Delegate: { MTU: 1, mtu: 2 } });
  expect(conf).toMatchObject({ cniVersion: "0.4.0", subnetFile: "/s", delegate: { MTU: 1, mtu: 2 } });
});

describe("versions that have the verb", () => {
  const cases = [
    { verb: "CHECK", version: "0.3.1", good: false },
    { verb: "CHECK", version: "0.4.0", good: true },
    { verb: "GC", version: "1.0.0", good: false },
    { verb: "STATUS", version: "1.0.0", good: false },
    { verb: "STATUS", version: "1.1.0", good: true },
    { verb: "DEL", version: "", good: true },
    { verb: "CHECK", version: "", good: false },
  ] as const;
  for (const { verb, version, good } of cases) {
    test(`${verb} in ${version || "no version, which is 0.1.0"}: ${good}`, () => {
      const read = () => parse({ cniVersion: version }, verb);
      if (good) expect(read().cniVersion).toBe(version);
      else expect(read).toThrow(`config version does not allow ${verb}`);
    });
  }
});

test("the version for errors is the configuration's where that makes sense", () => {
  expect(versionOf({ cniVersion: "0.3.1" })).toBe("0.3.1");
  for (const conf of [{ cniVersion: "9.9.9" }, { cniVersion: 1 }, {}, [], null]) {
    expect(versionOf(conf)).toBe("0.1.0");
  }
});

test("a broken text is told with its beginning", () => {
  expect(() => decodeNetConf("{oops")).toThrow(
    expect.objectContaining({ code: 6, details: 'standard input begins with "{oops"' }),
  );
});

describe("valid attachments of GC", () => {
  test("are read", () => {
    const conf = { cniVersion: "1.1.0", "cni.dev/valid-attachments": [{ containerID: "a", ifname: "eth0" }] };
    expect(parse(conf, "GC").validAttachments).toEqual([{ containerId: "a", ifName: "eth0" }]);
  });
  test("null is none; an absent key is no list", () => {
    expect(parse({ cniVersion: "1.1.0", "cni.dev/valid-attachments": null }, "GC").validAttachments).toEqual(
      [],
    );
    expect(parse({ cniVersion: "1.1.0" }, "GC").validAttachments).toBeUndefined();
  });
  test("the key's former name counts where the present one is absent", () => {
    const conf = { cniVersion: "1.1.0", "cni.dev/attachments": [{ containerID: "a", ifname: "eth0" }] };
    expect(parse(conf, "GC").validAttachments).toHaveLength(1);
    expect(parse({ ...conf, "cni.dev/valid-attachments": null }, "GC").validAttachments).toEqual([]);
  });
});

describe("networkPolicy", () => {
  const parse = (networkPolicy: unknown) =>
    parseNetConf({ name: "n", subnetFile: "/run/x/subnet.env", networkPolicy }, "ADD").networkPolicy;

  test("is off when absent, and has defaults beside the subnet file", () => {
    expect(parse(undefined)).toBeUndefined();
    expect(parse({})).toEqual({ socket: "/run/x/flanneld.sock", waitMs: 30_000, proceed: false });
    expect(parse({ socket: "/s", waitSeconds: 0.5, onFailure: "proceed" })).toEqual({
      socket: "/s",
      waitMs: 500,
      proceed: true,
    });
  });

  test.each([
    [{ socket: "s" }, '"networkPolicy.socket" is'],
    [
      { waitSeconds: 0 },
      '"networkPolicy.waitSeconds" is 0 (a number), but must be a number of seconds above 0',
    ],
    [{ waitSeconds: 601 }, "at most 600"],
    [{ onFailure: "ignore" }, 'but must be "error" or "proceed"'],
    [[], '"networkPolicy" is'],
  ])("%j is refused", (value, message) => expect(() => parse(value)).toThrow(message));
});
