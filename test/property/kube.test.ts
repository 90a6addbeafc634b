// Whatever happens between us and the API server, the mirror ends as a fresh list would, and tells no event twice.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ListScanner } from "../../src/kube/list-scanner.ts";
import { splitLines } from "../../src/kube/line-splitter.ts";
import { startFakeKube } from "../support/fake-kube/fake-kube.ts";
import type { FakeKube } from "../support/fake-kube/fake-kube.ts";
import { putNode, startMirror } from "../support/kube-mirror.ts";
import { waitFor } from "../support/wait.ts";
import { runs } from "../support/property-runs.ts";

type Step =
  | { readonly do: "put"; readonly node: number }
  | { readonly do: "delete"; readonly node: number }
  | { readonly do: "cut"; readonly where: "between-lines" | "inside-line" }
  | { readonly do: "end" | "expire" | "lose" | "bookmark" | "cut-list" | "turn" }
  | { readonly do: "refuse"; readonly verb: "list" | "watch"; readonly status: number };

const node = fc.integer({ min: 0, max: 4 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("put" as const), node }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("delete" as const), node }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("cut" as const),
      where: fc.constantFrom("between-lines" as const, "inside-line" as const),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom<"end" | "expire" | "lose" | "bookmark" | "cut-list" | "turn">(
        "end",
        "expire",
        "lose",
        "bookmark",
        "cut-list",
        "turn",
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("refuse" as const),
      verb: fc.constantFrom("list" as const, "watch" as const),
      status: fc.constantFrom(410, 500, 503),
    }),
  },
);

/** Every put has a value of its own, so that a repetition shows. */
async function perform(fake: FakeKube, steps: readonly Step[]): Promise<void> {
  let value = 0;
  for (const step of steps) {
    switch (step.do) {
      case "put":
        putNode(fake, `n${step.node}`, String((value += 1)));
        break;
      case "delete":
        fake.delete("nodes", `n${step.node}`);
        break;
      case "cut":
        fake.faults.cutWatches(step.where);
        break;
      case "end":
        fake.faults.endWatches();
        break;
      case "expire":
        fake.faults.expireHistory();
        break;
      case "lose":
        fake.faults.restart("lose");
        break;
      case "bookmark":
        fake.faults.sendBookmarks();
        break;
      case "cut-list":
        fake.faults.cutLists(1);
        break;
      case "refuse":
        fake.faults.answer(step);
        break;
      case "turn":
        await new Promise((resolve) => setTimeout(resolve, 8));
        break;
    }
  }
}

const stateOf = (fake: FakeKube): object =>
  Object.fromEntries(fake.list("nodes").map(({ metadata }) => [metadata.name, metadata.labels?.["v"]]));

test("any changes with any faults end in the same map as a fresh list", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const fake = await startFakeKube();
      const mirror = startMirror(fake, { minBackoffMs: 1, maxBackoffMs: 4, stableMs: 5 });
      try {
        await perform(fake, steps);
        fake.faults.clear();
        putNode(fake, "last", "last");
        await waitFor("the last change", () => mirror.map.get("last") === "last");
        expect(Object.fromEntries(mirror.map)).toEqual(stateOf(fake));
        const puts = mirror.told.filter((line) => line.startsWith("put "));
        expect(puts).toEqual([...new Set(puts)]);
      } finally {
        await mirror.stop();
        await fake.close();
      }
    }),
    { numRuns: runs(60) },
  );
});

test("objects come out of a list whole, however it is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue())),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
      fc.constantFrom(undefined, 2),
      (items, cuts, space) => {
        const list = { metadata: { resourceVersion: "1" }, items, more: { items: [1] } };
        const bytes = Buffer.from(JSON.stringify(list, undefined, space));
        const found: unknown[] = [];
        const scanner = new ListScanner((item) => found.push(item));
        for (let at = 0, i = 0; at < bytes.length; i += 1) {
          const size = cuts[i % cuts.length] ?? 1;
          scanner.write(bytes.subarray(at, at + size));
          at += size;
        }
        const plain = JSON.parse(bytes.toString()) as typeof list;
        expect(found).toEqual(plain.items);
        expect(scanner.end()).toEqual({ ...plain, items: [] });
      },
    ),
  );
});

test("lines come out of a stream whole, and what follows the last newline does not", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: "binary", minLength: 1 })),
      fc.string(),
      fc.integer({ min: 1, max: 7 }),
      async (texts, rest, size) => {
        const lines = texts.map((text) => JSON.stringify(text));
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join("") + JSON.stringify(rest));
        const pieces: Buffer[] = [];
        for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
        const found: string[] = [];
        async function* stream(): AsyncGenerator<Buffer> {
          yield* pieces;
        }
        for await (const line of splitLines(stream())) found.push(line);
        expect(found).toEqual(lines.map((line) => Buffer.from(line).toString()));
      },
    ),
  );
});
