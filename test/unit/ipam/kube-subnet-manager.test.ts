// The subnet manager against an API server: what it waits for, writes, follows and says.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createKubeSubnetManager, nodeIdentityFrom } from "../../../src/ipam/kube-subnet-manager.ts";
import type { KubeSubnetManager, KubeSubnetManagerOptions } from "../../../src/ipam/kube-subnet-manager.ts";
import type { Lease, LeaseEvent } from "../../../src/ipam/lease.ts";
import type { AcquireRequest, PublicIpWish } from "../../../src/ipam/subnet-manager.ts";
import type { NodeEvent } from "../../../src/kube/events.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { startFakeKube } from "../../support/fake-kube/fake-kube.ts";
import type { ReflectorReader } from "../../../src/kube/reflector-tap.ts";
import type { FakeKube } from "../../support/fake-kube/fake-kube.ts";
import type { KubeObject } from "../../support/fake-kube/objects.ts";
import { clientOf, QUICK } from "../../support/kube-mirror.ts";
import { bareNode, nodeObject } from "../../support/kube-nodes.ts";
import { memoryLogger } from "../../support/memory-logger.ts";
import { waitFor } from "../../support/wait.ts";

const PREFIX = "flannel.alpha.coreos.com";
const NET_CONF = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}';

let fake: FakeKube;
let directory: string;
let netConfigPath: string;
let stop: AbortController;
let reports: NodeEvent[];
let log: ReturnType<typeof memoryLogger>;
const managers: KubeSubnetManager[] = [];

beforeEach(async () => {
  fake = await startFakeKube();
  directory = mkdtempSync(path.join(tmpdir(), "fts-kube-manager-"));
  netConfigPath = path.join(directory, "net-conf.json");
  writeFileSync(netConfigPath, NET_CONF);
  stop = new AbortController();
  reports = [];
  log = memoryLogger();
});
afterEach(async () => {
  stop.abort();
  await Promise.all(managers.splice(0).map((manager) => manager.close()));
  await fake.close();
  rmSync(directory, { recursive: true, force: true });
});

function create(options: Partial<KubeSubnetManagerOptions> = {}): KubeSubnetManager {
  const manager = createKubeSubnetManager(
    {
      client: clientOf(fake),
      identity: { nodeName: "me" },
      annotationPrefix: PREFIX,
      netConfigPath,
      setNodeNetworkUnavailable: true,
      timing: QUICK,
      ...options,
    },
    { log, report: (event) => void reports.push(event) },
  );
  managers.push(manager);
  return manager;
}

/** A daemon of backend vxlan that keeps the MAC it finds. */
const REQUEST: AcquireRequest = {
  publicIp: parseIp("192.0.2.9"),
  attributes: (existing) => ({
    publicIp: parseIp("192.0.2.9"),
    backendType: "vxlan",
    backendData: existing?.backendData ?? { VNI: 1, VtepMAC: "0a:00:00:00:00:aa" },
  }),
};
const annotationsOf = (name: string): Readonly<Record<string, string>> =>
  fake.get("nodes", name)?.metadata.annotations ?? {};
const own = (suffix: string): string | undefined => annotationsOf("me")[`${PREFIX}/${suffix}`];
const patches = () => fake.requests.filter(({ verb }) => verb === "patch");
const annotate = (changes: Readonly<Record<string, string | undefined>>): void => {
  const node = fake.get("nodes", "me");
  if (node === undefined) throw new Error("no node");
  const all: Record<string, string | undefined> = { ...node.metadata.annotations };
  for (const [suffix, value] of Object.entries(changes)) all[`${PREFIX}/${suffix}`] = value;
  const annotations = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  fake.put("nodes", {
    ...node,
    metadata: { ...node.metadata, annotations: annotations as Record<string, string> },
  });
};

interface Held {
  readonly manager: KubeSubnetManager;
  readonly lease: Lease;
  readonly events: LeaseEvent[];
  readonly leases: Lease[];
  readonly wishes: PublicIpWish[];
}

