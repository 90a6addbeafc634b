// The order of writes, what costs a process and what does not, what a fault leaves in force, and what counts as a repair.
import { beforeEach, describe, expect, test } from "vitest";
import { createPolicyApplier } from "../../../src/host/policy-applier.ts";
import type { PolicyApplier } from "../../../src/host/policy-applier.ts";
import { countRepairs, isEverythingUnchanged } from "../../../src/host/policy-report.ts";
import type { Jump } from "../../../src/host/state.ts";
import { compilePolicy } from "../../../src/policy/compile.ts";
import type { CompiledPolicy } from "../../../src/policy/compile.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import type { Pod, Policy } from "../../../src/policy/snapshot.ts";
import { createFakePolicyKernel } from "../../support/fake-policy-kernel.ts";
import type { FakePolicyKernel } from "../../support/fake-policy-kernel.ts";
import { podOf, policyOf, snapshotOf } from "../../support/policy-cluster.ts";

/** Every app gets rules of its own: equal ones would share chains and sets. */
const isolate = (app: string) =>
  policyOf(
    `x/${app}`,
    `{podSelector: {matchLabels: {app: ${app}}}, ingress: [{from: [{podSelector: {matchLabels: {app: far}}}], ports: [{port: ${app.charCodeAt(0)}}]}]}`,
  );
const [A, B, FAR] = [
  podOf("x/a", "1.11", { app: "a" }),
  podOf("x/b", "1.12", { app: "b" }),
  podOf("x/far", "2.13", { app: "far" }),
];

let kernel: FakePolicyKernel;
let applier: PolicyApplier;
let previous: CompiledPolicy | undefined;

beforeEach(() => {
  kernel = createFakePolicyKernel();
  applier = createPolicyApplier(kernel);
  previous = undefined;
});

/** As the graph gives it: what did not change is the same object. */
function compile(
  pods: readonly Pod[],
  policies: readonly Policy[],
  families: readonly (4 | 6)[] = [4],
): CompiledPolicy {
  const fresh = compilePolicy(snapshotOf({ pods, policies }), { ...DEFAULT_POLICY_SETTINGS, families });
  const known = new Map(previous?.sets.map((set) => [JSON.stringify(set), set]));
  const isSameFirewall = JSON.stringify(fresh.firewall) === JSON.stringify(previous?.firewall);
  const firewall = previous && isSameFirewall ? previous.firewall : fresh.firewall;
  previous = { ...fresh, firewall, sets: fresh.sets.map((set) => known.get(JSON.stringify(set)) ?? set) };
  return previous;
}

/** One pass; the calls that it made, without the numbers. */
async function pass(desired: CompiledPolicy) {
  kernel.calls.length = 0;
  const report = await applier.apply(desired);
  return { report, calls: kernel.calls.map((call) => call.split(" ")[0]) };
}

function expectInForce(desired: CompiledPolicy): void {
  const { firewall, sets } = kernel.state();
  const byText = (rows: readonly unknown[]) => rows.map((row) => JSON.stringify(row)).toSorted();
  expect(byText(firewall)).toEqual(byText(desired.firewall));
  const bare = ({ name, members, type, family, counters }: (typeof sets)[number]) => ({ name, members, type, family, counters }); // prettier-ignore
  expect(byText(sets.map(bare))).toEqual(byText(desired.sets.map(bare)));
}

const NO_SETS = { created: 0, replaced: 0, destroyed: 0, membersAdded: 0, membersRemoved: 0 };

describe("cost", () => {
  test("the first pass lists once and writes sets and rules with one call each", async () => {
    const desired = compile([A, B, FAR], [isolate("a"), isolate("b")]);
    const { report, calls } = await pass(desired);
    expect(calls).toEqual(["sets.list", "firewall.list", "sets.write", "firewall.put"]);
    expect(report).toMatchObject({
      listed: true,
      failed: [],
      firewall: { created: desired.firewall.length },
      sets: { created: desired.sets.length },
      desired: { firewallRows: desired.firewall.length, sets: desired.sets.length },
    });
    expect(countRepairs(report.repaired)).toBe(0);
    expectInForce(desired);
  });

  test("nothing is called when nothing changed, also if all objects are new ones", async () => {
    await pass(compile([A, B, FAR], [isolate("a")]));
    const { report, calls } = await pass(compile([A, B, FAR], [isolate("a")]));
    expect(calls).toEqual([]);
    expect(isEverythingUnchanged(report)).toBe(true);
    previous = undefined;
    expect((await pass(compile([A, B, FAR], [isolate("a")]))).calls).toEqual([]);
  });

  test("a pod that joins is one call to ipset and none to iptables", async () => {
    await pass(compile([A, FAR], [isolate("a")]));
    const joined = compile(
      [A, { ...A, name: "a2", uid: "a2", ips: podOf("x/a2", "1.20").ips }, FAR],
      [isolate("a")],
    );
    const { report, calls } = await pass(joined);
    expect(calls).toEqual(["sets.write"]);
    expect(report.sets).toEqual({ ...NO_SETS, membersAdded: 4 });
    // The set of known pods, which opens, comes last; counted members that stay are not touched.
    expect(kernel.calls[0]).toMatch(
      /^sets.write add:FTSP-4i-\w+:1 add:FTSP-4-denied-in:1 add:FTSP-4-denied-out:1 add:FTSP-4k-\w+:1$/,
    );
    expectInForce(joined);
  });

  test("a pod that leaves is one call, too, and the set of known pods comes first", async () => {
    const A2 = { ...A, name: "a2", uid: "a2", ips: podOf("x/a2", "1.20").ips };
    await pass(compile([A, A2, FAR], [isolate("a")]));
    const left = compile([A, FAR], [isolate("a")]);
    expect((await pass(left)).calls).toEqual(["sets.write"]);
    expect(kernel.calls[0]).toMatch(/^sets.write remove:FTSP-4k-\w+:1 .*remove:FTSP-4i-\w+:1$/);
    expectInForce(left);
  });

  test("a policy change fills sets, changes rules, then takes away what they named", async () => {
    await pass(compile([A, B, FAR], [isolate("a")]));
    const changed = compile([A, B, FAR], [isolate("b")]);
    const { report, calls } = await pass(changed);
    expect(calls).toEqual(["sets.write", "firewall.change", "sets.write"]);
    expect(report.failed).toEqual([]);
    expectInForce(changed);
  });
});

