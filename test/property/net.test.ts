// Values: texts round-trip and arithmetic agrees with plain bigint arithmetic, in both families.
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  cidrBase,
  cidrContains,
  cidrContainsIp,
  cidrLast,
  cidrLength,
  cidrOf,
  cidrsOverlap,
  nextCidr,
  parseAddressWithPrefix,
  parseCidr,
  tryParseCidr,
} from "../../src/net/cidr.ts";
import { parseGoJson } from "../../src/net/go-json.ts";
import {
  addToIp,
  bigintToIp,
  bitsOf,
  compareIps,
  familyOf,
  ipToBigint,
  parseIp,
  tryParseIp,
} from "../../src/net/ip.ts";
import type { Family } from "../../src/net/ip.ts";
import { localMacFrom, parseMac, tryParseMac } from "../../src/net/mac.ts";

const family = fc.constantFrom<Family>(4, 6);

/** Integers with long runs of zero bits, as real addresses have, besides uniform ones. */
function valueOf(of: Family) {
  const bits = bitsOf(of);
  const max = (1n << BigInt(bits)) - 1n;
  return fc.oneof(
    fc.bigInt({ min: 0n, max }),
    fc
      .tuple(fc.bigInt({ min: 0n, max }), fc.nat({ max: bits }))
      .map(([n, shift]) => (n >> BigInt(shift)) << BigInt(shift)),
    fc
      .array(fc.constantFrom<bigint>(0n, 0n, 1n, 0xffffn), { minLength: bits / 16, maxLength: bits / 16 })
      .map((groups) => groups.reduce<bigint>((n, group) => (n << 16n) | group, 0n)),
  );
}

const address = family.chain((of) => valueOf(of).map((value) => ({ family: of, value })));
const prefix = family.chain((of) =>
  fc.record({ family: fc.constant(of), value: valueOf(of), length: fc.nat({ max: bitsOf(of) }) }),
);
/** Two prefixes of one family, often nested or adjacent. */
const prefixPair = prefix.chain((a) =>
  fc
    .record({
      a: fc.constant(a),
      length: fc.nat({ max: bitsOf(a.family) }),
      flip: fc.nat({ max: bitsOf(a.family) }),
    })
    .map(({ length, flip }) => ({ a, b: { ...a, length, value: a.value ^ ((1n << BigInt(flip)) >> 1n) } })),
);

type Prefix = { family: Family; value: bigint; length: number };

/** First and last address, by the definition of a prefix. */
function bounds({ family: of, value, length }: Prefix): readonly [bigint, bigint] {
  const size = 1n << BigInt(bitsOf(of) - length);
  const first = value - (value % size);
  return [first, first + size - 1n];
}

const cidrFrom = (p: Prefix) => cidrOf(bigintToIp(p.family, p.value), p.length);

describe("addresses", () => {
  it("integer -> text -> integer", () => {
    fc.assert(
      fc.property(address, ({ family: of, value }) => {
        const text = bigintToIp(of, value);
        expect(familyOf(text)).toBe(of);
        expect(ipToBigint(text)).toBe(value);
        expect(parseIp(text)).toBe(text);
      }),
    );
  });

  it("every spelling of an IPv6 address parses to one canonical text, that of the URL standard", () => {
    const spelling = fc.record({ value: valueOf(6), upper: fc.boolean(), pad: fc.boolean() });
    fc.assert(
      fc.property(spelling, ({ value, upper, pad }) => {
        const groups = Array.from({ length: 8 }, (_, i) =>
          ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
        );
        const long = groups.map((group) => (pad ? group.padStart(4, "0") : group)).join(":");
        const canonical = new URL(`http://[${long}]`).hostname.slice(1, -1);
        expect(parseIp(upper ? long.toUpperCase() : long)).toBe(canonical);
      }),
    );
  });

  it("arithmetic and order are those of integers; past either end throws", () => {
    fc.assert(
      fc.property(
        address,
        fc.bigInt({ min: -(2n ** 33n), max: 2n ** 33n }),
        ({ family: of, value }, offset) => {
          const sum = value + offset;
          const ip = bigintToIp(of, value);
          if (sum < 0n || sum >> BigInt(bitsOf(of)) !== 0n) {
            expect(() => addToIp(ip, offset)).toThrow(RangeError);
            return;
          }
          const moved = addToIp(ip, offset);
          expect(ipToBigint(moved)).toBe(sum);
          expect(Math.sign(compareIps(ip, moved))).toBe(offset === 0n ? 0 : offset > 0n ? -1 : 1);
        },
      ),
    );
  });

  it("any text parses to something that prints as itself, or not at all", () => {
    const texts = fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f.:x/%]{0,24}$/), fc.ipV4(), fc.ipV6());
    fc.assert(
      fc.property(texts, (text) => {
        const ip = tryParseIp(text);
        if (ip !== undefined) expect(bigintToIp(familyOf(ip), ipToBigint(ip))).toBe(ip);
        const cidr = tryParseCidr(text);
        if (cidr !== undefined) expect(parseCidr(cidr)).toBe(cidr);
      }),
    );
  });
});

