// What a daemon writes of its pods, and when: against an etcd in memory.
import { afterEach, describe, expect, it } from "vitest";
import { InvalidValueError } from "../../../src/net/errors.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { createEtcdPodRegistry } from "../../../src/policy/etcd-pod-registry.ts";
import { planRegistration } from "../../../src/policy/etcd-registration-plan.ts";
import type { RegistrationInput } from "../../../src/policy/etcd-registration-plan.ts";
import type { LocalPod } from "../../../src/policy/pod-registry.ts";
import { createFakeEtcd } from "../../support/fake-etcd-client.ts";
import type { FakeEtcd } from "../../support/fake-etcd-client.ts";
import { memoryLogger } from "../../support/memory-logger.ts";
import { waitFor } from "../../support/wait.ts";

const web: LocalPod = {
  namespace: "shop",
  name: "web",
  uid: "u1",
  labels: { app: "web" },
  ips: [parseIp("10.244.1.5")],
  ports: [{ name: "web", protocol: "SCTP", port: 8080 }],
  createdAtMs: Date.UTC(2026, 10, 21),
};

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function start(etcd: FakeEtcd, ttlSeconds = 600, log = memoryLogger()) {
  const registry = createEtcdPodRegistry(
    { client: etcd, prefix: "/net/", nodeName: "n1", ttlSeconds },
    { log },
  );
  const stop = new AbortController();
  const running = registry.run(stop.signal);
  cleanups.push(async () => {
    stop.abort();
    await running;
  });
  return { registry, log, settled: () => registry.settled(AbortSignal.timeout(20_000)) };
}

describe("a registry", () => {
  it("writes a pod as a Pod of Kubernetes, beside the subnets", async () => {
    const etcd = createFakeEtcd();
    const { registry, settled } = start(etcd);
    registry.registerPod(web);
    await settled();
    const [[key, value] = ["", "{}"]] = etcd.entries();
    expect(key).toBe("/net/policy/nodes/n1/pods/shop/web");
    expect(JSON.parse(value)).toEqual({
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        namespace: "shop",
        name: "web",
        uid: "u1",
        creationTimestamp: "2026-11-21T00:00:00.000Z",
        labels: { app: "web" },
      },
      spec: {
        nodeName: "n1",
        containers: [{ name: "attached", ports: [{ name: "web", containerPort: 8080, protocol: "SCTP" }] }],
      },
      status: { phase: "Running", podIPs: [{ ip: "10.244.1.5" }] },
    });
  });

  it("asks for no lease as long as there is nothing to register", async () => {
    const etcd = createFakeEtcd();
    let granted = 0;
    const { settled } = start({
      ...etcd,
      grantLease: (ttlSeconds) => {
        granted += 1;
        return etcd.grantLease(ttlSeconds);
      },
    });
    await settled();
    expect(granted).toBe(0);
  });

  it("renews its lease in time, by itself", async () => {
    const etcd = createFakeEtcd();
    let renewals = 0;
    const { registry, settled } = start(
      {
        ...etcd,
        keepAliveOnce: (leaseId) => {
          renewals += 1;
          return etcd.keepAliveOnce(leaseId);
        },
      },
      0.1,
    );
    registry.registerPod(web);
    await settled();
    await waitFor("renewals", () => renewals > 3);
    expect(etcd.entries()).toHaveLength(1);
  });

  it("does not repeat itself: a pod that is told of again costs no write", async () => {
    const etcd = createFakeEtcd();
    const { registry, settled } = start(etcd);
    registry.registerPod(web);
    await settled();
    const { put } = etcd.calls;
    registry.registerPod({ ...web });
    registry.reconcile([web]);
    await settled();
    expect(etcd.calls.put).toBe(put);
  });

  it("writes more pods than fit into one transaction", async () => {
    const etcd = createFakeEtcd();
    const { registry, settled } = start(etcd);
    registry.reconcile(Array.from({ length: 300 }, (_, i) => ({ ...web, name: `web-${i}` })));
    await settled();
    expect(etcd.entries()).toHaveLength(300);
    expect(etcd.calls.put).toBe(3);
    registry.reconcile([]);
    await settled();
    expect(etcd.entries()).toEqual([]);
  });

  it("keeps names out of etcd that would end up elsewhere", async () => {
    const etcd = createFakeEtcd();
    const { registry, log, settled } = start(etcd);
    registry.registerPod({ ...web, namespace: "../../subnets" });
    registry.registerPod({ ...web, name: "a/b" });
    await settled();
    expect(etcd.entries()).toEqual([]);
    expect(log.lines.filter(({ level }) => level === "warn")).toHaveLength(2);
    expect(() => createEtcdPodRegistry({ client: etcd, prefix: "/net", nodeName: "a/b" })).toThrow(
      InvalidValueError,
    );
  });
});

describe("planRegistration", () => {
  const input = (more: Partial<RegistrationInput>): RegistrationInput => ({
    desired: new Map(),
    actual: new Map(),
    leaseId: "7",
    nodeKey: "node",
    complete: false,
    unregistered: new Map(),
    ...more,
  });
  const stored = (uid: string) => ({ value: JSON.stringify({ metadata: { uid } }), leaseId: "7" });

  it.each([
    {
      name: "what is as it should be is left alone",
      input: input({
        desired: new Map([["a", "1"]]),
        actual: new Map([["a", { value: "1", leaseId: "7" }]]),
      }),
      writes: [],
    },
    {
      name: "a value under another lease is written again",
      input: input({
        desired: new Map([["a", "1"]]),
        actual: new Map([["a", { value: "1", leaseId: "6" }]]),
      }),
      writes: [{ type: "put", key: "a", value: "1", leaseId: "7" }],
    },
    {
      name: "before all pods are known, none goes that nobody named",
      input: input({ actual: new Map([["a", stored("u1")]]) }),
      writes: [],
    },
    {
      name: "one that was named goes, if it is still the same",
      input: input({
        actual: new Map([
          ["a", stored("u1")],
          ["b", stored("u2")],
        ]),
        unregistered: new Map([
          ["a", "u1"],
          ["b", "u1"],
        ]),
      }),
      writes: [{ type: "delete", key: "a" }],
    },
    {
      name: "once all are known, the rest goes, but not the node",
      input: input({
        actual: new Map([
          ["a", stored("u1")],
          ["node", stored("")],
        ]),
        complete: true,
      }),
      writes: [{ type: "delete", key: "a" }],
    },
  ])("$name", ({ input: given, writes }) => {
    expect(planRegistration(given).writes).toEqual(writes);
  });
});
