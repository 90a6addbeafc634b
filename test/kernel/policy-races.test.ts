// While policies and pods change, and while a daemon is killed in the midst of it: a closed pair never opens, an open one never breaks.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { PolicyApplier } from "../../src/host/policy-applier.ts";
import { exec } from "../../src/kernel/exec.ts";
import { createSetTable } from "../../src/kernel/ipset/set-table.ts";
import { compilePolicy } from "../../src/policy/compile.ts";
import type { PolicySnapshot } from "../../src/policy/snapshot.ts";
import type { TestNamespace } from "../support/netns.ts";
import { churn, CHURN_IPS, CHURN_PORT } from "../support/policy-churn.ts";
import { createPolicyNode, NODE_SETTINGS, startApplier } from "../support/policy-node.ts";
import type { PolicyNode } from "../support/policy-node.ts";
import { waitFor } from "../support/wait.ts";

/** Policies applied one after the other, and kills; more of both on request. */
const CHANGES = Number(process.env["POLICY_CHANGES"] ?? 30);
const KILLS = Number(process.env["POLICY_KILLS"] ?? 30);
const PATIENT = { timeoutMs: 60_000 };
const MODES = ["nft", "legacy"] as const;

let world: PolicyNode;
let children: ChildProcess[];
beforeEach(async () => {
  children = [];
  world = await createPolicyNode("st-race", Object.values(CHURN_IPS));
  for (const pod of world.pods.slice(1)) await countArrivals(pod);
});
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await world.remove();
});

/** Counted by the kernel: no receiver to be slow. */
async function countArrivals(pod: TestNamespace): Promise<void> {
  const rules = `*filter\n-A INPUT -p udp -m udp --dport ${CHURN_PORT} -j DROP\nCOMMIT\n`;
  await pod.exec("iptables-nft-restore", ["--noflush"], { input: rules });
}

async function arrivals(index: number): Promise<number> {
  const { stdout } = (await world.pods[index]?.exec("iptables-nft-save", ["-c"])) ?? { stdout: "" };
  return Number(/\[(\d+):\d+\] -A INPUT -p udp/.exec(stdout)?.[1]);
}
const [OPEN, CLOSED] = [1, 2];

