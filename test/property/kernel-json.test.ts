// What iproute2 prints, read in pieces of any length, is what it is in one.
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { mapJsonRows } from "../../src/kernel/json.ts";

/** Texts with what ends strings, arrays and objects. */
const text = fc.string({
  unit: fc.constantFrom("a", '"', "\\", ",", "[", "]", "{", "}", " ", "ä"),
  maxLength: 8,
});
const { row } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    text,
    fc.integer(),
    fc.constant(null),
    tie("row"),
    fc.array(tie("value"), { maxLength: 3 }),
  ),
  row: fc.dictionary(text, tie("value"), { maxKeys: 4 }),
}));

it("a list read in pieces is the list", () => {
  fc.assert(
    fc.property(
      fc.array(row, { maxLength: 12 }),
      fc.integer({ min: 1, max: 60 }),
      fc.constantFrom(0, 1),
      (rows, length, indent) => {
        const parsed: unknown[] = JSON.parse(JSON.stringify(rows)) as unknown[];
        const filled = parsed.filter((each) => Object.keys(each as object).length > 0);
        expect(mapJsonRows(JSON.stringify(rows, undefined, indent), "ip", (each) => each, length)).toEqual(
          filled,
        );
      },
    ),
  );
});

it("a text that is no list is refused, in pieces as in one", () => {
  fc.assert(
    fc.property(
      fc.array(row, { maxLength: 6 }),
      // Near the end as often as anywhere.
      fc.oneof(fc.nat(), fc.integer({ min: -3, max: -1 })),
      fc.constantFrom('"', "]", "[", "}", "{", ",", "x"),
      (rows, at, inserted) => {
        const whole = JSON.stringify(rows);
        const cut = at < 0 ? Math.max(0, whole.length + at) : at % (whole.length + 1);
        const broken = whole.slice(0, cut) + inserted + whole.slice(cut);
        const read = (length: number): unknown => {
          try {
            return mapJsonRows(broken, "ip", (each) => each, length);
          } catch {
            return "refused";
          }
        };
        expect(read(8)).toEqual(read(Number.MAX_SAFE_INTEGER));
      },
    ),
  );
});
