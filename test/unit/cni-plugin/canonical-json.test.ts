// State files can be compared with those that flannel wrote, byte for byte.
import { describe, expect, test } from "vitest";
import { formatCanonicalJson } from "../../../cni-plugin/canonical-json.ts";

/** The right-hand sides were printed by Go's encoding/json for a map[string]interface{} of the same text. */
const CASES: readonly (readonly [string, string])[] = [
  ['{"b":1,"a":{"d":2,"c":3},"":0,"_":1,"Z":2}', '{"":0,"Z":2,"_":1,"a":{"c":3,"d":2},"b":1}'],
  ["[ 1 , [ ] , { } , null , true ]", "[1,[],{},null,true]"],
  ['"<a&b>\\u2028\\u2029"', '"\\u003ca\\u0026b\\u003e\\u2028\\u2029"'],
  ['"é 😀 \\b\\f\\n\\r\\t\\"\\\\ \\/"', '"é 😀 \\b\\f\\n\\r\\t\\"\\\\ /"'],
  ['"\\u0001\\u007f"', '"\\u0001\u007f"'],
  ['"\\ud800x"', '"\ufffdx"'],
  ["[1e21,1e-7,0.1,123456789012345678,-5,1450.0]", "[1e+21,1e-7,0.1,123456789012345680,-5,1450]"],
  ['{"__proto__":{"x":1}}', '{"__proto__":{"x":1}}'],
];

describe("JSON as Go writes it", () => {
  for (const [input, expected] of CASES) {
    test(input, () => expect(formatCanonicalJson(JSON.parse(input))).toBe(expected));
  }

  test("nesting beyond all reason is refused instead of overflowing the stack", () => {
    const deep = JSON.parse(`${"[".repeat(5000)}${"]".repeat(5000)}`);
    expect(() => formatCanonicalJson(deep)).toThrow(RangeError);
  });
});
