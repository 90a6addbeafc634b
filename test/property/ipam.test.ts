// Allocation, configuration, subnet file and lease book under random input.
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { capacityOf, chooseSubnet, fitsRange } from "../../src/ipam/allocator.ts";
import { applyLeaseEvent, subnetKeyOf } from "../../src/ipam/lease.ts";
import type { Lease, LeaseBook, LeaseEvent } from "../../src/ipam/lease.ts";
import type { SubnetRange } from "../../src/ipam/network-config.ts";
import { formatNetworkConfig, parseNetworkConfig } from "../../src/ipam/parse-network-config.ts";
import {
  parsePreviousSubnetFile,
  parseSubnetFileForPlugin,
  renderSubnetFile,
} from "../../src/ipam/subnet-file-codec.ts";
import { cidrOf, cidrsOverlap, nextCidr } from "../../src/net/cidr.ts";
import type { Cidr } from "../../src/net/cidr.ts";
import { addToIp, bitsOf, parseIp } from "../../src/net/ip.ts";
import type { Family, Ip } from "../../src/net/ip.ts";
import { runs } from "../support/property-runs.ts";

const BASES: Readonly<Record<Family, readonly Ip[]>> = {
  4: [parseIp("10.5.0.0"), parseIp("255.255.0.0"), parseIp("172.16.0.0")],
  6: [parseIp("fd00:5::"), parseIp("ffff:ffff:ffff:ffff:ffff:ffff:ffff:0")],
};

/** A range of 4 to 256 subnets somewhere in the address space, at times with a minimum and a maximum inside. */
const range: fc.Arbitrary<SubnetRange> = fc
  .record({
    family: fc.constantFrom<Family>(4, 6),
    pick: fc.nat(),
    more: fc.integer({ min: 2, max: 8 }),
    hostBits: fc.integer({ min: 2, max: 8 }),
    ends: fc.tuple(fc.nat(), fc.nat()),
  })
  .map(({ family, pick, more, hostBits, ends }) => {
    const bases = BASES[family];
    const subnetLength = bitsOf(family) - hostBits;
    const network = cidrOf(bases[pick % bases.length] ?? parseIp("10.5.0.0"), subnetLength - more);
    const [low, high] = ends.map((end) => end % 2 ** more).sort((a, b) => a - b);
    const at = (index = 0) => addToIp(network.slice(0, network.indexOf("/")) as Ip, index * 2 ** hostBits);
    return { network, subnetLength, min: at(low), max: at(high) };
  });

/** Prefixes in and around a range: of its own length, shorter and longer. */
function takenIn({ network, subnetLength }: SubnetRange): fc.Arbitrary<readonly Cidr[]> {
  const [base = "", length = ""] = network.split("/");
  const bits = base.includes(":") ? 128 : 32;
  const size = 2 ** (bits - Number(length));
  const one = fc
    .tuple(
      fc.nat({ max: size - 1 }),
      fc.integer({ min: Number(length), max: Math.min(bits, subnetLength + 3) }),
    )
    .map(([offset, prefixLength]) => cidrOf(addToIp(parseIp(base), offset), prefixLength));
  const exact = fc
    .nat({ max: size - 1 })
    .map((offset) => cidrOf(addToIp(parseIp(base), offset), subnetLength));
  return fc.array(fc.oneof({ weight: 1, arbitrary: one }, { weight: 8, arbitrary: exact }), {
    maxLength: 300,
    size: "max",
  });
}

/** All free subnets, the slow and obvious way. */
function freeByBruteForce(r: SubnetRange, taken: readonly Cidr[]): readonly Cidr[] {
  const free: Cidr[] = [];
  for (let subnet = cidrOf(r.min, r.subnetLength); ; subnet = nextCidr(subnet)) {
    if (!taken.some((other) => cidrsOverlap(subnet, other))) free.push(subnet);
    if (subnet === cidrOf(r.max, r.subnetLength)) return free;
  }
}

describe("chooseSubnet", () => {
  it("draws from exactly the first hundred free subnets, and finds none only if there is none", () => {
    const scenario = range.chain((r) =>
      fc.record({ r: fc.constant(r), taken: takenIn(r), draw: fc.nat({ max: 9999 }) }),
    );
    fc.assert(
      fc.property(scenario, ({ r, taken, draw }) => {
        const candidates = freeByBruteForce(r, taken).slice(0, 100);
        const chosen = chooseSubnet({ range: r, taken, random: () => draw / 10_000 });
        expect(chosen).toBe(candidates[Math.floor((draw / 10_000) * candidates.length)]);
        if (chosen !== undefined) expect(fitsRange(r, chosen)).toBe(true);
      }),
    );
  });

  it("hands out all subnets of a range, each once", () => {
    fc.assert(
      fc.property(range, fc.infiniteStream(fc.nat({ max: 9999 })), (r, draws) => {
        const taken: Cidr[] = [];
        for (;;) {
          const subnet = chooseSubnet({ range: r, taken, random: () => Number(draws.next().value) / 10_000 });
          if (subnet === undefined) break;
          expect(taken.some((other) => cidrsOverlap(other, subnet))).toBe(false);
          taken.push(subnet);
        }
        expect(BigInt(taken.length)).toBe(capacityOf(r));
      }),
      { numRuns: runs(20) },
    );
  });
});

