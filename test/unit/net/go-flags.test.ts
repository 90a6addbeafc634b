// Go's flag syntax, form by form.
import { describe, expect, it } from "vitest";
import {
  editDistance,
  nearestWord,
  parseFlags,
  parseGoBoolean,
  parseGoInteger,
} from "../../../src/net/go-flags.ts";
import type { FlagSpec } from "../../../src/net/go-flags.ts";

const SPECS: readonly FlagSpec[] = [
  { kind: "text", name: "prefix", group: "g", default: "/p", help: "" },
  { kind: "list", name: "iface", group: "g", default: [], help: "" },
  { kind: "integer", name: "port", group: "g", default: 0, help: "" },
  { kind: "boolean", name: "ip-masq", group: "g", default: false, help: "" },
  { kind: "boolean", name: "forward", group: "g", default: true, help: "" },
  { kind: "boolean", name: "version", group: "g", default: false, help: "", fromEnvironment: false },
];

function parse(argv: readonly string[], env: Record<string, string> = {}, interspersed = false) {
  const { given, positionals } = parseFlags({ specs: SPECS, argv, env, envPrefix: "APP_", interspersed });
  return { given: Object.fromEntries(given), positionals };
}

describe("words", () => {
  it.each<[string, readonly string[], Record<string, unknown>, readonly string[]]>([
    ["one hyphen, equals", ["-prefix=/x"], { prefix: "/x" }, []],
    ["two hyphens, equals", ["--prefix=/x"], { prefix: "/x" }, []],
    ["one hyphen, next word", ["-prefix", "/x"], { prefix: "/x" }, []],
    ["two hyphens, next word", ["--prefix", "/x"], { prefix: "/x" }, []],
    ["a value with an equals sign", ["--prefix=a=b"], { prefix: "a=b" }, []],
    ["an empty value", ["--prefix="], { prefix: "" }, []],
    ["a value that begins with a hyphen", ["--prefix", "-secret"], { prefix: "-secret" }, []],
    ["the last of several counts", ["--prefix=a", "--prefix=b"], { prefix: "b" }, []],
    ["a repeatable flag keeps all", ["-iface=a", "--iface", "b"], { iface: ["a", "b"] }, []],
    ["a bare boolean", ["--ip-masq"], { "ip-masq": true }, []],
    ["a boolean turned off", ["--forward=false"], { forward: false }, []],
    ["a boolean never takes the next word", ["--ip-masq", "false"], { "ip-masq": true }, ["false"]],
    ["the first positional ends the flags", ["x", "--ip-masq"], {}, ["x", "--ip-masq"]],
    ["two hyphens end the flags", ["--ip-masq", "--", "--forward"], { "ip-masq": true }, ["--forward"]],
    ["a lone hyphen is a positional", ["-"], {}, ["-"]],
    ["empty words mean nothing", ["", "--ip-masq", ""], { "ip-masq": true }, []],
    ["an integer", ["--port=8081"], { port: 8081 }, []],
    ["a hexadecimal integer", ["--port=0x10"], { port: 16 }, []],
    ["a negative integer", ["-port", "-1"], { port: -1 }, []],
  ])("%s", (_name, argv, given, positionals) => {
    expect(parse(argv)).toEqual({ given, positionals });
  });

  it("takes flags after positionals where asked to", () => {
    expect(parse(["get", "--ip-masq", "x", "--", "--y"], {}, true)).toEqual({
      given: { "ip-masq": true },
      positionals: ["get", "x", "--y"],
    });
  });

  it.each<[string, readonly string[], string]>([
    ["unknown, with the nearest", ["--ifcae=x"], "unknown flag --ifcae; did you mean --iface?"],
    ["unknown, like nothing", ["--zzzzzzzzz"], "unknown flag --zzzzzzzzz (--help lists all flags)"],
    ["no value", ["--prefix"], "--prefix needs a value: --prefix=VALUE"],
    ["a flag for a value", ["--iface", "--ip-masq"], "--iface needs a value, but the flag --ip-masq follows"],
    ["no whole number", ["--port=80a"], '--port: "80a" is not a whole number'],
    ["an empty number", ["--port="], '--port: "" is not a whole number'],
    ["no boolean", ["--ip-masq=yes"], '--ip-masq: "yes" is neither true nor false'],
    ["three hyphens", ["---x"], '"---x" is not a flag'],
    ["no name", ["--=x"], '"--=x" is not a flag'],
  ])("refuses %s", (_name, argv, message) => {
    expect(() => parse(argv)).toThrow(message);
  });
});

describe("environment", () => {
  it.each<[string, readonly string[], Record<string, string>, Record<string, unknown>]>([
    [
      "fills what was not given",
      [],
      { APP_PREFIX: "/e", APP_IP_MASQ: "true" },
      { prefix: "/e", "ip-masq": true },
    ],
    ["loses to the command line", ["--prefix=/c"], { APP_PREFIX: "/e" }, { prefix: "/c" }],
    ["loses to an explicit default", ["--ip-masq=false"], { APP_IP_MASQ: "1" }, { "ip-masq": false }],
    ["counts as absent when empty", [], { APP_PREFIX: "", APP_PORT: "" }, {}],
    ["gives a repeatable flag one value", [], { APP_IFACE: "a,b" }, { iface: ["a,b"] }],
    ["is not read for some flags", [], { APP_VERSION: "v1.2" }, {}],
  ])("%s", (_name, argv, env, given) => {
    expect(parse(argv, env).given).toEqual(given);
  });

  it("names the variable that is wrong", () => {
    expect(() => parse([], { APP_PORT: "tcp://10.0.0.1" })).toThrow(
      'environment variable APP_PORT: "tcp://10.0.0.1" is not a whole number',
    );
  });
});

describe("values", () => {
  it.each(["1", "t", "T", "true", "TRUE", "True"])("%s is true", (text) =>
    expect(parseGoBoolean(text)).toBe(true),
  );
  it.each(["0", "f", "F", "false", "FALSE", "False"])("%s is false", (text) =>
    expect(parseGoBoolean(text)).toBe(false),
  );
  it.each(["", "yes", "tRUE", "2"])("%j is no boolean", (text) =>
    expect(parseGoBoolean(text)).toBeUndefined(),
  );
  it.each<[string, number | undefined]>([
    ["0", 0],
    ["-0", 0],
    ["+7", 7],
    ["010", 8],
    ["0o17", 15],
    ["0b11", 3],
    ["08", undefined],
    ["1e3", undefined],
    ["99999999999999999999", undefined],
    [" 1", undefined],
  ])("integer %j", (text, expected) => expect(parseGoInteger(text)).toBe(expected));
});

describe("nearest word", () => {
  it.each<[string, string, number]>([
    ["", "abc", 3],
    ["abc", "abc", 0],
    ["kitten", "sitting", 3],
  ])("distance of %j and %j", (a, b, expected) => expect(editDistance(a, b)).toBe(expected));

  it("prefers the fewest edits, and stays silent about strangers", () => {
    expect(nearestWord("statsu", ["status", "cleanup"])).toBe("status");
    expect(nearestWord("etcd-endpoint", ["etcd-prefix", "etcd-endpoints"])).toBe("etcd-endpoints");
    expect(nearestWord("qqqqqqqq", ["status", "cleanup"])).toBeUndefined();
  });
});
