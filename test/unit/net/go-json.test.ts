// Go's JSON rules: case-insensitive keys, the last duplicate wins, null leaves the default.
import { describe, expect, it } from "vitest";
import { InvalidValueError } from "../../../src/net/errors.ts";
import {
  lookupOption,
  parseGoJson,
  readBooleanOption,
  readNumberOption,
  readStringOption,
} from "../../../src/net/go-json.ts";

describe("parseGoJson", () => {
  it.each([
    {
      name: "plain",
      text: '{"a":1,"b":[true,null,"x\\"y{"],"c":{"d":-1.5e2}}',
      value: { a: 1, b: [true, null, 'x"y{'], c: { d: -150 } },
    },
    { name: "spaces and empties", text: ' { "a" : { } , "b" : [ ] } ', value: { a: {}, b: [] } },
    { name: "scalars", text: ' "x" ', value: "x" },
    { name: "the last of two case variants wins", text: '{"Network":1,"network":2}', value: { network: 2 } },
    { name: "the last wins also when it repeats the first", text: '{"A":1,"a":2,"A":3}', value: { A: 3 } },
    { name: "nested objects too", text: '{"x":[{"K":1,"k":2}]}', value: { x: [{ k: 2 }] } },
    {
      name: "a long s folds to s, as in Go",
      text: '{"\\u017fubnetLen":1,"SubnetLen":2}',
      value: { SubnetLen: 2 },
    },
    { name: "escaped keys", text: '{"\\u0041":1,"a":2}', value: { a: 2 } },
  ])("$name", ({ text, value }) => {
    expect(parseGoJson(text)).toEqual(value);
  });

  it("keeps __proto__ an ordinary key", () => {
    const value = parseGoJson('{"__proto__":{"x":1}}') as Record<string, unknown>;
    expect(Object.keys(value)).toEqual(["__proto__"]);
    expect(value["x"]).toBeUndefined();
  });

  it.each(["", "{", "{'a':1}", '{"a":1,}', "01", "[1 2]", "\ufeff{}"])("refuses %j", (text) => {
    expect(() => parseGoJson(text)).toThrow(InvalidValueError);
  });

  it("refuses absurd nesting rather than overflow the stack", () => {
    expect(() => parseGoJson("[".repeat(100_000) + "]".repeat(100_000))).toThrow(/nested more than/);
  });
});

describe("typed readers", () => {
  const options = parseGoJson(
    '{"vni":5,"gbp":true,"mode":"auto","port":null,"mtu":"1450","learning":"true","f":1.5}',
  ) as Record<string, unknown>;

  it("finds keys in any case", () => {
    expect(lookupOption(options, "VNI")).toBe(5);
    expect(lookupOption(options, "absent")).toBeUndefined();
  });

  it("reads values, and the default for absent and null", () => {
    expect(readNumberOption(options, "VNI", { min: 0, max: 10, default: 1 })).toBe(5);
    expect(readNumberOption(options, "Port", { min: 1, max: 65535, default: 0 })).toBe(0);
    expect(readBooleanOption(options, "GBP", { default: false })).toBe(true);
    expect(readBooleanOption(options, "DirectRouting", { default: false })).toBe(false);
    expect(readStringOption(options, "Mode", { default: "separate", oneOf: ["separate", "auto"] })).toBe(
      "auto",
    );
    expect(readStringOption(options, "PSK", { default: "" })).toBe("");
  });

  it.each([
    {
      read: () => readNumberOption(options, "VNI", { min: 6, max: 10, default: 6 }),
      text: "Backend.VNI is 5 (a number), but must be a whole number from 6 to 10",
    },
    {
      read: () => readNumberOption(options, "MTU", { min: 68, max: 65535, default: 0 }),
      text: 'Backend.MTU is "1450" (a string), but must be a whole number from 68 to 65535',
    },
    {
      read: () => readNumberOption(options, "F", { min: 0, max: 9, default: 0, path: "" }),
      text: "F is 1.5 (a number), but must be a whole number from 0 to 9",
    },
    {
      read: () => readBooleanOption(options, "Learning", { default: false }),
      text: 'Backend.Learning is "true" (a string), but must be true or false (without quotes)',
    },
    {
      read: () => readStringOption(options, "VNI", { default: "" }),
      text: "Backend.VNI is 5 (a number), but must be a text in quotes",
    },
    {
      read: () => readStringOption(options, "Mode", { default: "", oneOf: ["ipv4", "ipv6"] }),
      text: 'Backend.Mode is "auto" (a string), but must be one of "ipv4", "ipv6"',
    },
  ])("says: $text", ({ read, text }) => {
    expect(read).toThrow(new InvalidValueError(text));
  });
});
