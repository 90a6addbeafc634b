// The fake keeps the contract of the real tables, so that what passes on it means something.
import { describe } from "vitest";
import { createFakeTable } from "../../support/fake-kernel-table.ts";
import { itIsAKernelTable } from "../../support/kernel-table-compliance.ts";

interface Row {
  readonly key: string;
  readonly value: number;
}

describe("the fake table", () => {
  itIsAKernelTable<Row>(async () => {
    const table = createFakeTable<Row>({ name: "routes", key: (row) => row.key });
    table.refusals.set("bad", "Invalid argument");
    return await Promise.resolve({
      table,
      rows: [
        { key: "a", value: 1 },
        { key: "b", value: 1 },
      ],
      changed: { key: "a", value: 2 },
      bad: { key: "bad", value: 1 },
      bulk: (count: number) => Array.from({ length: count }, (_, n) => ({ key: `n${n}`, value: n })),
    });
  });
});
