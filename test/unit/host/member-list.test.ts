// Sorted lists in pages: they say what plain lists would, whatever was changed before, and share what did not change.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  changeMembers, diffMembers, hasMember, MAX_PAGE, mergeMembers, pageMembers, withoutMembers,
} from "../../../src/host/member-list.ts"; // prettier-ignore
import type { MemberList } from "../../../src/host/member-list.ts";
import { runs } from "../../support/property-runs.ts";

/** More than two pages of them. */
const member = fc.integer({ min: 0, max: 3 * MAX_PAGE }).map((n) => `10.0.${n >> 8}.${n & 255}`);
const list = fc.uniqueArray(member, { maxLength: 3 * MAX_PAGE, size: "max" }).map((all) => all.sort());
const changes = fc
  .oneof(
    fc.array(fc.tuple(member, fc.boolean()), { maxLength: 3 }),
    fc.array(fc.tuple(member, fc.boolean()), { maxLength: 200, size: "max" }),
    fc.array(fc.tuple(member, fc.constant(false)), { maxLength: 400, size: "max" }),
  )
  .map((entries): ReadonlyMap<string, boolean> => new Map(entries));

function changeSet(members: Iterable<string>, wanted: ReadonlyMap<string, boolean>): readonly string[] {
  const all = new Set(members);
  for (const [one, isWanted] of wanted) {
    if (isWanted) all.add(one);
    else all.delete(one);
  }
  return [...all].sort();
}

const pageLengths = (members: MemberList): readonly number[] =>
  "pages" in members ? members.pages.map(({ length }) => length) : [members.length];

describe("a list in pages", () => {
  test("after any changes has what is wanted, and the same object if nothing changed", () => {
    fc.assert(
      fc.property(list, fc.array(changes, { maxLength: 8 }), (members, steps) => {
        let paged = pageMembers(members);
        let plain: readonly string[] = members;
        for (const step of steps) {
          const before = paged;
          const isSame = plain.join() === changeSet(plain, step).join();
          plain = changeSet(plain, step);
          paged = changeMembers(paged, step);
          expect([...paged]).toEqual(plain);
          expect(paged).toHaveLength(plain.length);
          expect(paged === before).toBe(isSame);
          for (const length of pageLengths(paged)) expect(length).toBeLessThanOrEqual(MAX_PAGE);
          if (plain.length > 0) expect(Math.min(...pageLengths(paged))).toBeGreaterThan(0);
          for (const one of step.keys()) expect(hasMember(paged, one)).toBe(plain.includes(one));
        }
      }),
      { numRuns: runs(100) },
    );
  });

  test("differs from another by what the members differ by, whether they share pages or not", () => {
    fc.assert(
      fc.property(list, changes, fc.boolean(), (members, step, isPaged) => {
        const before = isPaged ? pageMembers(members) : members;
        const after = changeMembers(before, step);
        const [had, has] = [new Set(before), new Set(after)];
        const diff = {
          added: [...has.difference(had)].sort(),
          removed: [...had.difference(has)].sort(),
        };
        expect(diffMembers(before, after)).toEqual(diff);
        expect(diffMembers(before, [...after])).toEqual(diff);
        expect([...withoutMembers(mergeMembers(before, diff.added), diff.removed)]).toEqual([...after]);
      }),
      { numRuns: runs(100) },
    );
  });

  test("that grows one by one has few pages, and that shrinks to nothing none", () => {
    const all = Array.from({ length: 10 * MAX_PAGE }, (_, n) => `10.1.${n >> 8}.${n & 255}`);
    let members = pageMembers([]);
    for (const one of all) members = mergeMembers(members, [one]);
    expect(pageLengths(members).length).toBeLessThanOrEqual(20);
    for (const one of all.slice(10)) members = withoutMembers(members, [one]);
    expect(pageLengths(members)).toEqual([10]);
    expect([...withoutMembers(members, all)]).toEqual([]);
  });

  test("one change copies one page", () => {
    const members = pageMembers(Array.from({ length: 1_000 }, (_, n) => `10.2.0.${1_000 + n}`));
    const changed = changeMembers(members, new Map([["10.2.0.1500", false]]));
    const pages = (one: MemberList): readonly unknown[] => ("pages" in one ? one.pages : [one]);
    const shared = new Set(pages(members));
    expect(pages(changed).filter((page) => !shared.has(page))).toHaveLength(1);
  });
});
