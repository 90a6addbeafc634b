// Which traffic rules each set of flags gives; their exact text is in test/golden/iptables.
import { describe, expect, test } from "vitest";
import { planBlackhole } from "../../../src/backends/traffic-rules.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { trafficRows } from "../../support/traffic-rows.ts";

describe("planTrafficRules", () => {
  const cases = [
    {
      name: "both flags",
      changes: {},
      expected: ["nat FLANNEL-POSTRTG", "nat POSTROUTING", "filter FLANNEL-FWD", "filter FORWARD"],
    },
    { name: "no masquerade", changes: { ipMasq: false }, expected: ["filter FLANNEL-FWD", "filter FORWARD"] },
    {
      name: "no forward rules",
      changes: { forwardRules: false },
      expected: ["nat FLANNEL-POSTRTG", "nat POSTROUTING"],
    },
    {
      name: "a second daemon of the host has chains of its own",
      changes: { chainPrefix: "FLANNEL_blue-" },
      expected: ["nat FLANNEL_blue-POSTRTG", "nat POSTROUTING", "filter FLANNEL_blue-FWD", "filter FORWARD"],
    },
    { name: "neither", changes: { ipMasq: false, forwardRules: false }, expected: [] },
  ];
  test.each(cases)("$name", ({ changes, expected }) => {
    const places = trafficRows(4, changes).map(
      (row) => `${row.table} ${row.kind === "chain" ? row.name : row.from}`,
    );
    expect(places).toEqual(expected);
  });

  test("random source ports only where iptables has them", () => {
    const text = JSON.stringify(trafficRows(4, { randomFully: false }));
    expect(text).toContain("MASQUERADE");
    expect(text).not.toContain("--random-fully");
  });

  test("jumps are appended, as flannel's are, not put before the rules of others", () => {
    const positions = trafficRows(6).flatMap((row) => (row.kind === "jump" ? row.position : []));
    expect(positions).toEqual(["append", "append"]);
  });
});

test("a blackhole is the last choice, so that it never wins over the bridge's route of the same prefix", () => {
  expect(planBlackhole([parseCidr("10.244.1.0/24"), parseCidr("fd00:1::/64")])).toEqual([
    { dst: "10.244.1.0/24", type: "blackhole", onlink: false, metric: 4_294_967_295 },
    { dst: "fd00:1::/64", type: "blackhole", onlink: false, metric: 4_294_967_295 },
  ]);
});
