// The policy agent with a faked kernel: when it applies, what it says meanwhile, and when CNI ADD is answered.
import { describe, expect, it } from "vitest";
import { createAttachmentDesk } from "../../../../src/daemon/policy/attachment-desk.ts";
import type { AnnouncedAttachment, StoredAttachment } from "../../../../src/daemon/policy/attachment.ts";
import { PolicyAgent } from "../../../../src/daemon/policy/policy-agent.ts";
import type { DesiredPolicy } from "../../../../src/host/policy-applier.ts";
import type { PolicyApplyReport, PolicyFailure } from "../../../../src/host/policy-report.ts";
import { parseIp } from "../../../../src/net/ip.ts";
import { createPolicyGraph } from "../../../../src/policy/graph.ts";
import { createInForceBook } from "../../../../src/policy/in-force-book.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../../src/policy/settings.ts";
import { POLICY_KINDS } from "../../../../src/policy/source.ts";
import type { PolicyEvent } from "../../../../src/policy/source.ts";
import { memoryLogger } from "../../../support/memory-logger.ts";

const NO_ROWS = { created: 0, replaced: 0, removed: 0 };
const NO_SETS = { created: 0, replaced: 0, destroyed: 0, membersAdded: 0, membersRemoved: 0 };
const IP = parseIp("10.0.0.5");

function start() {
  const applied: DesiredPolicy[] = [];
  const kernel: { failed: PolicyFailure[]; repairs: number; bridge: string | undefined } = {
    failed: [],
    repairs: 0,
    bridge: undefined,
  };
  const wiring: { problem: string | undefined; handOverProblem: string | undefined } = {
    problem: undefined,
    handOverProblem: undefined,
  };
  const disk = new Map<string, StoredAttachment>();
  const log = memoryLogger();
  const notices: string[] = [];
  const graph = createPolicyGraph({
    nodeName: "n1",
    settings: { ...DEFAULT_POLICY_SETTINGS, families: [4] },
  });
  const source = {
    watch: () => Promise.resolve(),
    health: () => ({ connected: false, problem: "the API does not answer", skipped: [] }),
  };
  const metrics = {
    event: () => undefined,
    eventInKernel: () => undefined,
    pass: () => undefined,
    attachment: () => undefined,
  };
  const agent = new PolicyAgent("n1", {
    source,
    graph,
    inForce: createInForceBook(),
    applier: {
      invalidate: () => undefined,
      apply: (desired) => {
        applied.push(desired);
        const report: PolicyApplyReport = {
          listed: true,
          desired: { firewallRows: 0, sets: 0, members: 0 },
          firewall: NO_ROWS,
          sets: NO_SETS,
          repaired: { firewall: { ...NO_ROWS, created: kernel.repairs }, sets: NO_SETS },
          failed: kernel.failed,
        };
        return Promise.resolve(report);
      },
    },
    switches: {
      check: () =>
        Promise.resolve({ repaired: [], ...(kernel.bridge !== undefined && { problem: kernel.bridge }) }),
    },
    attachments: {
      load: () => [],
      save: (each) => void disk.set(each.containerId, each),
      remove: ({ containerId }) => void disk.delete(containerId),
    },
    wiring,
    metrics,
    log,
    now: Date.now,
    notify: ({ message }) => void notices.push(message),
    request: () => undefined,
  });
  const desk = createAttachmentDesk({
    agent,
    source,
    metrics,
    log,
    now: Date.now,
    wiring: { whyUnwatched: (wire) => (wire === "veth9" ? "it attaches by cbr0" : undefined) },
  });
  const sync = (): void => {
    for (const kind of POLICY_KINDS)
      agent.onSourceEvent({ type: "snapshot", kind, objects: [] } as unknown as PolicyEvent);
  };
  const putPod = (): void =>
    agent.onSourceEvent({
      type: "put",
      kind: "pods",
      object: {
        namespace: "a",
        name: "web",
        uid: "u",
        nodeName: "n1",
        labels: {},
        ips: [],
        hostNetwork: false,
        finished: false,
        terminating: false,
        ports: [],
      },
    });
  return { agent, desk, applied, kernel, wiring, disk, log, notices, sync, putPod };
}

const POD: AnnouncedAttachment = {
  containerId: "c1",
  ifName: "eth0",
  namespace: "a",
  name: "web",
  uid: "u",
  ips: [IP],
  labels: {},
  ports: [],
};