/** A manager as the daemon runs it: acquired, watched and kept. */
async function run(manager = create()): Promise<Held> {
  await manager.publicIps(stop.signal);
  const lease = await manager.acquire(REQUEST, stop.signal);
  const held: Held = { manager, lease, events: [], leases: [], wishes: [] };
  void manager.watchLeases((event) => void held.events.push(event), stop.signal);
  void manager.keepLease(lease, stop.signal, {
    onLease: (next) => void held.leases.push(next),
    onPublicIps: (wish) => void held.wishes.push(wish),
  });
  await waitFor("the snapshot", () => held.events.length > 0);
  return held;
}

describe("acquire", () => {
  test("takes the podCIDR and publishes us", async () => {
    fake.put("nodes", bareNode("me", "10.244.9.0/24"));
    const lease = await create().acquire(REQUEST, stop.signal);
    expect(lease).toEqual({
      nodeName: "me",
      subnet: "10.244.9.0/24",
      publicIp: "192.0.2.9",
      backendType: "vxlan",
      backendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:aa" },
    });
    expect(own("backend-data")).toBe('{"VNI":1,"VtepMAC":"0a:00:00:00:00:aa"}');
    expect(own("public-ip")).toBe("192.0.2.9");
  });

  test("a restart keeps the MAC and writes nothing", async () => {
    fake.put("nodes", nodeObject("me", { index: 9, annotations: { "public-ip": "192.0.2.9" } }));
    const lease = await create().acquire(REQUEST, stop.signal);
    expect(lease.backendData).toEqual({ VNI: 1, VtepMAC: "0a:00:00:00:00:09" });
    expect(patches()).toEqual([]);
  });

  test("a changed address is one patch of exactly that", async () => {
    fake.put("nodes", nodeObject("me", { index: 9 }));
    await create().acquire(REQUEST, stop.signal);
    expect(patches().map(({ path, body }) => [path, JSON.parse(body) as unknown])).toEqual([
      ["/api/v1/nodes/me/status", { metadata: { annotations: { [`${PREFIX}/public-ip`]: "192.0.2.9" } } }],
    ]);
  });

  test("an overwrite is published, our own device keeps the local address", async () => {
    fake.put("nodes", nodeObject("me", { index: 9, annotations: { "public-ip-overwrite": "203.0.113.9" } }));
    const lease = await create().acquire(REQUEST, stop.signal);
    expect(own("public-ip")).toBe("203.0.113.9");
    expect(lease.publicIp).toBe("192.0.2.9");
  });

  test.each([
    ["missing", bareNode("me"), /pod cidr not assigned/, "PodCIDRNotAssigned"],
    [
      "outside the network",
      bareNode("me", "10.99.0.0/24"),
      /doesn't contain "10.99.0.0\/24"/,
      "PodCIDROutsideNetwork",
    ],
  ])(
    "a podCIDR that is %s is waited for, with the reason in health, log and Event",
    async (_, node, said, reason) => {
      fake.put("nodes", node);
      const manager = create();
      const acquiring = manager.acquire(REQUEST, stop.signal);
      await waitFor("the reason", () => said.test(manager.health().problem ?? ""));
      expect(log.lines.filter(({ message }) => said.test(message))).toHaveLength(1);
      expect(reports).toEqual([{ type: "Warning", reason, message: expect.stringMatching(said) as string }]);
      expect(patches()).toEqual([]);
      fake.put("nodes", bareNode("me", "10.244.9.0/24"));
      expect((await acquiring).subnet).toBe("10.244.9.0/24");
      expect(manager.health().problem).toBeUndefined();
    },
  );

  test("a Node that is not registered yet is waited for", async () => {
    const manager = create();
    const acquiring = manager.acquire(REQUEST, stop.signal);
    await waitFor("the reason", () => manager.health().problem?.includes('no Node object "me"'));
    fake.put("nodes", bareNode("me", "10.244.9.0/24"));
    expect((await acquiring).subnet).toBe("10.244.9.0/24");
  });

  test("an API that is away is waited for; so is one that refuses the patch, naming the permission", async () => {
    fake.put("nodes", bareNode("me", "10.244.9.0/24"));
    await fake.faults.down();
    const manager = create();
    const acquiring = manager.acquire(REQUEST, stop.signal);
    await waitFor("the reason", () => manager.health().problem?.includes("ECONNREFUSED"));
    expect(manager.health().connected).toBe(false);
    fake.faults.answer({ verb: "patch", status: 403 });
    fake.faults.answer({ verb: "patch", status: 409 });
    await fake.faults.up();
    await waitFor("the refusal", () =>
      manager.health().problem?.includes("patch nodes/status of me: HTTP 403"),
    );
    expect((await acquiring).subnet).toBe("10.244.9.0/24");
    expect(manager.health()).toEqual({ connected: true, skipped: [] });
  });

  test("an abort ends the wait", async () => {
    const acquiring = create().acquire(REQUEST, stop.signal);
    stop.abort(new Error("stopping"));
    await expect(acquiring).rejects.toThrow("stopping");
  });
});

