// Quoting: every value arrives as it is, and nothing that a stranger writes becomes a command.
import { describe, expect, test } from "vitest";
import { formatTokens, readLine, ruleProblem } from "../../../../src/kernel/iptables/tokens-codec.ts";

describe("formatTokens", () => {
  test.each([
    { tokens: ["-s", "10.244.0.0/16", "!", "-d", "224.0.0.0/4"], text: "-s 10.244.0.0/16 ! -d 224.0.0.0/4" },
    { tokens: ["--comment", "flanneld masq"], text: '--comment "flanneld masq"' },
    { tokens: ["--comment", 'a"b'], text: String.raw`--comment "a\"b"` },
    { tokens: ["--comment", "a\\b"], text: String.raw`--comment "a\\b"` },
    { tokens: ["--comment", "it's #1; $x `y`"], text: '--comment "it\'s #1; $x `y`"' },
    { tokens: ["--comment", "größe"], text: '--comment "größe"' },
  ])("$text", ({ tokens, text }) => {
    expect(formatTokens(tokens)).toBe(text);
  });
});

describe("readLine", () => {
  test.each([
    {
      name: "escapes",
      text: String.raw`-A X --comment "a \"b\" \'c\' \\d" -j Y`,
      last: ["a \"b\" 'c' \\d", "-j", "Y"],
    },
    { name: "a quote inside a word is a letter", text: '-A X -i a"b -j Y', last: ['a"b', "-j", "Y"] },
    { name: "an empty value", text: '-A X --comment "" -j Y', last: ["", "-j", "Y"] },
    { name: "several blanks", text: "-A X  -j   Y", last: ["X", "-j", "Y"] },
  ])("$name", ({ text, last }) => {
    expect(readLine(text, 0).tokens.slice(-last.length)).toEqual(last);
  });

  test("a newline inside quotes does not start a rule: iptables-save does not escape it", () => {
    const text = '-A FORWARD -m comment --comment "x\n-A FORWARD -j FLANNEL-EVIL" -j ACCEPT\nCOMMIT\n';
    const line = readLine(text, 0);
    expect(line.tokens.slice(-2)).toEqual(["-j", "ACCEPT"]);
    expect(text.slice(line.end)).toBe("COMMIT\n");
  });
});

describe("ruleProblem", () => {
  const comment = (text: string): string[] => ["-m", "comment", "--comment", text, "-j", "RETURN"];
  test.each([
    { name: "newline", rule: comment("x\n-F FORWARD"), expected: "control character" },
    { name: "carriage return", rule: comment("x\r"), expected: "control character" },
    { name: "NUL", rule: comment("x\0y"), expected: "control character" },
    { name: "lone surrogate", rule: comment("\ud800"), expected: "not valid Unicode" },
    { name: "empty", rule: comment(""), expected: "empty argument" },
    { name: "dash in front of text", rule: comment("-j"), expected: "must not begin with a dash" },
    { name: "exclamation mark as text", rule: comment("!"), expected: 'or be "!"' },
    { name: "more than a token holds", rule: comment("ä".repeat(512)), expected: "more than 1023 bytes" },
    {
      name: "more than a line holds",
      rule: Array.from({ length: 11 }, () => comment("x".repeat(1000))).flat(),
      expected: "lines of 10 KiB",
    },
    { name: "command", rule: ["-F"], expected: "command of iptables" },
    { name: "long command", rule: ["-j", "X", "--flush"], expected: "command of iptables" },
    { name: "abbreviated command", rule: ["--flu"], expected: "command of iptables" },
    { name: "other table", rule: ["-t", "nat"], expected: "command of iptables" },
    { name: "negative number", rule: ["-m", "x", "--y", "-1"], expected: "no option" },
    {
      name: "several sources, which are several rules",
      rule: ["-s", "1.2.3.4,5.6.7.8"],
      expected: "not one address",
    },
    { name: "a name that needs DNS", rule: ["!", "-d", "example.org"], expected: "not one address" },
  ])("refuses $name", ({ rule, expected }) => {
    expect(ruleProblem(rule)).toContain(expected);
  });

  test.each([
    { name: "quotes and backslashes", rule: comment('a "quoted" \\ text -- with -dashes') },
    { name: "IPv6", rule: ["!", "-s", "fd00::/8", "-j", "ACCEPT"] },
    { name: "recent --set", rule: ["-m", "recent", "--set"] },
  ])("accepts $name", ({ rule }) => {
    expect(ruleProblem(rule)).toBeUndefined();
  });
});
