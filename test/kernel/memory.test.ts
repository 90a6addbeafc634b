// memory.node in a process of its own: pages of the executable go and come back, and nothing else is touched.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { parseResidentFileBytes } from "../../src/kernel/memory/addon.ts";
import { startFakeKube } from "../support/fake-kube/fake-kube.ts";
import { startKubeNode } from "../support/kube-node.ts";
import { bareNode } from "../support/kube-nodes.ts";
import { waitFor } from "../support/wait.ts";

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

test("the daemon gives back what its start has touched, and goes on", async () => {
  const fake = await startFakeKube();
  fake.put("nodes", bareNode("n7", "10.244.7.0/24"));
  const netConf = { Network: "10.244.0.0/16", Backend: { Type: "vxlan" } };
  const node = await startKubeNode(fake, { nodeName: "n7", netConf });
  try {
    await node.daemon.start();
    const status = `/proc/${node.daemon.pid()}/status`;
    // Without it: more than 50 MB, for ever.
    const resident = (): number => parseResidentFileBytes(readFileSync(status, "utf8"));
    await waitFor("pages to be given back", () => resident() < 25_000_000);
    expect(await node.readyz()).toContain("is ready");
  } finally {
    await node.close();
    await fake.close();
  }
});
