// The applier on a kernel in memory, with faults and kills: nothing opens that is always closed, and it ends as it should.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { IpsetRow } from "../../../src/host/ipset-state.ts";
import { createPolicyApplier } from "../../../src/host/policy-applier.ts";
import { compilePolicy } from "../../../src/policy/compile.ts";
import type { CompiledPolicy } from "../../../src/policy/compile.ts";
import type { Ip } from "../../../src/net/ip.ts";
import type { Packet } from "../../../src/policy/packet.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import type { PolicySnapshot } from "../../../src/policy/snapshot.ts";
import { createFakePolicyKernel } from "../../support/fake-policy-kernel.ts";
import type { FakePolicyKernel } from "../../support/fake-policy-kernel.ts";
import { changes, scenarios } from "../../support/policy-arbitraries.ts";
import { createInterpreter } from "../../support/policy-interpreter.ts";
import type { HookPacket } from "../../support/policy-interpreter.ts";
import { hopsOf } from "../../support/policy-path.ts";
import { runs } from "../../support/property-runs.ts";

/** What happens at the nth step of the pass in the middle; a kill ends every later step, too. */
interface Trouble {
  readonly kind: "none" | "refuse" | "kill";
  readonly step: number;
}
const trouble: fc.Arbitrary<Trouble> = fc.record({
  kind: fc.constantFrom("none", "refuse", "kill", "kill"),
  step: fc.nat(25),
});

test("three policies one after the other, with trouble in the second", async () => {
  await fc.assert(
    fc.asyncProperty(
      scenarios,
      changes,
      changes,
      trouble,
      async ({ snapshot, packets }, change, next, trouble) => {
        const [second, third] = [change(snapshot), next(change(snapshot))];
        for (const { name } of snapshot.nodes)
          await checkWay(
            [snapshot, second, third].map((one) => Object.assign({}, one, { nodeName: name })),
            packets,
            trouble,
          );
      },
    ),
    { numRuns: runs(30) },
  );
});

async function checkWay(
  way: readonly PolicySnapshot[],
  packets: readonly Packet[],
  trouble: Trouble,
): Promise<void> {
  const [first, second, third] = way.map((snapshot) => compilePolicy(snapshot, DEFAULT_POLICY_SETTINGS));
  if (!first || !second || !third || !way[0]) return;
  const kernel = createFakePolicyKernel();
  let applier = createPolicyApplier(kernel);
  expect((await applier.apply(first)).failed).toEqual([]);

  const nodeName = way[0].nodeName;
  const hops = packets.flatMap((packet) =>
    hopsOf(way[0] as PolicySnapshot, packet).flatMap(([node, hop]) => (node === nodeName ? hop : [])),
  );
  const ends = [first, second, third].map(createInterpreter);
  const steady = new Map<HookPacket, "pass" | "drop">();
  for (const hop of hops) {
    // Whoever has the address is both ends. The rule for it may hold for a moment after the pod is gone.
    if (hop.src === hop.dst) continue;
    const verdicts = new Set(ends.map((end) => end.run(hop).verdict));
    const [verdict] = verdicts;
    // What is refused may close more than wanted; it never opens. And an address may change hands only when it is closed.
    const mayClose = trouble.kind === "refuse" || [hop.src, hop.dst].some((ip) => hasSeveralOwners(way, ip));
    if (verdicts.size === 1 && verdict && (verdict === "drop" || !mayClose)) steady.set(hop, verdict);
  }
  const violations: unknown[] = [];
  kernel.onState = (state) => {
    const now = createInterpreter(state);
    for (const [hop, verdict] of steady) {
      if (now.run(hop).verdict !== verdict) violations.push({ hop, verdict, after: kernel.calls.slice(-2) });
    }
  };

  troubleAt(kernel, trouble);
  await applier.apply(second);
  kernel.faultAt = () => undefined;
  if (trouble.kind === "kill") applier = createPolicyApplier(kernel);
  expect((await applier.apply(third)).failed).toEqual([]);
  expect(violations).toEqual([]);
  expectKernel(kernel, third);

  // What it remembers is true: nothing is left to do, and the way back is found without another look.
  kernel.onState = () => undefined;
  kernel.calls.length = 0;
  await applier.apply(third);
  expect(kernel.calls).toEqual([]);
  expect(await applier.apply(first)).toMatchObject({ failed: [], listed: false });
  expectKernel(kernel, first);
}

function expectKernel(kernel: FakePolicyKernel, { firewall, sets }: CompiledPolicy): void {
  const byText = (rows: readonly unknown[]) => rows.map((row) => JSON.stringify(row)).toSorted();
  expect(byText(kernel.state().firewall)).toEqual(byText(firewall));
  const bare = (rows: readonly IpsetRow[]) =>
    byText(rows.map(({ name, members }) => ({ name, members: [...members] })));
  expect(bare(kernel.state().sets)).toEqual(bare(sets));
}

function hasSeveralOwners(way: readonly PolicySnapshot[], ip: Ip): boolean {
  return (
    new Set(way.flatMap(({ pods }) => pods.filter(({ ips }) => ips.includes(ip)).map(({ uid }) => uid)))
      .size > 1
  );
}

function troubleAt(kernel: FakePolicyKernel, { kind, step }: Trouble): void {
  let count = 0;
  kernel.faultAt = () => {
    count += 1;
    if (kind === "refuse" && count - 1 === step) return "refuse";
    return kind === "kill" && count - 1 >= step ? "throw" : undefined;
  };
}
