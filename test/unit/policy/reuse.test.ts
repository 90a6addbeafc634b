// What is made once and given again, and when it is not.
import { expect, test } from "vitest";
import { createMemory, keepSame } from "../../../src/policy/reuse.ts";

const copy = (_: string, parts: readonly object[]): readonly object[] => [...parts];

test("what is made of the same parts is the same object, until nobody asks for it any more", () => {
  const memory = createMemory();
  const listOf = memory.reuse(copy);
  const [a, b] = [{}, {}];
  const first = listOf("key", [a, b]);
  expect(listOf("key", [a, b])).toBe(first);
  memory.sweep();
  expect(listOf("key", [a, b])).toBe(first);
  memory.sweep();
  memory.sweep();
  expect(listOf("key", [a, b])).not.toBe(first);
  expect(listOf("key", [a, b])).toEqual(first);
});

test("other parts, fewer parts and other keys are made anew, and each kind of thing has keys of its own", () => {
  const memory = createMemory();
  const made: string[] = [];
  const [one, other] = ["one", "other"].map((kind) =>
    memory.reuse((key, parts: readonly object[]) => made.push(`${kind} ${key} ${parts.length}`)),
  );
  const [a, b] = [{}, {}];
  one?.("key", [a, b]);
  one?.("key", [a]);
  one?.("key", [{}]);
  one?.("another", [a]);
  other?.("another", [a]);
  one?.("another", [a]);
  expect(made).toEqual(["one key 2", "one key 1", "one key 1", "one another 1", "other another 1"]);
});

test("who makes it anew is told what the key had before, and equal data stays the same object", () => {
  const textsOf = createMemory().reuse(
    (_, parts: readonly { readonly text: string }[], before?: readonly string[]) =>
      keepSame(before, parts.map(({ text }) => text)), // prettier-ignore
  );
  const first = textsOf("key", [{ text: "a" }]);
  expect(textsOf("key", [{ text: "a" }])).toBe(first);
  expect(textsOf("key", [{ text: "b" }])).toEqual(["b"]);
});
