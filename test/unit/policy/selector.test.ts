// Selectors: every operator, with the key present, present with another value, and missing.
import { describe, expect, test } from "vitest";
import { canonicalSelector, formatSelector, selects } from "../../../src/policy/selector.ts";
import type { Requirement } from "../../../src/policy/snapshot.ts";

const requirement = (operator: Requirement["operator"], values: readonly string[] = []): Requirement => ({
  key: "tier",
  operator,
  values,
});

describe("operators", () => {
  const table: readonly [Requirement, same: boolean, other: boolean, missing: boolean][] = [
    [requirement("In", ["web", "db"]), true, false, false],
    [requirement("NotIn", ["web", "db"]), false, true, true],
    [requirement("Exists"), true, true, false],
    [requirement("DoesNotExist"), false, false, true],
  ];
  for (const [one, same, other, missing] of table) {
    test(formatSelector([one]), () => {
      expect(selects([one], { tier: "web" })).toBe(same);
      expect(selects([one], { tier: "cache" })).toBe(other);
      expect(selects([one], { app: "web" })).toBe(missing);
    });
  }
});

test("an empty selector selects everything, even what has no labels", () => {
  expect(selects([], {})).toBe(true);
});

test("all requirements must hold", () => {
  const both = [requirement("Exists"), { key: "app", operator: "In", values: ["a"] } as const];
  expect(selects(both, { tier: "x", app: "a" })).toBe(true);
  expect(selects(both, { tier: "x", app: "b" })).toBe(false);
  expect(selects(both, { app: "a" })).toBe(false);
});

test("a label value may be empty, and is not a missing label", () => {
  expect(selects([requirement("Exists")], { tier: "" })).toBe(true);
  expect(selects([requirement("In", [""])], { tier: "" })).toBe(true);
  expect(selects([requirement("In", [""])], {})).toBe(false);
});

test("names that every JavaScript object has are labels like others", () => {
  expect(selects([{ key: "constructor", operator: "Exists", values: [] }], {})).toBe(false);
  expect(selects([{ key: "toString", operator: "DoesNotExist", values: [] }], {})).toBe(true);
});

test("selectors that say the same have the same text, others have not", () => {
  const a = formatSelector([requirement("In", ["b", "a", "a"]), requirement("Exists")]);
  const b = formatSelector([requirement("Exists"), requirement("In", ["a", "b"]), requirement("Exists")]);
  expect(a).toBe(b);
  expect(a).toBe("tier,tier in (a,b)");
  expect(formatSelector([])).toBe("*");
  expect(formatSelector([requirement("NotIn", ["a"])])).toBe("tier!=a");
});

test("selectors that say the same have one form", () => {
  const app = { key: "app", operator: "NotIn", values: ["b", "a", "b"] } as const;
  const tier = { key: "tier", operator: "Exists", values: [] } as const;
  expect(canonicalSelector([tier, app, tier])).toEqual([{ ...app, values: ["a", "b"] }, tier]);
  expect(canonicalSelector([app, { ...tier, values: ["ignored"] }])).toEqual(
    canonicalSelector([tier, { ...app, values: ["a", "b"] }]),
  );
});
