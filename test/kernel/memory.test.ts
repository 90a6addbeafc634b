// memory.node in a process of its own: pages of the executable go and come back, and nothing else is touched.
import { execFileSync } from "node:child_process";
import path from "node:path";
import { expect, test } from "vitest";

const PROGRAM = path.resolve(import.meta.dirname, "../support/memory-inside.ts");

function see(way: "goes" | "written" | "work"): Readonly<Record<string, unknown>> {
  return JSON.parse(execFileSync(process.execPath, [PROGRAM, way], { encoding: "utf8" })) as Readonly<
    Record<string, unknown>
  >;
}

test("most of what is resident of node's file goes, and what the process wrote stays", () => {
  const { before, released, after, ownIsWhole } = see("goes");
  expect(released).toBeGreaterThan(Number(before) / 2);
  expect(after).toBeLessThan(Number(before) * 0.7);
  expect(ownIsWhole).toBe(true);
});

test("a page that was written to, as a debugger writes a breakpoint, is not given back", () => {
  const { before, after, released, isSame } = see("written");
  expect(before).toBeGreaterThan(0);
  expect(after).toBe(before);
  expect(isSame).toBe(true);
  expect(released).toBeGreaterThan(1_000_000);
});

test("a process that gives pages back all the time works as before: code, threads and children", () => {
  expect(see("work")).toEqual({ same: 50, child: "7\n" });
});
