// Plans depend on what is known, not on how it became known: order, repetition and memory must not show.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createBackend } from "../../src/backends/registry.ts";
import type { HostState } from "../../src/host/state.ts";
import { subnetKeyOf } from "../../src/ipam/lease.ts";
import type { Lease } from "../../src/ipam/lease.ts";
import { cidrsOverlap, parseCidr } from "../../src/net/cidr.ts";
import { parseIp } from "../../src/net/ip.ts";
import { backendInput, dualLease, dualStackConfig, networkConfig } from "../support/backend-inputs.ts";

/** Leases as they come: right ones, and ones that contradict us or each other. */
function leases(type: string): fc.Arbitrary<Lease> {
  const overrides: fc.Arbitrary<Partial<Lease>> = fc.oneof(
    { weight: 5, arbitrary: fc.constant({}) },
    fc.constant({ backendType: "udp" }),
    fc.constant({ backendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:07" } }),
    fc.constant({ backendData: null }),
    fc.constant({ publicIp: parseIp("203.0.113.5") }),
    fc.constant({ subnet: parseCidr("10.244.7.0/24") }),
    fc.constant({ subnet: parseCidr("0.0.0.0/0") }),
    fc
      .constantFrom("10.244.0.32/28", "10.244.8.0/21", "10.244.9.128/25")
      .map((text) => ({ subnet: parseCidr(text) })),
  );
  return fc.tuple(fc.integer({ min: 2, max: 40 }), overrides).map(([n, more]) => dualLease(n, type, more));
}

const CONFIGS = [
  networkConfig("vxlan"),
  networkConfig("vxlan", { DirectRouting: true }),
  dualStackConfig("vxlan"),
  networkConfig("host-gw"),
  dualStackConfig("host-gw"),
];

describe.each(CONFIGS)("$backend.type $backend.options", (config) => {
  const type = config.backend.type;

  test("a backend that has planned before plans as a new one does", () => {
    fc.assert(
      fc.property(fc.array(fc.array(leases(type), { maxLength: 12 }), { maxLength: 6 }), (history) => {
        const veteran = createBackend(config);
        const known = new Map<string, Lease>();
        for (const event of history) {
          for (const lease of event) known.set(subnetKeyOf(lease), lease);
          const input = backendInput(config, [...known.values()]);
          expect(veteran.plan(input)).toEqual(createBackend(config).plan(input));
        }
      }),
    );
  });

  test("the order in which leases became known does not matter", () => {
    const unique = fc.uniqueArray(leases(type), { maxLength: 15, selector: ({ subnet }) => subnet });
    const shuffled = unique.chain((list) =>
      fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
    );
    fc.assert(
      fc.property(shuffled, ([list, other]) => {
        const backend = createBackend(config);
        expect(backend.plan(backendInput(config, list))).toEqual(backend.plan(backendInput(config, other)));
      }),
    );
  });

  test("no two rows of a plan claim one key, and nothing leads outside the network", () => {
    fc.assert(
      fc.property(fc.array(leases(type), { maxLength: 15 }), (list) => {
        const { state } = createBackend(config).plan(backendInput(config, list));
        for (const keys of keysOf(state)) expect(new Set(keys).size).toBe(keys.length);
        for (const { dst } of state.routes)
          expect(dst).toMatch(/^(10\.244\.\d+\.\d+\/(24|25|21|28)|fd00:5:0:[0-9a-f]+::\/64)$/);
        // A more specific route would take a part of somebody else's subnet.
        const subnets = state.routes.map(({ dst }) => dst);
        for (const one of subnets)
          expect(
            subnets.filter((other) => cidrsOverlap(one, other)),
            one,
          ).toHaveLength(1);
      }),
    );
  });
});

function keysOf({ routes, neighbors, fdb, links }: HostState): readonly string[][] {
  return [
    routes.map(({ dst }) => dst),
    neighbors.map(({ dev, ip }) => `${dev} ${ip}`),
    fdb.map(({ dev, mac }) => `${dev} ${mac}`),
    links.map(({ name }) => name),
  ];
}
