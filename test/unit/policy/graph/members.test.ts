// The index from labels to selectors.
import { describe, expect, test } from "vitest";
import { createSelectorIndex } from "../../../../src/policy/graph/selector-index.ts";
import { selects } from "../../../../src/policy/selector.ts";
import type { Labels, Requirement } from "../../../../src/policy/snapshot.ts";

const needs = (
  key: string,
  operator: Requirement["operator"],
  ...values: readonly string[]
): Requirement => ({
  key,
  operator,
  values,
});

describe("the index of selectors", () => {
  const selectors: readonly (readonly Requirement[])[] = [
    [],
    [needs("app", "In", "a", "b")],
    [needs("app", "In")],
    [needs("app", "Exists")],
    [needs("app", "NotIn", "a")],
    [needs("tier", "DoesNotExist"), needs("app", "Exists")],
    [needs("app", "NotIn", "b"), needs("tier", "In", "x")],
  ];
  const cases: readonly Labels[] = [
    {},
    { app: "a" },
    { app: "b", tier: "x" },
    { app: "", tier: "y" },
    { tier: "x" },
  ];
  test.for(cases)("finds for %j what asking every selector finds", (labels) => {
    const index = createSelectorIndex<number>();
    for (const [item, selector] of selectors.entries()) index.add(selector, item);
    const found: number[] = [];
    index.match(labels, (items) => void found.push(...items));
    const expected = selectors.flatMap((selector, item) => (selects(selector, labels) ? [item] : []));
    expect(found.toSorted((a, b) => a - b)).toEqual(expected);
  });

  test("a selector stays while one of its items does, and then leaves nothing", () => {
    const index = createSelectorIndex<string>();
    const found = (): readonly string[] => {
      const all: string[] = [];
      index.match({ app: "b" }, (items) => void all.push(...items));
      return all;
    };
    for (const item of ["one", "two"]) index.add([needs("app", "In", "b", "a")], item);
    index.remove([needs("app", "In", "a", "b")], "one");
    expect(found()).toEqual(["two"]);
    index.remove([needs("app", "In", "a", "b")], "one");
    expect(index.isEmpty()).toBe(false);
    index.remove([needs("app", "In", "a", "b")], "two");
    expect(found()).toEqual([]);
    expect(index.isEmpty()).toBe(true);
  });
});
