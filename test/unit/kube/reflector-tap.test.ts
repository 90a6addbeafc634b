// A second reader of one list and watch: comes late and misses nothing, and gets everything that the first one gets.
import { describe, expect, test } from "vitest";
import { ReflectorTap, readTogether } from "../../../src/kube/reflector-tap.ts";
import type { ReflectorReader } from "../../../src/kube/reflector-tap.ts";

interface Item {
  readonly name: string;
  readonly value: number;
}

const item = (name: string, value: number): Item => ({ name, value });

/** Writes down what it is told. */
function recorder(told: string[], label = ""): ReflectorReader<Item> {
  const text = ({ name, value }: Item): string => `${name}${value}`;
  return {
    prune: (object) => object as Item,
    onSnapshot: (items) => void told.push(`${label}snapshot ${items.map(text).join(",")}`),
    onPut: (put) => void told.push(`${label}put ${text(put)}`),
    onDelete: (gone) => void told.push(`${label}delete ${text(gone)}`),
    onHealth: ({ connected }) => void told.push(`${label}connected ${connected}`),
  };
}

function createTap(): ReflectorTap<Item> {
  return new ReflectorTap<Item>({ prune: (object) => object as Item, keyOf: ({ name }) => name });
}

describe("a tap", () => {
  test("tells a late follower what there is now, as one snapshot, and how the connection is", () => {
    const tap = createTap();
    const told: string[] = [];
    tap.onSnapshot([item("a", 1), item("b", 1)]);
    tap.onHealth({ connected: true });
    tap.onPut(item("c", 1));
    tap.onPut(item("a", 2));
    tap.onDelete(item("b", 1));
    void tap.follow(recorder(told), new AbortController().signal);
    expect(told).toEqual(["snapshot a2,c1", "connected true"]);
  });

  test("tells an early follower nothing before the first snapshot, then every change", () => {
    const tap = createTap();
    const told: string[] = [];
    void tap.follow(recorder(told), new AbortController().signal);
    expect(told).toEqual([]);
    tap.onSnapshot([item("a", 1)]);
    tap.onPut(item("b", 1));
    tap.onDelete(item("a", 1));
    tap.onSnapshot([]);
    tap.onHealth({ connected: false, problem: "away" });
    expect(told).toEqual(["snapshot a1", "put b1", "delete a1", "snapshot ", "connected false"]);
  });

  test("a snapshot before the follower takes the place of all before", () => {
    const tap = createTap();
    const told: string[] = [];
    tap.onSnapshot([item("a", 1)]);
    tap.onSnapshot([item("b", 1)]);
    void tap.follow(recorder(told), new AbortController().signal);
    expect(told).toEqual(["snapshot b1"]);
  });

  test("follows until the abort, and has one follower", async () => {
    const tap = createTap();
    const told: string[] = [];
    const ending = new AbortController();
    const following = tap.follow(recorder(told), ending.signal);
    await expect(tap.follow(recorder(told), ending.signal)).rejects.toThrow("one follower");
    ending.abort();
    await following;
    tap.onPut(item("a", 1));
    expect(told).toEqual([]);
  });
});

describe("two readers of one reflector", () => {
  test("both get every call, in their own shape", () => {
    const told: string[] = [];
    const second = recorder(told, "2 ");
    const both = readTogether(recorder(told, "1 "), {
      ...second,
      prune: (object) => ({ ...(object as Item), value: 7 }),
    });
    const read = both.prune(item("a", 1));
    both.onSnapshot([read]);
    both.onPut(read);
    both.onDelete(read);
    both.onHealth?.({ connected: true });
    expect(told.join("; ")).toBe(
      "1 snapshot a1; 2 snapshot a7; 1 put a1; 2 put a7; " +
        "1 delete a1; 2 delete a7; 1 connected true; 2 connected true",
    );
  });
});