describe("prefixes", () => {
  it("mask, base, last and round trip", () => {
    fc.assert(
      fc.property(prefix, (p) => {
        const cidr = cidrFrom(p);
        const [first, last] = bounds(p);
        expect([ipToBigint(cidrBase(cidr)), ipToBigint(cidrLast(cidr)), cidrLength(cidr)]).toEqual([
          first,
          last,
          p.length,
        ]);
        expect(parseCidr(`${bigintToIp(p.family, p.value)}/${p.length}`)).toBe(cidr);
        expect(parseAddressWithPrefix(cidr)).toEqual({ ip: cidrBase(cidr), prefixLength: p.length });
      }),
    );
  });

  it("containment and overlap are those of integer ranges", () => {
    fc.assert(
      fc.property(prefixPair, ({ a, b }) => {
        const [[firstA, lastA], [firstB, lastB]] = [bounds(a), bounds(b)];
        expect(cidrContains(cidrFrom(a), cidrFrom(b))).toBe(firstA <= firstB && lastB <= lastA);
        expect(cidrsOverlap(cidrFrom(a), cidrFrom(b))).toBe(firstA <= lastB && firstB <= lastA);
        expect(cidrContainsIp(cidrFrom(a), bigintToIp(b.family, b.value))).toBe(
          firstA <= b.value && b.value <= lastA,
        );
      }),
    );
  });

  it("families never mix", () => {
    fc.assert(
      fc.property(prefix, prefix, (a, b) => {
        fc.pre(a.family !== b.family);
        expect(cidrsOverlap(cidrFrom(a), cidrFrom(b))).toBe(false);
      }),
    );
  });

  it("the next prefix begins where this one ends", () => {
    fc.assert(
      fc.property(prefix, (p) => {
        const cidr = cidrFrom(p);
        const end = bounds(p)[1] + 1n;
        if (end >> BigInt(bitsOf(p.family)) !== 0n) expect(() => nextCidr(cidr)).toThrow(RangeError);
        else expect(nextCidr(cidr)).toBe(`${bigintToIp(p.family, end)}/${p.length}`);
      }),
    );
  });
});

describe("MAC addresses", () => {
  it("random bytes become local unicast addresses that parse in every spelling", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
        const mac = localMacFrom(bytes);
        expect(Number.parseInt(mac.slice(0, 2), 16) & 3).toBe(2);
        expect(parseMac(mac.toUpperCase().replaceAll(":", "-"))).toBe(mac);
        expect(tryParseMac(mac.replaceAll(":", ""))).toBeUndefined();
      }),
    );
  });
});

describe("Go's JSON", () => {
  it("agrees with JSON.parse where no two keys differ in case only", () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ stringUnit: "binary" }),
        fc.constantFrom(undefined, 1, "\t"),
        (value, indent) => {
          const text = JSON.stringify(value, undefined, indent);
          fc.pre(!hasCaseTwins(JSON.parse(text)));
          expect(parseGoJson(text)).toEqual(JSON.parse(text));
        },
      ),
    );
  });

  it("of members that fold together the last one stays", () => {
    const members = fc.array(
      fc.tuple(fc.constantFrom("a", "A", "b", "B", "Network", "network", "NETWORK"), fc.nat()),
    );
    fc.assert(
      fc.property(members, (pairs) => {
        const text = `{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",")}}`;
        const last = new Map(pairs.map((pair) => [pair[0].toLowerCase(), pair] as const));
        expect(parseGoJson(text)).toEqual(Object.fromEntries(last.values()));
      }),
    );
  });
});

function hasCaseTwins(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const keys = Array.isArray(value)
    ? []
    : Object.keys(value).map((key) => key.toLowerCase().replaceAll("\u017f", "s"));
  return new Set(keys).size !== keys.length || Object.values(value).some((item) => hasCaseTwins(item));
}
