// Blocks less their excepts: what remains is exactly what the API says.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { cidrContainsIp, cidrOf, parseCidr } from "../../../src/net/cidr.ts";
import { bigintToIp } from "../../../src/net/ip.ts";
import { subtractCidrs } from "../../../src/policy/blocks.ts";

const cases = [
  { name: "a block without excepts is itself", cidr: "10.0.0.0/8", except: [], expected: ["10.0.0.0/8"] },
  { name: "every IPv4 address", cidr: "0.0.0.0/0", except: [], expected: ["0.0.0.0/1", "128.0.0.0/1"] },
  { name: "every IPv6 address", cidr: "::/0", except: [], expected: ["::/1", "8000::/1"] },
  {
    name: "a hole leaves the halves beside it",
    cidr: "10.0.0.0/24",
    except: ["10.0.0.64/26"],
    expected: ["10.0.0.0/26", "10.0.0.128/25"],
  },
  {
    name: "excepts may overlap",
    cidr: "10.0.0.0/24",
    except: ["10.0.0.0/25", "10.0.0.64/26"],
    expected: ["10.0.0.128/25"],
  },
  { name: "an except of all leaves nothing", cidr: "10.0.0.0/24", except: ["10.0.0.0/8"], expected: [] },
  { name: "an except elsewhere changes nothing", cidr: "10.0.0.0/24", except: ["10.1.0.0/24", "::/0"], expected: ["10.0.0.0/24"] },
  { name: "two halves leave nothing", cidr: "0.0.0.0/0", except: ["0.0.0.0/1", "128.0.0.0/1"], expected: [] },
]; // prettier-ignore

test.for(cases)("$name", ({ cidr, except, expected }) => {
  expect(subtractCidrs(parseCidr(cidr), except.map(parseCidr))).toEqual(expected);
});

test("an address is in one of the prefixes exactly if it is in the block and in no except", () => {
  const ip = fc
    .tuple(fc.constantFrom<4 | 6>(4, 6), fc.nat(0xffff))
    .map(([family, n]) => bigintToIp(family, BigInt(n)));
  const cidr = fc
    .tuple(ip, fc.integer({ min: 0, max: 20 }))
    .map(([base, bits]) => cidrOf(base, (base.includes(":") ? 128 : 32) - bits));
  fc.assert(
    fc.property(cidr, fc.array(cidr, { maxLength: 4 }), ip, (block, except, probe) => {
      const rest = subtractCidrs(block, except);
      const wanted = cidrContainsIp(block, probe) && !except.some((hole) => cidrContainsIp(hole, probe));
      expect(rest.filter((prefix) => cidrContainsIp(prefix, probe))).toHaveLength(wanted ? 1 : 0);
    }),
  );
});
