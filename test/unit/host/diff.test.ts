// The keyed diff: tables of cases, and what it does with several rows under one key.
import { expect, it } from "vitest";
import { diffRows, isEmptyDiff } from "../../../src/host/diff.ts";

interface Row {
  readonly key: string;
  readonly value: number;
}
const comparison = {
  key: (row: Row) => row.key,
  equal: (actual: Row, desired: Row) => actual.value === desired.value,
};

/** "a1 b2" as rows. */
function rows(text: string): readonly Row[] {
  return text
    .split(" ")
    .flatMap((word) => (word === "" ? [] : [{ key: word.slice(0, 1), value: Number(word.slice(1)) }]));
}
function text(list: readonly Row[]): string {
  return list.map((row) => row.key + String(row.value)).join(" ");
}

const cases = [
  { name: "nothing to nothing", actual: "", desired: "", create: "", replace: "", remove: "", unchanged: "" },
  {
    name: "from nothing",
    actual: "",
    desired: "a1 b1",
    create: "a1 b1",
    replace: "",
    remove: "",
    unchanged: "",
  },
  {
    name: "to nothing",
    actual: "a1 b1",
    desired: "",
    create: "",
    replace: "",
    remove: "a1 b1",
    unchanged: "",
  },
  {
    name: "one of each",
    actual: "a1 b1 c1",
    desired: "a1 b2 d1",
    create: "d1",
    replace: "b2",
    remove: "c1",
    unchanged: "a1",
  },
  {
    name: "a duplicate beside the right one",
    actual: "a1 a2",
    desired: "a2",
    create: "",
    replace: "",
    remove: "a1",
    unchanged: "a2",
  },
  {
    name: "a duplicate after the right one",
    actual: "a2 a1",
    desired: "a2",
    create: "",
    replace: "",
    remove: "a1",
    unchanged: "a2",
  },
  {
    name: "the same row twice",
    actual: "a1 a1",
    desired: "a1",
    create: "",
    replace: "",
    remove: "a1",
    unchanged: "a1",
  },
  {
    name: "several wrong ones: one is replaced",
    actual: "a1 a2 a3",
    desired: "a4",
    create: "",
    replace: "a4",
    remove: "a2 a3",
    unchanged: "",
  },
  {
    name: "a key wanted twice: the last wins",
    actual: "",
    desired: "a1 a2",
    create: "a2",
    replace: "",
    remove: "",
    unchanged: "",
  },
];

for (const { name, actual, desired, ...expected } of cases) {
  it(name, () => {
    const diff = diffRows(rows(actual), rows(desired), comparison);
    expect({
      create: text(diff.create),
      replace: text(diff.replace),
      remove: text(diff.remove),
      unchanged: text(diff.unchanged),
    }).toEqual(expected);
    expect(isEmptyDiff(diff)).toBe(expected.create + expected.replace + expected.remove === "");
  });
}
