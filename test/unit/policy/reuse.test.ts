// What is made once and given again, and when it is not.
import { expect, test } from "vitest";
import { createMemory, keepSame, makeAnew } from "../../../src/policy/reuse.ts";

test("what is made of the same parts is the same object, until nobody asks for it any more", () => {
  const memory = createMemory();
  const listOf = memory.reuse<readonly unknown[]>();
  const [a, b] = [{}, {}];
  const ask = (...parts: readonly object[]) => listOf("key", parts, () => [...parts]);
  const first = ask(a, b);
  expect(ask(a, b)).toBe(first);
  memory.sweep();
  expect(ask(a, b)).toBe(first);
  memory.sweep();
  memory.sweep();
  expect(ask(a, b)).not.toBe(first);
  expect(ask(a, b)).toEqual(first);
});

test("other parts, fewer parts and other keys are made anew", () => {
  const listOf = createMemory().reuse<readonly unknown[]>();
  const [a, b] = [{}, {}];
  const made = [
    listOf("key", [a, b], () => ["both"]),
    listOf("key", [a], () => ["one"]),
    listOf("key", [{}], () => ["another like it"]),
    listOf("other", [{}], () => ["another key"]),
  ];
  expect(made.flat()).toEqual(["both", "one", "another like it", "another key"]);
});

test("each kind of thing has keys of its own, and who remembers nothing makes all anew", () => {
  const memory = createMemory();
  const [numbers, texts] = [memory.reuse<number>(), memory.reuse<string>()];
  expect([numbers("key", [], () => 1), texts("key", [], () => "one")]).toEqual([1, "one"]);
  expect([makeAnew("key", [], () => 1), makeAnew("key", [], () => 2)]).toEqual([1, 2]);
});

test("who makes it anew is told what the key had before, and equal data stays the same object", () => {
  const listOf = createMemory().reuse<readonly string[]>();
  const ask = (part: object, ...list: readonly string[]) =>
    listOf("key", [part], (before) => keepSame(before, [...list]));
  const first = ask({}, "a");
  expect(ask({}, "a")).toBe(first);
  expect(ask({}, "b")).toEqual(["b"]);
});
