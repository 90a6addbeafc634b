// When established connections are looked at: only after what can have denied something.
import { describe, expect, it } from "vitest";
import { canDenyMore, createEstablishedCheck } from "../../../../src/daemon/policy/established.ts";
import type { IpsetRow } from "../../../../src/host/ipset-state.ts";
import type { PolicyApplyReport } from "../../../../src/host/policy-report.ts";
import type { Flow } from "../../../../src/net/flow.ts";
import { SILENT_LOGGER } from "../../../../src/net/logger.ts";
import { compilePolicy } from "../../../../src/policy/compile.ts";
import type { CompiledPolicy } from "../../../../src/policy/compile.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../../src/policy/settings.ts";
import type { Pod, Policy, PolicySnapshot } from "../../../../src/policy/snapshot.ts";
import { podOf, policyOf, snapshotOf } from "../../../support/policy-cluster.ts";

const settings = { ...DEFAULT_POLICY_SETTINGS, families: [4] as const };
const DB = podOf("x/db", "1.11", { app: "db" });
const WEB = podOf("x/web", "1.12", { app: "web" });
const MORE = podOf("x/more", "1.13", { app: "web" });
const FROM_WEB = policyOf(
  "x/p",
  "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
);
const NOBODY = policyOf("x/q", "{podSelector: {matchLabels: {app: more}}}");

function world(pods: readonly Pod[], policies: readonly Policy[] = [FROM_WEB]): PolicySnapshot {
  return snapshotOf({ pods, policies });
}

/** As the graph does it: what did not change is the same object. */
function compileAfter(before: CompiledPolicy, after: PolicySnapshot): CompiledPolicy {
  const compiled = compilePolicy(after, settings);
  const same = JSON.stringify(compiled.firewall) === JSON.stringify(before.firewall);
  const sets = compiled.sets.map((set): IpsetRow => {
    const known = before.sets.find(({ name }) => name === set.name);
    return known !== undefined && JSON.stringify(known) === JSON.stringify(set) ? known : set;
  });
  return { ...compiled, sets, firewall: same ? before.firewall : compiled.firewall };
}

describe("canDenyMore", () => {
  it.each<[string, PolicySnapshot, PolicySnapshot, boolean]>([
    ["a peer comes", world([DB, WEB]), world([DB, WEB, MORE]), false],
    ["a peer goes", world([DB, WEB, MORE]), world([DB, WEB]), true],
    ["a pod without policies comes", world([DB, WEB]), world([DB, WEB, podOf("x/z", "1.19", {})]), false],
    ["a pod is isolated", world([DB, WEB]), world([DB, WEB, podOf("x/d2", "1.18", { app: "db" })]), true],
    ["a policy comes", world([DB, WEB], []), world([DB, WEB]), true],
    ["nothing changes", world([DB, WEB]), world([DB, WEB]), false],
  ])("%s: %s", (_, before, after, expected) => {
    const first = compilePolicy(before, settings);
    expect(canDenyMore(first, compileAfter(first, after), settings)).toBe(expected);
  });
});

const NOTHING = { created: 0, replaced: 0, removed: 0 };
const NO_SETS = { created: 0, replaced: 0, destroyed: 0, membersAdded: 0, membersRemoved: 0 };

function report(created: number): PolicyApplyReport {
  return {
    listed: true,
    desired: { firewallRows: 0, sets: 0, members: 0 },
    firewall: { ...NOTHING, created },
    sets: NO_SETS,
    repaired: { firewall: NOTHING, sets: NO_SETS },
    failed: [],
  };
}