describe("passes", () => {
  it("write nothing before all kinds of objects are known, and say what is waited for", async () => {
    const { agent, applied, sync } = start();
    expect(await agent.pass({ full: true })).toBe(true);
    expect(applied).toEqual([]);
    expect(agent.notReadyReason()).toBe(
      "network policy: waiting for pods, namespaces, nodes and policies: the API does not answer",
    );
    sync();
    expect(agent.notReadyReason()).toBe("network policy: the first rules are being written");
    expect(await agent.pass({ full: false })).toBe(true);
    expect(applied).toHaveLength(1);
    expect(agent.notReadyReason()).toBeUndefined();
    expect(agent.problem()).toBe("network policy: the API does not answer");
  });

  it("that fail make the node not ready, are told once and tried again", async () => {
    const { agent, kernel, log, notices, sync } = start();
    sync();
    kernel.failed = [{ part: "sets", key: "*", reason: "ipset: not found; install the package" }];
    expect(await agent.pass({ full: false })).toBe(false);
    expect(await agent.pass({ full: false })).toBe(false);
    expect(agent.notReadyReason()).toBe("network policy: *: ipset: not found; install the package");
    expect(log.lines.filter(({ level }) => level === "error")).toHaveLength(1);
    expect(notices).toHaveLength(1);
    kernel.failed = [];
    expect(await agent.pass({ full: false })).toBe(true);
    expect(agent.notReadyReason()).toBeUndefined();
    expect(log.lines.at(-1)?.message).toContain("in force again");
  });

  it("that repair are counted and told", async () => {
    const { agent, kernel, log, sync } = start();
    sync();
    kernel.repairs = 2;
    await agent.pass({ full: false });
    expect(agent.state().repairs).toBe(2);
    expect(log.lines.at(-1)?.message).toContain("put back rules or sets of network policy");
  });

  it("go on while the bridge hides packets, but the node is not ready and the cure is named", async () => {
    const { agent, kernel, applied, notices, sync } = start();
    sync();
    kernel.bridge = "br_netfilter is not loaded";
    expect(await agent.pass({ full: true })).toBe(false);
    expect(applied).toHaveLength(1);
    expect(agent.notReadyReason()).toBe("br_netfilter is not loaded");
    expect(notices).toEqual(["br_netfilter is not loaded"]);
    kernel.bridge = undefined;
    agent.recheck();
    expect(await agent.pass({ full: false })).toBe(true);
    expect(agent.notReadyReason()).toBeUndefined();
  });
});

describe("CNI ADD", () => {
  const soon = (): AbortSignal => AbortSignal.timeout(20);

  it("is answered only after a pass that has the pod in it and left nothing undone", async () => {
    const { agent, desk, kernel, sync, putPod } = start();
    sync();
    await agent.pass({ full: true });
    const outcome = desk.attach(POD, AbortSignal.timeout(60_000));
    let answered = false;
    void outcome.then(() => (answered = true));
    await agent.pass({ full: false });
    putPod();
    kernel.failed = [{ part: "firewall", key: "x", reason: "busy" }];
    await agent.pass({ full: false });
    await Promise.resolve();
    expect(answered).toBe(false);
    kernel.failed = [];
    await agent.pass({ full: false });
    expect(await outcome).toEqual({ kind: "in-force" });
  });

  it("hears why it waits", async () => {
    const { agent, desk, kernel, sync } = start();
    expect(await desk.attach(POD, soon())).toMatchObject({
      kind: "waiting",
      reason: expect.stringContaining("waiting for pods") as string,
    });
    sync();
    await agent.pass({ full: true });
    expect(await desk.attach(POD, soon())).toMatchObject({
      reason: expect.stringContaining("the API has not shown pod a/web (uid u) on this node yet") as string,
    });
    kernel.bridge = "br_netfilter is not loaded";
    await agent.pass({ full: true });
    expect(await desk.attach(POD, soon())).toEqual({
      kind: "waiting",
      reason: "br_netfilter is not loaded",
    });
  });

  it("of a pod without a name is refused where the API has the pods", async () => {
    const { desk } = start();
    const { namespace: _namespace, name: _name, ...nameless } = POD;
    expect(await desk.attach(nameless, soon())).toMatchObject({ kind: "refused" });
  });
});

it("DEL waits until the address is closed", async () => {
  const { agent, desk, sync, putPod, disk, applied } = start();
  sync();
  putPod();
  const added = desk.attach(POD, AbortSignal.timeout(60_000));
  await agent.pass({ full: true });
  await added;
  const known = (): boolean => JSON.stringify(applied.at(-1)).includes(IP);
  expect(known()).toBe(true);
  const closed = desk.detach(POD, AbortSignal.timeout(60_000));
  await agent.pass({ full: false });
  await closed;
  expect(known()).toBe(false);
  expect(disk.get("c1")).toMatchObject({ detached: true });
});

describe("pods that are not wired as they should be", () => {
  it("by an interface that is not watched: not ready; that pod's ADD is refused, and it stays known", async () => {
    const { agent, desk, wiring, sync, putPod } = start();
    sync();
    putPod();
    await agent.pass({ full: false });
    expect(agent.notReadyReason()).toBeUndefined();
    wiring.problem = "pods attach by cbr0";
    expect(agent.notReadyReason()).toBe("pods attach by cbr0");
    expect(agent.state().problems).toContain("pods attach by cbr0");
    const announced = { ...POD, hostIfName: "veth9" };
    expect(await desk.attach(announced, AbortSignal.timeout(60_000))).toEqual({
      kind: "refused",
      reason: "it attaches by cbr0",
    });
    expect(agent.book.attachments).toHaveLength(1);
  });

  it("without a word by CNI: ready, and said", async () => {
    const { agent, wiring, sync } = start();
    sync();
    await agent.pass({ full: false });
    wiring.handOverProblem = "add networkPolicy";
    expect(agent.notReadyReason()).toBeUndefined();
    // The source of this test has a problem of its own.
    expect(agent.state().problems).toHaveLength(1);
  });
});
