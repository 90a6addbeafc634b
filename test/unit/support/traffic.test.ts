import { describe, expect, test } from "vitest";
import { unwrapSequence } from "../../support/traffic.ts";

// Found by a minute of outage on a slow machine: the numbers began anew, and no answer counted any more.
describe("the numbers of a ping every millisecond", () => {
  test.each([
    { shown: 1, near: 0, expected: 1 },
    { shown: 65_535, near: 65_534, expected: 65_535 },
    { shown: 0, near: 65_535, expected: 65_536 },
    { shown: 7, near: 65_536 + 5, expected: 65_536 + 7 },
    { shown: 65_535, near: 65_536 + 2, expected: 65_535 },
    { shown: 3, near: 3 * 65_536 - 1, expected: 3 * 65_536 + 3 },
  ])("$shown after $near is $expected", ({ shown, near, expected }) => {
    expect(unwrapSequence(shown, near)).toBe(expected);
  });
});
