// Objects come out of a list whole, however its bytes are cut.
import { describe, expect, test } from "vitest";
import { ListScanner } from "../../../src/kube/list-scanner.ts";

function scan(text: string, pieceBytes: number): { readonly items: unknown[]; readonly rest: unknown } {
  const items: unknown[] = [];
  const scanner = new ListScanner((item) => items.push(item));
  const bytes = Buffer.from(text);
  for (let i = 0; i < bytes.length; i += pieceBytes) scanner.write(bytes.subarray(i, i + pieceBytes));
  return { items, rest: scanner.end() };
}

const TRICKY = [
  {},
  { name: 'quote " backslash \\ brace } bracket ] {[' },
  { name: "ünïcode 日本 \u{1f600}", nested: { items: [{ items: [] }], deep: [[["x"]]] } },
  { text: 'ends with backslash \\\\"', empty: "" },
  { numbers: [1, -2.5e10], flags: [true, false, null] },
];

describe.each([1, 2, 3, 7, 64, 1 << 20])("in pieces of %i bytes", (pieceBytes) => {
  test.each([
    ["items last", { kind: "NodeList", metadata: { resourceVersion: "7", continue: "t" }, items: TRICKY }],
    ["items first", { items: TRICKY, metadata: { resourceVersion: "7" } }],
    ["no item", { metadata: { resourceVersion: "7" }, items: [] }],
    [
      "items of something else inside",
      { metadata: { items: [1, 2], more: { items: [{}] } }, items: [{ a: 1 }] },
    ],
  ])("%s", (_, list) => {
    for (const space of [undefined, 2]) {
      const { items, rest } = scan(JSON.stringify(list, undefined, space), pieceBytes);
      expect(items).toEqual(list.items);
      expect(rest).toEqual({ ...list, items: [] });
    }
  });

  test("Go's null for an empty slice", () => {
    expect(scan('{"metadata":{"resourceVersion":"7"},"items":null}', pieceBytes)).toEqual({
      items: [],
      rest: { metadata: { resourceVersion: "7" }, items: null },
    });
  });
});

test.each([
  ["cut", '{"metadata":{},"items":[{"a":1},{"b"'],
  ["cut after the items", '{"metadata":{},"items":[{"a":1}]'],
  ["no JSON", "Service Unavailable"],
  ["a bracket too many", '{"items":[]}]}'],
  ["empty", ""],
])("%s: an error, not half a list", (_, text) => {
  expect(() => scan(text, 5)).toThrow(/list/);
});
