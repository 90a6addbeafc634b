// The parts of the graph that hold members: a sorted list under changes, and the index from labels to selectors.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { changeMembers } from "../../../../src/policy/graph/live-set.ts";
import { createSelectorIndex } from "../../../../src/policy/graph/selector-index.ts";
import { selects } from "../../../../src/policy/selector.ts";
import type { Labels, Requirement } from "../../../../src/policy/snapshot.ts";

describe("changing members", () => {
  test("few changes or many: what is wanted is there, sorted, and what is not is gone", () => {
    const member = fc.integer({ min: 0, max: 80 }).map((n) => `10.0.0.${n}`);
    const changes = fc.array(fc.tuple(member, fc.boolean()), { maxLength: 80, size: "max" });
    fc.assert(
      fc.property(fc.uniqueArray(member, { maxLength: 60, size: "max" }), changes, (list, wanted) => {
        const members = list.toSorted();
        const expected = new Set(members);
        for (const [one, isWanted] of new Map(wanted)) {
          if (isWanted) expected.add(one);
          else expected.delete(one);
        }
        const changed = changeMembers(members, new Map(wanted));
        expect(changed).toEqual([...expected].sort());
        expect(changed === members).toBe(
          expected.size === members.length && members.every((one) => expected.has(one)),
        );
      }),
    );
  });
});

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
