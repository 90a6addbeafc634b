// Several daemons on one host: what each owns must never be another's.
import { describe, expect, test } from "vitest";
import { ownershipOf } from "../../../src/host/ownership.ts";
import { instanceOf, statusSocketPath } from "../../../src/host/status-socket-path.ts";

const INSTANCES = ["", "blue", "blue2", "blue-2", "blue.2", "BLUE", "a-name-that-is-much-too-long", "-", "ü"];
const prefixes = INSTANCES.map((instance) => ownershipOf([], [], instance).chainPrefix);

describe("chains", () => {
  test("the first daemon uses flannel's names, a named one shows its name", () => {
    expect(prefixes.slice(0, 2)).toEqual(["FLANNEL-", "FLANNEL_blue-"]);
  });

  test("no daemon's prefix begins with another's, and each is short enough for a chain's name", () => {
    for (const one of prefixes) {
      expect(
        prefixes.filter((other) => other.startsWith(one)),
        one,
      ).toEqual([one]);
      expect(`${one}POSTRTG`).toMatch(/^[A-Za-z][\w.-]{0,27}$/);
    }
  });
});

test.each([
  { subnetFile: "/run/flannel/subnet.env", instance: "", socket: "/run/flannel/flanneld.sock" },
  { subnetFile: "/run/flannel/blue.env", instance: "blue", socket: "/run/flannel/flanneld-blue.sock" },
  { subnetFile: "/x/net", instance: "net", socket: "/x/flanneld-net.sock" },
])("$subnetFile: instance '$instance'", ({ subnetFile, instance, socket }) => {
  expect(instanceOf(subnetFile)).toBe(instance);
  expect(statusSocketPath(subnetFile)).toBe(socket);
});