/** Kills, refusals and exceptions at one step; afterwards the same pass again without. */
describe("faults", () => {
  const before = () => compile([A, B, FAR], [isolate("a")], [4, 6]);
  const after = () => compile([A, B, FAR], [isolate("b")], [4, 6]);

  test.each(["refuse", "throw"] as const)(
    "%s at any step: reported, then repaired, then quiet",
    async (kind) => {
      // Every step that the change takes.
      await pass(before());
      const steps: string[] = [];
      kernel.faultAt = (step) => void steps.push(step);
      await pass(after());
      expect(steps.length).toBeGreaterThan(10);
      for (const fault of steps.concat("list sets", "list firewall")) {
        beforeEachStep();
        await pass(before());
        if (fault.startsWith("list")) applier.invalidate();
        kernel.faultAt = (step) => (step === fault ? kind : undefined);
        const { report } = await pass(after());
        expect(report.failed, fault).not.toEqual([]);
        kernel.faultAt = () => undefined;
        const healed = await pass(after());
        expect(healed.report, fault).toMatchObject({ listed: true, failed: [] });
        expect(countRepairs(healed.report.repaired), `${fault} was not somebody else`).toBe(0);
        expectInForce(after());
        expect((await pass(after())).calls).toEqual([]);
      }
    },
  );

  function beforeEachStep(): void {
    kernel = createFakePolicyKernel();
    applier = createPolicyApplier(kernel);
    previous = undefined;
  }

  test("a set that cannot be filled holds back the rules of its family, and the last good ones stay", async () => {
    await pass(before());
    const rules4 = kernel.state().firewall.filter(({ family }) => family === 4);
    kernel.faultAt = (step) => (step.startsWith("create FTSP-4i") ? "refuse" : undefined);
    const desired = after();
    const { report } = await pass(desired);
    expect(report.failed).toContainEqual({
      part: "firewall",
      key: "ipv4 *",
      reason: expect.stringMatching(
        /^the rules in force stay as they are, since set FTSP-4\S+ is not as it should be$/,
      ),
    });
    const { firewall, sets } = kernel.state();
    expect(firewall.filter(({ family }) => family === 4)).toEqual(rules4);
    expect(firewall.filter(({ family }) => family === 6)).toEqual(
      expect.arrayContaining(desired.firewall.filter(({ family }) => family === 6)),
    );
    // What the old rules name is all there.
    expect(sets.filter(({ family }) => family === 4).length).toBeGreaterThan(4);
  });

  test("a pod is not known before its isolation is in force", async () => {
    await pass(compile([A, FAR], [isolate("a")]));
    const A2 = { ...A, name: "a2", uid: "a2", ips: podOf("x/a2", "1.20").ips };
    const joined = compile([A, A2, FAR], [isolate("a")]);
    kernel.faultAt = (step) => (step.startsWith("add FTSP-4i") ? "refuse" : undefined);
    const { report } = await pass(joined);
    expect(report.failed.map(({ part }) => part)).toContain("sets");
    const known = kernel.state().sets.find(({ name }) => name.startsWith("FTSP-4k"));
    expect(known?.members).toEqual(["10.244.1.11"]);
  });

  test("refused rules keep the sets and members that the rules in force rely on", async () => {
    await pass(before());
    const sets = kernel.state().sets.map(({ name }) => name);
    kernel.faultAt = (step) => (step.includes("chain FTSP-POLICY") ? "refuse" : undefined);
    const { calls } = await pass(after());
    expect(calls).toEqual(["sets.write", "firewall.change"]);
    expect(kernel.state().sets.map(({ name }) => name)).toEqual(expect.arrayContaining(sets));
  });

  test("a member that is to go goes, even while another set cannot be filled", async () => {
    await pass(compile([A, B, FAR], [isolate("a"), isolate("b")]));
    const B2 = { ...B, name: "b2", uid: "b2", ips: podOf("x/b2", "1.30").ips };
    // Far is no longer far, and a pod joins.
    const desired = compile([A, B, B2, { ...FAR, labels: {} }], [isolate("a"), isolate("b")]);
    kernel.faultAt = (step) => (step.startsWith("add FTSP-4k") ? "refuse" : undefined);
    await pass(desired);
    expect(
      kernel
        .state()
        .sets.filter(({ name }) => name.startsWith("FTSP-4p"))
        .flatMap(({ members }) => Array.from(members)),
    ).toEqual([]);
  });

  test("an invalidation during a pass makes the next one ask the kernel", async () => {
    const desired = compile([A, FAR], [isolate("a")]);
    await pass(desired);
    const grown = compile([A, B, FAR], [isolate("a")]);
    kernel.onState = () => applier.invalidate();
    await pass(grown);
    kernel.onState = () => undefined;
    expect((await pass(grown)).calls).toEqual(["sets.list", "firewall.list"]);
    expect((await pass(grown)).calls).toEqual([]);
  });
});

