// What is added, removed and made anew, in which order, and that the memory of it stays true.
import { describe, expect, test } from "vitest";
import type { IpsetRow } from "../../../src/host/ipset-state.ts";
import { diffMembers, mergeMembers, withoutMembers } from "../../../src/host/member-list.ts";
import { planSets } from "../../../src/host/set-plan.ts";
import type { SetStep } from "../../../src/host/set-plan.ts";
import { createSetReconciler } from "../../../src/host/set-reconciler.ts";
import { createFakePolicyKernel } from "../../support/fake-policy-kernel.ts";

function setOf(name: string, members: readonly string[], more: Partial<IpsetRow> = {}): IpsetRow {
  return {
    kind: "set",
    name,
    type: "hash:ip",
    family: 4,
    counters: false,
    ...more,
    members: members.toSorted(),
  };
}

const isPeers = (name: string): boolean => name.startsWith("peers");

function tell(step: SetStep): string {
  if (step.kind === "destroy") return `destroy ${step.set.name}`;
  return `${step.kind} ${step.set.name} ${[...(step.kind === "replace" ? step.set : step).members].join(" ")}`;
}

function plan(before: readonly IpsetRow[], after: readonly IpsetRow[]) {
  const known = new Map(before.map((set) => [set.name, set]));
  const { early, late } = planSets(known, after, isPeers);
  return { early: early.map(tell), late: late.map(tell) };
}

describe("members of sorted lists", () => {
  test.each([
    [[], [], [], []],
    [["a"], [], [], ["a"]],
    [[], ["a"], ["a"], []],
    [["a", "c"], ["b", "c"], ["b"], ["a"]],
    [["a", "b", "c"], ["b"], [], ["a", "c"]],
    [["b"], ["a", "b", "c"], ["a", "c"], []],
  ])("%j to %j", (actual, desired, added, removed) => {
    expect(diffMembers(actual, desired)).toEqual({ added, removed });
    expect(withoutMembers(mergeMembers(actual, added), removed)).toEqual(desired);
  });
});

describe("order", () => {
  test("a pod that joins is isolated before it is known, one that leaves is unknown first", () => {
    const [before, after] = [[], ["1"]].map((members) => [setOf("pods", members), setOf("known", members)]);
    expect(plan(before ?? [], after ?? [])).toEqual({ early: ["add pods 1", "add known 1"], late: [] });
    expect(plan(after ?? [], before ?? [])).toEqual({ early: [], late: ["remove known 1", "remove pods 1"] });
  });

  test("peers whose isolation changes go first and come last; others come first and go last", () => {
    const before = [setOf("peers", ["1", "2"]), setOf("pods", ["1"])];
    const after = [setOf("peers", ["3", "4"]), setOf("pods", ["3"])];
    expect(plan(before, after)).toEqual({
      early: ["add peers 4", "remove peers 1", "add pods 3"],
      late: ["remove pods 1", "add peers 3", "remove peers 2"],
    });
  });

  test("new sets are made before anything else, unwanted ones go at the end", () => {
    expect(plan([setOf("old", ["1"])], [setOf("peers-new", ["2"]), setOf("new", ["1"])])).toEqual({
      early: ["create peers-new 2", "create new 1"],
      late: ["destroy old"],
    });
  });

  test("a set with another header is made anew with the members that present rules rely on", () => {
    expect(plan([setOf("pods", ["1"], { counters: true })], [setOf("pods", ["2"])])).toEqual({
      early: ["replace pods 1 2"],
      late: ["remove pods 1"],
    });
    expect(plan([setOf("pods", ["1"], { family: 6 })], [setOf("pods", ["2"])])).toEqual({
      early: ["replace pods 2"],
      late: [],
    });
  });
});

test("a set that changes in both halves is known as it is afterwards, and the next change is just that", async () => {
  const kernel = createFakePolicyKernel();
  const reconciler = createSetReconciler(kernel.sets);
  const pass = async (...sets: readonly IpsetRow[]): Promise<readonly string[]> => {
    kernel.calls.length = 0;
    const planned = await reconciler.plan(sets, isPeers);
    await planned.writeEarly();
    await planned.writeLate(() => true);
    expect(kernel.state().sets.map(({ name, members }) => [name, members])).toEqual(
      sets.map(({ name, members }) => [name, members]),
    );
    return kernel.calls;
  };
  await pass(setOf("peers", ["1", "2"]), setOf("pods", ["1"]));
  await pass(setOf("peers", ["3", "4"]), setOf("pods", ["3"]));
  expect(await pass(setOf("peers", ["3", "4"]), setOf("pods", ["3"]))).toEqual([]);
  expect(await pass(setOf("peers", ["3", "4", "5"]), setOf("pods", ["3"]))).toEqual([
    "sets.write add:peers:1",
  ]);
});