describe("who we are", () => {
  test.each([
    [{ NODE_NAME: "n", POD_NAME: "p", POD_NAMESPACE: "s" }, { nodeName: "n" }],
    [
      { POD_NAME: "p", POD_NAMESPACE: "s" },
      { podName: "p", podNamespace: "s" },
    ],
  ])("%j", (env, identity) => expect(nodeIdentityFrom(env)).toEqual(identity));

  test.each([{}, { POD_NAME: "p" }, { NODE_NAME: "", POD_NAMESPACE: "s" }])("%j is refused", (env) =>
    expect(() => nodeIdentityFrom(env)).toThrow(/POD_NAME and POD_NAMESPACE must be set, or NODE_NAME/),
  );

  test("our pod tells the Node, once it is bound", async () => {
    fake.put("nodes", bareNode("me", "10.244.9.0/24"));
    const manager = create({ identity: { podNamespace: "kube-flannel", podName: "ds-x" } });
    const acquiring = manager.acquire(REQUEST, stop.signal);
    await waitFor("the reason", () =>
      manager.health().problem?.includes("error retrieving pod spec for 'kube-flannel/ds-x'"),
    );
    fake.put("pods", { metadata: { namespace: "kube-flannel", name: "ds-x" }, spec: { nodeName: "me" } });
    expect((await acquiring).nodeName).toBe("me");
    expect(manager.node()).toMatchObject({ name: "me", uid: fake.get("nodes", "me")?.metadata.uid });
  });
});

describe("the network's configuration", () => {
  test("Kubernetes' rules: lengths are not checked", async () => {
    writeFileSync(netConfigPath, '{"Network":"10.244.0.0/28","SubnetLen":4,"Backend":{"Type":"vxlan"}}');
    expect((await create().networkConfig(stop.signal)).ipv4?.network).toBe("10.244.0.0/28");
  });

  test("a file that is missing or broken is waited for", async () => {
    rmSync(netConfigPath);
    const manager = create();
    const reading = manager.networkConfig(stop.signal);
    await waitFor("the reason", () => manager.health().problem?.includes("ENOENT"));
    writeFileSync(netConfigPath, NET_CONF);
    expect((await reading).backend.type).toBe("vxlan");
  });

  test("a wrong annotation prefix is refused", () => {
    expect(() => create({ annotationPrefix: "org" })).toThrow(/--kube-annotation-prefix/);
  });

  test("backend alloc watches its own Node alone", async () => {
    writeFileSync(netConfigPath, '{"Network":"10.244.0.0/16","Backend":{"Type":"alloc"}}');
    fake.put("nodes", bareNode("me", "10.244.9.0/24"));
    fake.put("nodes", nodeObject("peer", { index: 1 }));
    const { events } = await run();
    expect(events).toMatchObject([{ type: "snapshot", leases: [{ nodeName: "me" }] }]);
  });

  test("who reads Nodes too gets all of them, also where leases are of our own Node alone", async () => {
    writeFileSync(netConfigPath, '{"Network":"10.244.0.0/16","Backend":{"Type":"alloc"}}');
    fake.put("nodes", bareNode("me", "10.244.9.0/24"));
    fake.put("nodes", nodeObject("peer", { index: 1 }));
    const told: string[] = [];
    const alsoRead: ReflectorReader<string> = {
      prune: (object) => (object as KubeObject).metadata.name,
      onSnapshot: (names) => void told.push(`snapshot ${names.toSorted().join(",")}`),
      onPut: (name) => void told.push(`put ${name}`),
      onDelete: (name) => void told.push(`delete ${name}`),
    };
    const { events } = await run(create({ alsoRead }));
    fake.put("nodes", nodeObject("peer2", { index: 2 }));
    fake.delete("nodes", "peer");
    await waitFor("what the other reader gets", () => told.includes("delete peer"));
    expect(told.filter((line) => !line.includes("put me"))).toEqual([
      "snapshot me,peer",
      "put peer2",
      "delete peer",
    ]);
    expect(events).toMatchObject([{ type: "snapshot", leases: [{ nodeName: "me" }] }]);
    expect(fake.requests.filter(({ path }) => path.startsWith("/api/v1/nodes?"))).toHaveLength(2);
  });
});