describe("a check", () => {
  const ip = (pod: Pod) => pod.ips.find((each) => !each.includes(":"))!;
  const flow = (from: Pod): Flow => ({
    protocol: 6,
    family: 4,
    original: { src: ip(from), dst: ip(DB), srcPort: 999, dstPort: 80 },
    reply: { src: ip(DB), dst: ip(from), srcPort: 80, dstPort: 999 },
  }) as unknown as Flow; // prettier-ignore

  function start() {
    let snapshot = world([DB, WEB, MORE]);
    const flows = [flow(WEB), flow(MORE)];
    const ended: Flow[] = [];
    let looks = 0;
    let whileLooking = (): void => {};
    let ends = Promise.resolve();
    const check = createEstablishedCheck(settings, {
      graph: { snapshot: () => snapshot },
      conntrack: {
        find: (_, isWanted) => {
          looks += 1;
          const wanted = flows.filter(isWanted);
          whileLooking();
          return Promise.resolve({ flows: wanted });
        },
        end: (some) => {
          ended.push(...some);
          return ends.then(() => ({ ended: some.length }));
        },
      },
      log: SILENT_LOGGER,
    });
    const pass = async (next: PolicySnapshot, written: number): Promise<void> => {
      snapshot = next;
      check.afterPass(compilePolicy(next, settings), report(written));
      await check.settled();
    };
    /** What becomes known while the table is read. */
    const learnWhileLooking = (next: PolicySnapshot): void => {
      whileLooking = () => (snapshot = next);
    };
    const holdEnds = (until: Promise<void>): void => {
      ends = until;
    };
    return { check, pass, ended, looks: () => looks, learnWhileLooking, holdEnds };
  }

  // Found with packets: a policy that came and went at once left connections hanging that were made after it.
  it("ends nothing that is allowed again while it looks", async () => {
    const { pass, ended, looks, learnWhileLooking } = start();
    await pass(world([DB, WEB, MORE]), 0);
    learnWhileLooking(world([DB, WEB, MORE]));
    await pass(world([DB, WEB, { ...MORE, labels: { app: "other" } }]), 1);
    expect(looks()).toBe(1);
    expect(ended).toEqual([]);
  });

  it("keeps no later pass from its work when connections cannot be ended", async () => {
    const { check, pass, ended, holdEnds } = start();
    const failed = Promise.reject(new Error("no space left on device"));
    failed.catch(() => {});
    holdEnds(failed);
    await pass(world([DB, WEB, MORE]), 0);
    await pass(world([DB, WEB, { ...MORE, labels: { app: "other" } }]), 1);
    expect(ended).toEqual([flow(MORE)]);
    await expect(check.ending()).resolves.toBeUndefined();
  });

  it("lets the next pass wait while it ends connections", async () => {
    const { check, pass, ended, holdEnds } = start();
    const gate = Promise.withResolvers<void>();
    holdEnds(gate.promise);
    await pass(world([DB, WEB, MORE]), 0);
    const passed = pass(world([DB, WEB, { ...MORE, labels: { app: "other" } }]), 1);
    while (ended.length === 0) await new Promise((resolve) => setImmediate(resolve));
    let isOver = false;
    const waited = check.ending().then(() => (isOver = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(isOver).toBe(false);
    gate.resolve();
    await Promise.all([waited, passed]);
    expect(isOver).toBe(true);
  });

  it("ends what is denied now and was allowed before, and nothing else", async () => {
    const { pass, ended, looks } = start();
    await pass(world([DB, WEB, MORE]), 0);
    expect(looks()).toBe(0);
    await pass(world([DB, WEB, { ...MORE, labels: { app: "other" } }]), 1);
    expect(ended).toEqual([flow(MORE)]);
    expect(looks()).toBe(1);
  });

  it("looks after a start that had to write, at flows of before that nobody knows", async () => {
    const { pass, ended } = start();
    await pass(world([DB, WEB, { ...MORE, labels: {} }]), 3);
    expect(ended).toEqual([flow(MORE)]);
  });

  it("is not made where nothing is isolated", async () => {
    const { pass, looks } = start();
    await pass(world([DB, WEB], [NOBODY]), 3);
    expect(looks()).toBe(0);
  });
});