describe("drift", () => {
  let desired: CompiledPolicy;
  beforeEach(async () => {
    desired = compile([A, B, FAR], [isolate("a"), isolate("b")]);
    await pass(desired);
  });
  const rowOf = (key: string) =>
    [...kernel.firewallRows].find(([text]) => text.includes(key)) ?? expect.unreachable();
  const setOf = (start: string) =>
    [...kernel.setRows.values()].find(({ name }) => name.startsWith(start)) ?? expect.unreachable();

  const CASES: readonly [string, () => void, Readonly<Record<string, number>>][] = [
    ["a jump that is gone", () => kernel.firewallRows.delete(rowOf(" FORWARD ")[0]), { created: 1 }],
    ["a jump behind another rule", () => {
      const [key, row] = rowOf(" FORWARD ");
      kernel.firewallRows.set(key, { ...(row as Jump), position: "append" });
    }, { replaced: 1 }],
    ["a chain that was emptied", () => {
      const [key, row] = rowOf("chain FTSP-POLICY");
      if (row.kind === "chain") kernel.firewallRows.set(key, { ...row, rules: [] });
    }, { replaced: 1 }],
    ["a set that was emptied", () => kernel.setRows.set(setOf("FTSP-4k").name, { ...setOf("FTSP-4k"), members: [] }), { membersAdded: 2 }],
    ["a member too many", () => kernel.setRows.set(setOf("FTSP-4p").name, { ...setOf("FTSP-4p"), members: ["10.244.2.13", "10.9.9.9"] }), { membersRemoved: 1 }],
    ["a set of our name that is not ours", () => kernel.setRows.set("FTSP-x", { ...setOf("FTSP-4k"), name: "FTSP-x" }), { destroyed: 1 }],
    ["a set with a timeout", () => kernel.setRows.set(setOf("FTSP-4k").name, { ...setOf("FTSP-4k"), plain: false }), { replaced: 1 }],
    ["a set of another type", () => kernel.setRows.set(setOf("FTSP-4k").name, { ...setOf("FTSP-4k"), type: "other", members: [] }), { replaced: 1 }],
  ]; // prettier-ignore

  test.each(CASES)("%s is found at the next look, repaired and counted", async (_, interfere, expected) => {
    interfere();
    expect((await pass(desired)).calls, "nobody looks without reason").toEqual([]);
    applier.invalidate();
    const { report } = await pass(desired);
    const kinds = [report.repaired.firewall, report.repaired.sets].flatMap((counts) =>
      Object.entries(counts),
    );
    expect(Object.fromEntries(kinds.filter(([, count]) => count > 0))).toEqual(expected);
    expect(countRepairs(report.repaired)).toBe(Object.values(expected)[0]);
    expectInForce(desired);
    applier.invalidate();
    expect((await pass(desired)).report.repaired).toMatchObject({ sets: NO_SETS });
  });

  test("all gone at once is all put back", async () => {
    kernel.firewallRows.clear();
    kernel.setRows.clear();
    applier.invalidate();
    const { report } = await pass(desired);
    expect(report.repaired).toMatchObject({
      firewall: { created: desired.firewall.length },
      sets: { created: desired.sets.length, membersAdded: report.desired.members },
    });
    expectInForce(desired);
  });

  test("a change of ours at the same time is no repair", async () => {
    applier.invalidate();
    const { report } = await pass(
      compile([A, B, FAR, podOf("x/far2", "2.14", { app: "far" })], [isolate("b")]),
    );
    expect(countRepairs(report.repaired)).toBe(0);
  });
});