function start(namespace: TestNamespace | undefined, script: string, args: readonly string[]): ChildProcess {
  const path = fileURLToPath(new URL(`../support/${script}`, import.meta.url));
  const child = spawn(
    "nsenter",
    [`--net=/run/netns/${namespace?.name ?? ""}`, "--", process.execPath, path, ...args],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  children.push(child);
  return child;
}

/** Datagrams to both pods, as long as it is not stopped; then how many went to each. */
async function startStream(): Promise<() => Promise<number>> {
  const sender = start(world.pods[0], "udp-burst.ts", [String(CHURN_PORT), CHURN_IPS.open, CHURN_IPS.closed]);
  let output = "";
  sender.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await waitFor("the stream", async () => (await arrivals(OPEN)) > 0, PATIENT);
  return async () => {
    sender.stdin?.end();
    await once(sender, "close");
    return Number(output);
  };
}

async function expectInForce(applier: PolicyApplier, snapshot: PolicySnapshot): Promise<void> {
  const compiled = compilePolicy(snapshot, NODE_SETTINGS);
  expect((await applier.apply(compiled)).failed).toEqual([]);
  // The kernel, not our memory: nothing is missing and nothing is left over.
  applier.invalidate();
  const again = await applier.apply(compiled);
  expect(again.failed).toEqual([]);
  expect(again.firewall).toEqual({ created: 0, replaced: 0, removed: 0 });
  expect(Object.values(again.sets).every((count) => count === 0)).toBe(true);
  const sets = await createSetTable({ prefix: NODE_SETTINGS.prefix }, world.node).list();
  expect(sets.map(({ name }) => name).toSorted()).toEqual(compiled.sets.map(({ name }) => name).toSorted());
}

describe.each(MODES)("iptables-%s", (mode) => {
  test("no packet of a closed pair passes and none of an open pair is lost while everything around changes", async () => {
    const policies = churn(mode === "nft" ? 1 : 2);
    const next = (): PolicySnapshot => policies.next().value as PolicySnapshot;
    let applier = await startApplier(world.node.exec, mode);
    expect((await applier.apply(compilePolicy(next(), NODE_SETTINGS))).failed).toEqual([]);
    const stop = await startStream();

    let written = 0;
    let last = next();
    for (let change = 0; change < CHANGES; change += 1) {
      // Now and then a look at the kernel, or a daemon that starts anew.
      if (change % 10 === 4) applier.invalidate();
      if (change % 10 === 9) applier = await startApplier(world.node.exec, mode);
      last = next();
      const report = await applier.apply(compilePolicy(last, NODE_SETTINGS));
      expect(report.failed).toEqual([]);
      written += report.firewall.created + report.firewall.replaced;
    }
    expect(written).toBeGreaterThan(CHANGES);
    const sent = await stop();
    expect({ open: await arrivals(OPEN), closed: await arrivals(CLOSED) }).toEqual({ open: sent, closed: 0 });
    expect(sent).toBeGreaterThan(CHANGES);
    await expectInForce(applier, last);

    // The counters do see a packet that passes: without our jump there is one.
    await world.node.exec(`iptables-${mode}`, ["-F", "FORWARD"]);
    const stopOpen = await startStream();
    await waitFor("a packet to the closed pod", async () => (await arrivals(CLOSED)) > 0, PATIENT);
    await stopOpen();
  }, 180_000);
});

test(
  `a daemon killed ${KILLS} times at any moment opens nothing, breaks nothing, and the next one puts all right`,
  async () => {
    const first = churn(7).next().value as PolicySnapshot;
    expect(
      (await (await startApplier(world.node.exec, "nft")).apply(compilePolicy(first, NODE_SETTINGS))).failed,
    ).toEqual([]);
    const stop = await startStream();
    const passes: number[] = [];
    const startDaemon = (seed: number): ChildProcess =>
      start(world.node, "policy-churn-inside.ts", ["nft", String(1000 + seed)]);
    // One is loaded while the other is at work.
    let standby = startDaemon(0);
    for (let kill = 0; kill < KILLS; kill += 1) {
      const daemon = standby;
      if (kill + 1 < KILLS) standby = startDaemon(kill + 1);
      daemon.stdin?.write("go\n");
      const lines: string[] = [];
      const wanted = kill % 2;
      const progress = Promise.withResolvers<void>();
      createInterface({ input: daemon.stdout ?? process.stdin }).on("line", (line) => {
        lines.push(line);
        if (lines.length > wanted) progress.resolve();
      });
      await Promise.race([progress.promise, once(daemon, "close")]);
      // Somewhere in the pass that follows: a moment of its own for each kill.
      await new Promise((resolve) => setTimeout(resolve, (kill * 37) % 90));
      daemon.kill("SIGKILL");
      await once(daemon, "close");
      expect(lines.filter((line) => line !== "applied")).toEqual([]);
      passes.push(lines.length);
    }
    expect(passes.every((count) => count > 0)).toBe(true);
    const sent = await stop();
    expect({ open: await arrivals(OPEN), closed: await arrivals(CLOSED) }).toEqual({ open: sent, closed: 0 });
    // A tool that outlived its daemon may still be at work.
    await waitFor("the last tools to end", async () => (await toolsOfNode()).length === 0, PATIENT);
    await expectInForce(await startApplier(world.node.exec, "nft"), churn(8).next().value as PolicySnapshot);
  },
  60_000 + KILLS * 20_000,
);

async function toolsOfNode(): Promise<readonly string[]> {
  const { stdout } = await exec("ip", ["netns", "pids", world.node.name]);
  return stdout.split("\n").filter(Boolean);
}