describe("network config", () => {
  it("text -> config -> canonical text -> the same config", () => {
    const config = fc.record(
      {
        Network: fc
          .tuple(fc.ipV4(), fc.integer({ min: 1, max: 28 }))
          .map(([ip, length]) => `${ip}/${length}`),
        subnetLEN: fc.integer({ min: 0, max: 32 }),
        EnableIPv6: fc.boolean(),
        IPv6Network: fc
          .tuple(fc.ipV6(), fc.integer({ min: 1, max: 124 }))
          .map(([ip, length]) => `${ip}/${length}`),
        Backend: fc.record(
          { type: fc.constantFrom("vxlan", "HOST-GW"), VNI: fc.nat(), Unheard: fc.jsonValue() },
          { requiredKeys: ["type"] },
        ),
      },
      { requiredKeys: ["Network", "IPv6Network"] },
    );
    fc.assert(
      fc.property(config, (given) => {
        let parsed;
        try {
          parsed = parseNetworkConfig(JSON.stringify(given));
        } catch {
          return; // a rule refused it; the rules have their own table
        }
        const canonical = formatNetworkConfig(parsed);
        const again = parseNetworkConfig(canonical);
        expect(formatNetworkConfig(again)).toBe(canonical);
        expect({ ...again, backend: again.backend.type }).toEqual({
          ...parsed,
          backend: parsed.backend.type,
        });
      }),
    );
  });
});

describe("subnet file", () => {
  it("both readers read back what was rendered, and neither breaks on rubbish", () => {
    const both = fc.record({
      r4: range,
      r6: range,
      mtu: fc.integer({ min: 68, max: 65_535 }),
      ipMasq: fc.boolean(),
    });
    fc.assert(
      fc.property(both, ({ r4, r6, mtu, ipMasq }) => {
        const file = {
          ipv4: { network: r4.network, subnet: cidrOf(r4.min, r4.subnetLength) },
          ipv6: { network: r6.network, subnet: cidrOf(r6.max, r6.subnetLength) },
        };
        const text = renderSubnetFile({ ...file, mtu, ipMasq });
        expect(parsePreviousSubnetFile(text)).toEqual({
          network: file.ipv4.network,
          subnet: file.ipv4.subnet,
          network6: file.ipv6.network,
          subnet6: file.ipv6.subnet,
        });
        expect(parseSubnetFileForPlugin(text, "x")).toMatchObject({
          subnet: file.ipv4.subnet,
          subnet6: file.ipv6.subnet,
          mtu,
          ipMasq,
        });
      }),
    );
    fc.assert(fc.property(fc.string(), (text) => void parsePreviousSubnetFile(text)));
  });
});

describe("lease book", () => {
  const subnets = ["10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24", "10.5.4.0/24"] as Cidr[];
  const lease = (subnet: Cidr, version: number): Lease => ({
    nodeName: `node-${version}`,
    subnet,
    publicIp: parseIp(`192.0.2.${version}`),
    backendType: "host-gw",
  });
  /** What happens to one subnet, in order: a version that is put, or null for a removal. */
  const histories = fc.tuple(
    ...subnets.map(() => fc.array(fc.option(fc.nat({ max: 255 })), { maxLength: 6 })),
  );
  const eventOf = (subnet: Cidr, version: number | null): LeaseEvent =>
    version === null
      ? { type: "removed", subnetKey: subnet }
      : { type: "put", lease: lease(subnet, version) };
  const fold = (events: readonly LeaseEvent[], from: LeaseBook = new Map()): LeaseBook =>
    events.reduce((book, event) => applyLeaseEvent(book, event), from);
  /** Interleaves the histories of all subnets as `turns` says, keeping the order of each. */
  const interleave = (
    all: readonly (readonly (number | null)[])[],
    turns: readonly number[],
  ): LeaseEvent[] => {
    const queues = all.map((history, i) =>
      history.map((version) => eventOf(subnets[i] ?? subnets[0]!, version)),
    );
    const events: LeaseEvent[] = [];
    for (const turn of turns) events.push(...queues[turn % queues.length]!.splice(0, 1));
    return events.concat(...queues);
  };
  const turns = fc.array(fc.nat(), { maxLength: 40 });

  it("any order of events with the same end gives the same book", () => {
    fc.assert(
      fc.property(histories, turns, turns, (all, one, other) => {
        expect(fold(interleave(all, one))).toEqual(fold(interleave(all, other)));
      }),
    );
  });

  it("the end is the last word on each subnet, however often each event is repeated", () => {
    fc.assert(
      fc.property(histories, turns, (all, order) => {
        const events = interleave(all, order);
        const expected = new Map<string, Lease>();
        for (const [i, history] of all.entries()) {
          const version = history.at(-1) ?? null;
          const subnet = subnets[i] ?? subnets[0]!;
          if (version !== null) expected.set(subnet, lease(subnet, version));
        }
        expect(fold(events)).toEqual(expected);
        expect(fold(events.flatMap((event) => [event, event]))).toEqual(expected);
      }),
    );
  });

  it("a snapshot says the same as the events that led to it, whatever the book held before", () => {
    fc.assert(
      fc.property(histories, histories, turns, (before, all, order) => {
        const book = fold(interleave(all, order));
        const snapshot: LeaseEvent = { type: "snapshot", leases: [...book.values()] };
        expect(fold([snapshot], fold(interleave(before, order)))).toEqual(book);
      }),
    );
  });

  it("never changes the book that it is given", () => {
    fc.assert(
      fc.property(histories, histories, turns, (before, all, order) => {
        const book = fold(interleave(before, order));
        const copy = new Map(book);
        fold(interleave(all, order), book);
        fold([{ type: "snapshot", leases: [] }], book);
        expect(book).toEqual(copy);
      }),
    );
  });

  it("keys dual-stack leases by both subnets", () => {
    const subnet6 = cidrOf(parseIp("fd00:5:0:7::"), 64);
    expect(subnetKeyOf({ subnet: subnets[0]!, subnet6 })).toBe("10.5.1.0/24&fd00:5:0:7::/64");
  });
});