describe("while it runs", () => {
  beforeEach(() => void fake.put("nodes", bareNode("me", "10.244.9.0/24")));

  test("all leases, ours too, then changes", async () => {
    fake.put("nodes", nodeObject("peer1", { index: 1 }));
    const { events } = await run();
    expect(events).toMatchObject([{ type: "snapshot", leases: [{ nodeName: "peer1" }, { nodeName: "me" }] }]);
    fake.put("nodes", nodeObject("peer2", { index: 2 }));
    fake.delete("nodes", "peer1");
    await waitFor("the events", () => events.length === 3);
    expect(events.slice(1)).toMatchObject([
      { type: "put", lease: { nodeName: "peer2" } },
      { type: "removed", subnetKey: "10.244.1.0/24" },
    ]);
  });

  test("bad peers are skipped and named", async () => {
    fake.put("nodes", nodeObject("bad", { index: 1, annotations: { "public-ip": "x" } }));
    fake.put("nodes", nodeObject("outside", { index: 2, podCidrs: ["10.99.0.0/24"] }));
    const { manager, events } = await run();
    expect(events).toMatchObject([{ leases: [{ nodeName: "me" }] }]);
    expect(
      manager
        .health()
        .skipped.map(({ key }) => key)
        .toSorted(),
    ).toEqual(["node bad", "node outside"]);
  });

  test("NetworkUnavailable=False once the host is ready, not before", async () => {
    const { manager } = await run();
    const condition = () =>
      (
        fake.get("nodes", "me") as { status?: { conditions?: readonly { type: string }[] } }
      ).status?.conditions?.find(({ type }) => type === "NetworkUnavailable");
    expect(condition()).toBeUndefined();
    manager.markReady();
    await waitFor("the condition", () => condition() !== undefined);
    expect(condition()).toMatchObject({
      status: "False",
      reason: "FlannelIsUp",
      message: "Flannel is running on this node",
    });
  });

  test("--set-node-network-unavailable=false leaves it alone", async () => {
    const { manager } = await run(create({ setNodeNetworkUnavailable: false }));
    manager.markReady();
    annotate({ "public-ip": undefined });
    await waitFor("the annotation", () => own("public-ip") !== undefined);
    expect(JSON.stringify(fake.get("nodes", "me"))).not.toContain("NetworkUnavailable");
  });

  test("annotations that somebody removes or changes are put back", async () => {
    const { leases } = await run();
    annotate({ "backend-data": undefined, "public-ip": "203.0.113.66" });
    await waitFor(
      "the annotations",
      () => own("backend-data") !== undefined && own("public-ip") === "192.0.2.9",
    );
    expect(leases).toEqual([]);
  });

  test("an overwrite that comes later is followed", async () => {
    await run();
    annotate({ "public-ip-overwrite": "203.0.113.9" });
    await waitFor("the address", () => own("public-ip") === "203.0.113.9");
    annotate({ "public-ip-overwrite": undefined });
    await waitFor("our address", () => own("public-ip") === "192.0.2.9");
  });

  test("a node-public-ip that comes later is told", async () => {
    const { wishes } = await run();
    annotate({ "node-public-ip": "192.0.2.77" });
    await waitFor("the wish", () => wishes.length === 1);
    expect(wishes).toEqual([{ 4: "192.0.2.77" }]);
  });

  test("a node-public-ip at start is the first answer", async () => {
    annotate({ "node-public-ip": "192.0.2.77" });
    const manager = create();
    expect(await manager.publicIps(stop.signal)).toEqual({ 4: "192.0.2.77" });
  });

  test("a changed lease is published", async () => {
    const { manager, lease } = await run();
    await manager.updateLease({ ...lease, publicIp: parseIp("192.0.2.88") });
    expect(own("public-ip")).toBe("192.0.2.88");
  });

  test("another podCIDR is a new lease, an Event, and the old one's end for the peers", async () => {
    const { manager, leases, events } = await run();
    fake.put("nodes", { ...nodeObject("me", { index: 10 }) });
    await waitFor("the new lease", () => leases.length === 1);
    expect(leases[0]?.subnet).toBe("10.244.10.0/24");
    expect(reports.map(({ reason }) => reason)).toEqual(["PodCIDRChanged"]);
    expect(events.slice(1)).toMatchObject([
      { type: "removed", subnetKey: "10.244.9.0/24" },
      { type: "put", lease: { nodeName: "me", subnet: "10.244.10.0/24" } },
    ]);
    // The daemon may publish what it knew before it heard of it.
    await manager.updateLease({ ...leases[0]!, publicIp: parseIp("192.0.2.88") });
    expect(leases).toHaveLength(1);
  });

  test("a podCIDR that becomes wrong leaves ours in use and is said", async () => {
    const { manager, leases } = await run();
    fake.put("nodes", bareNode("me", "10.99.0.0/24"));
    await waitFor("the reason", () => manager.health().problem?.includes("10.244.9.0/24 stays in use"));
    expect(leases).toEqual([]);
    fake.put("nodes", bareNode("me", "10.244.9.0/24"));
    await waitFor("all well", () => manager.health().problem === undefined);
  });

  test("a Node that is deleted and registered anew gets all of it again", async () => {
    const { manager, leases } = await run();
    manager.markReady();
    await waitFor("the condition", () => JSON.stringify(fake.get("nodes", "me")).includes("FlannelIsUp"));
    fake.delete("nodes", "me");
    await waitFor("the reason", () => manager.health().problem?.includes("keeps its subnet and routes"));
    fake.put("nodes", bareNode("me"));
    await waitFor("the reason", () => manager.health().problem?.includes("pod cidr not assigned"));
    fake.put("nodes", bareNode("me", "10.244.9.0/24"));
    await waitFor("annotations and condition", () => {
      const text = JSON.stringify(fake.get("nodes", "me"));
      return text.includes("FlannelIsUp") && own("public-ip") === "192.0.2.9";
    });
    expect(leases).toEqual([]);
  });

  test("an API that is away for long is said, and what changed meanwhile is caught up with", async () => {
    const { manager, lease, events, leases } = await run();
    await fake.faults.down();
    await waitFor("the reason", () => manager.health().problem?.includes("ECONNREFUSED"));
    expect(manager.health().connected).toBe(false);
    const moved = { ...lease, publicIp: parseIp("192.0.2.88") };
    await expect(manager.updateLease(moved)).rejects.toThrow(/ECONNREFUSED/);
    fake.put("nodes", nodeObject("peer1", { index: 1 }));
    fake.faults.expireHistory();
    await fake.faults.up();
    await waitFor("the peer", () => JSON.stringify(events.at(-1)).includes("peer1"));
    await manager.updateLease(moved);
    expect(own("public-ip")).toBe("192.0.2.88");
    await waitFor("all well", () => manager.health().connected && manager.health().problem === undefined);
    expect(leases).toEqual([]);
  });

  test("somebody who keeps changing what we write is answered ever more slowly", async () => {
    await run();
    const before = patches().length;
    const startedAt = performance.now();
    while (performance.now() - startedAt < 1_500) {
      if (own("backend-data") !== "theirs") annotate({ "backend-data": "theirs" });
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    // 1 s, then 2 s, each with up to a half taken off.
    expect(patches().length - before).toBeLessThanOrEqual(3);
    expect(patches().length - before).toBeGreaterThanOrEqual(1);
  });
});
