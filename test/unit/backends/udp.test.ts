// The udp backend's options, MTU and data path: what golden files do not show.
import { describe, expect, test } from "vitest";
import { createBackend } from "../../../src/backends/registry.ts";
import { parseUdpOptions } from "../../../src/backends/udp.ts";
import { parseIp } from "../../../src/net/ip.ts";
import {
  backendInput,
  dualLease,
  dualStackConfig,
  lease,
  networkConfig,
  NODE,
  UPLINK,
} from "../../support/backend-inputs.ts";

describe("options", () => {
  test("are flannel's port and device unless set, in any case of letters", () => {
    const defaults = { port: 8285, device: "flannel0", offload: true, peersOnly: true };
    expect(parseUdpOptions({})).toEqual(defaults);
    const given = { port: 9000, DEVICE: "overlay.1", Offload: false, peersonly: false };
    expect(parseUdpOptions(given)).toEqual({
      port: 9000,
      device: "overlay.1",
      offload: false,
      peersOnly: false,
    });
  });

  test.each([
    [{ Port: 0 }, /Port/],
    [{ Port: 70_000 }, /Port.*1 to 65535/],
    [{ Device: "a b" }, /Device is "a b", but must be a name of at most 15/],
    [{ Device: "seventeen-letters" }, /at most 15/],
    [{ Device: "" }, /Device/],
    [{ Offload: "yes" }, /Offload/],
  ])("%j is refused with what would be right", (options, problem) => {
    expect(() => parseUdpOptions(options)).toThrow(problem);
  });
});

test("pods get the uplink's MTU less the outer headers; with IPv6 those of IPv6", () => {
  expect(createBackend(networkConfig("udp")).podMtu(UPLINK)).toBe(1472);
  expect(createBackend(dualStackConfig("udp")).podMtu(UPLINK)).toBe(1452);
});

test("a node publishes no type and no data, as flannel's", () => {
  expect(createBackend(networkConfig("udp")).attributes(NODE)).toEqual({ backendType: "" });
});

test("the data path sends each peer's subnets to its public IP of the same family, from the uplink's address", () => {
  const config = dualStackConfig("udp", { Port: 9000 });
  const behindNat = { ...NODE, publicIps: { 4: parseIp("198.51.100.7"), 6: parseIp("2001:db8::1") } };
  const { dataPath } = createBackend(config).plan(backendInput(config, [dualLease(2, "")], behindNat));
  expect(dataPath).toEqual({
    kind: "udp",
    device: "flannel0",
    port: 9000,
    locals: { 4: "192.0.2.1", 6: "2001:db8::1" },
    inner: { 4: "10.244.1.0", 6: "fd00:5:0:1::" },
    offload: true,
    peersOnly: true,
    peers: [
      { prefix: "10.244.2.0/24", remote: "192.0.2.2" },
      { prefix: "fd00:5:0:2::/64", remote: "2001:db8::2" },
    ],
  });
});

test("a peer that cannot be right is not in the data path, and is named", () => {
  const config = networkConfig("udp");
  const own = lease(7, "", { publicIp: parseIp("192.0.2.1") });
  const { dataPath, reach } = createBackend(config).plan(backendInput(config, [own, lease(3, "vxlan")]));
  expect(dataPath?.peers).toEqual([]);
  expect(reach.map(({ how }) => how)).toEqual(["ignored", "ignored"]);
});
