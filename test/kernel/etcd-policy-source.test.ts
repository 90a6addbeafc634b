// The policy source on real etcd: compliance, what only etcd has, and the registration of pods by their daemons.
import { Readable } from "node:stream";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { runPolicyCommand } from "../../src/cli/policy.ts";
import { EtcdCallError } from "../../src/etcd/client.ts";
import type { EtcdClient } from "../../src/etcd/client.ts";
import { createEtcdClient } from "../../src/etcd/etcd3-client.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { parseIp } from "../../src/net/ip.ts";
import { formatPolicyKey, policyKeyPrefix } from "../../src/policy/etcd-keys.ts";
import type { PolicyKey } from "../../src/policy/etcd-keys.ts";
import { createEtcdPodRegistry } from "../../src/policy/etcd-pod-registry.ts";
import { createEtcdPolicySource } from "../../src/policy/etcd-policy-source.ts";
import type { LocalPod, PodRegistry } from "../../src/policy/pod-registry.ts";
import type { PolicyKind } from "../../src/policy/source.ts";
import { startEtcd } from "../support/etcd.ts";
import type { TestEtcd } from "../support/etcd.ts";
import { memoryLogger } from "../support/memory-logger.ts";
import {
  listen,
  namespaceNamed,
  podNamed,
  policyNamed,
  policySourceCompliance,
} from "../support/policy-source-compliance.ts";
import type { Listener, PolicyStoreDriver } from "../support/policy-source-compliance.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import type { TcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait.ts";

const PREFIX = "/coreos.com/network";
const PATIENCE = { timeoutMs: 50_000 };

let etcd: TestEtcd;
let proxy: TcpProxy;
/** Past the proxy. */
let raw: EtcdClient;

beforeAll(async () => {
  etcd = await startEtcd();
  proxy = await startTcpProxy(etcd.members[0]!.port);
  raw = createEtcdClient(etcd.connection);
});
afterAll(async () => {
  await raw?.close();
  await proxy?.close();
  await etcd?.close();
});

async function clear(): Promise<void> {
  const { kvs } = await raw.list(PREFIX);
  await Promise.all(kvs.map(({ key }) => raw.delete(key)));
}

/** After a restart the first call of a client may still meet the old connection. */
async function persist<T>(call: () => Promise<T>): Promise<T> {
  let result: { readonly value: T } | undefined;
  await waitFor(
    "etcd",
    async () => {
      result = { value: await call() };
      return true;
    },
    PATIENCE,
  );
  return result!.value;
}

const put = (key: PolicyKey, object: object) =>
  persist(() => raw.put(formatPolicyKey(PREFIX, key), JSON.stringify(object)));

function keyOf(kind: PolicyKind, name: string, namespace = ""): PolicyKey {
  if (kind === "pods") return { kind: "registered", node: "n1", namespace, name };
  return kind === "policies" ? { kind, namespace, name } : { kind, name };
}

async function openEtcd(): Promise<PolicyStoreDriver> {
  await clear();
  const client = createEtcdClient({ endpoints: [`http://127.0.0.1:${proxy.port}`] });
  return {
    createSource: () => createEtcdPolicySource({ client, prefix: `${PREFIX}/` }),
    put: async (kind, object) => {
      await put(keyOf(kind, object.metadata.name, object.metadata.namespace), object);
    },
    remove: async (kind, name, namespace) => {
      if (kind !== "namespaces") {
        await persist(() => raw.delete(formatPolicyKey(PREFIX, keyOf(kind, name, namespace))));
        return;
      }
      const { kvs } = await persist(() => raw.list(policyKeyPrefix(PREFIX)));
      const gone = kvs.filter(({ key }) => key.includes(`/${name}/`) || key.endsWith(`/${name}`));
      await raw.transact(gone.map(({ key }) => ({ type: "delete", key })));
    },
    whileAway: async (changes, { loseHistory = false } = {}) => {
      proxy.stall();
      proxy.cut();
      await changes();
      if (loseHistory) await etcd.compact();
      proxy.resume();
      proxy.cut();
    },
    cut: () => proxy.cut(),
    down: () => etcd.members[0]!.kill(),
    up: () => etcd.members[0]!.start(),
    close: () => client.close(),
  };
}

policySourceCompliance("etcd", openEtcd);

const localPod = (name: string, more: Partial<LocalPod> = {}): LocalPod => ({
  namespace: "shop",
  name,
  uid: `uid-${name}`,
  labels: { app: name },
  ips: [parseIp("10.244.1.5"), parseIp("fd00:1::5")],
  ports: [{ name: "web", protocol: "TCP", port: 8080 }],
  createdAtMs: Date.UTC(2026, 10, 21),
  ...more,
});

describe("on etcd", () => {
  const log = memoryLogger();
  const cleanups: (() => unknown)[] = [];
  const start = async (rewoundGraceMs = 500): Promise<Listener> => {
    const client = createEtcdClient(etcd.connection);
    const listener = listen(createEtcdPolicySource({ client, prefix: PREFIX, rewoundGraceMs }, { log }));
    cleanups.push(() => client.close(), listener.stop);
    await waitFor("snapshots", listener.synced, PATIENCE);
    return listener;
  };
  /** A daemon's registry; `kill` ends it as a dead daemon does. */
  const daemon = (
    nodeName: string,
    ttlSeconds = 600,
  ): { readonly registry: PodRegistry; readonly kill: () => Promise<void> } => {
    const client = createEtcdClient(etcd.connection);
    const registry = createEtcdPodRegistry({ client, prefix: PREFIX, nodeName, ttlSeconds }, { log });
    const stop = new AbortController();
    const running = registry.run(stop.signal);
    const kill = async (): Promise<void> => {
      stop.abort();
      await running;
      await client.close();
    };
    cleanups.push(kill);
    return { registry, kill };
  };
  const settled = (registry: PodRegistry) => registry.settled(AbortSignal.timeout(50_000));

  beforeEach(clear);
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  });

  it("what a policy or a pod is in exists, with or without an object of its own", async () => {
    await put({ kind: "policies", namespace: "shop", name: "closed" }, policyNamed("shop", "closed"));
    const listener = await start();
    expect(listener.objects("namespaces").get("shop")?.labels).toEqual({
      "kubernetes.io/metadata.name": "shop",
    });
    await put({ kind: "namespaces", name: "shop" }, namespaceNamed("shop", { team: "a" }));
    await listener.until("namespaces", "shop", (namespace) => namespace?.labels["team"] === "a");
    await raw.delete(formatPolicyKey(PREFIX, { kind: "namespaces", name: "shop" }));
    await listener.until("namespaces", "shop", (namespace) => namespace?.labels["team"] === undefined);
    await put(
      { kind: "pods", namespace: "bank", name: "web" },
      podNamed("bank", "web", { ip: "10.244.1.5" }),
    );
    await listener.until("namespaces", "bank", (namespace) => namespace !== undefined);
    await raw.delete(formatPolicyKey(PREFIX, { kind: "pods", namespace: "bank", name: "web" }));
    await listener.until("namespaces", "bank", (namespace) => namespace === undefined);
  });

  it("what a daemon registers and what people declare of a pod are one pod", async () => {
    const { registry } = daemon("n1");
    registry.registerPod(localPod("web"));
    registry.setNode({ addresses: [parseIp("192.0.2.1")], podCidrs: [parseCidr("10.244.1.0/24")] });
    await settled(registry);
    const listener = await start();
    expect(listener.objects("pods").get("shop/web")).toEqual({
      ...localPod("web"),
      nodeName: "n1",
      hostNetwork: false,
      finished: false,
      terminating: false,
    });
    expect(listener.objects("nodes").get("n1")).toEqual({
      name: "n1",
      addresses: ["192.0.2.1", "10.244.1.0", "10.244.1.1"],
      podCidrs: ["10.244.1.0/24"],
    });
    const declared = {
      metadata: { namespace: "shop", name: "web", labels: { app: "front", tier: "1" } },
      spec: {
        containers: [
          {
            ports: [
              { name: "web", containerPort: 80 },
              { name: "tls", containerPort: 443 },
            ],
          },
        ],
      },
    };
    await put({ kind: "pods", namespace: "shop", name: "web" }, declared);
    await listener.until("pods", "shop/web", (pod) => pod?.labels["tier"] === "1");
    expect(listener.objects("pods").get("shop/web")).toMatchObject({
      nodeName: "n1",
      ips: ["10.244.1.5", "fd00:1::5"],
      labels: { app: "front", tier: "1" },
      ports: [
        { name: "web", port: 80 },
        { name: "tls", port: 443 },
      ],
    });
    registry.unregisterPod(localPod("web"));
    await listener.until("pods", "shop/web", (pod) => pod?.ips.length === 0);
  });

  it("a policy that is no JSON isolates its namespace, and is named", async () => {
    const key = formatPolicyKey(PREFIX, { kind: "policies", namespace: "shop", name: "closed" });
    await raw.put(key, "podSelector: {}");
    const listener = await start();
    expect(listener.objects("policies").get("shop/closed")).toMatchObject({
      podSelector: [],
      types: ["ingress", "egress"],
      ingress: [],
      egress: [],
    });
    expect(listener.source.health().skipped[0]).toMatchObject({ kind: "policies", key: "shop/closed" });
    expect(listener.source.health().skipped[0]?.reason).toContain("not JSON");
  });

  it("a namespace whose labels cannot be read any more keeps those it had", async () => {
    await put({ kind: "namespaces", name: "shop" }, namespaceNamed("shop", { team: "a" }));
    const listener = await start();
    await raw.put(
      formatPolicyKey(PREFIX, { kind: "namespaces", name: "shop" }),
      '{"metadata":{"labels":{"team":1}}}',
    );
    await waitFor("the fault", () => listener.source.health().skipped.length === 1, PATIENCE);
    expect(listener.source.health().skipped[0]?.reason).toContain("metadata.labels.team");
    expect(listener.objects("namespaces").get("shop")?.labels["team"]).toBe("a");
  });

  it("the pods of a daemon that is gone go after its time, and those of others stay", async () => {
    const [first, second] = [daemon("n1", 2), daemon("n10", 600)];
    first.registry.registerPod(localPod("web"));
    first.registry.setNode({ addresses: [parseIp("192.0.2.1")], podCidrs: [] });
    second.registry.registerPod(localPod("db", { ips: [parseIp("10.244.2.5")] }));
    await Promise.all([settled(first.registry), settled(second.registry)]);
    const listener = await start();
    expect([...listener.objects("pods").keys()].toSorted()).toEqual(["shop/db", "shop/web"]);
    await first.kill();
    await listener.until("pods", "shop/web", (pod) => pod === undefined);
    await listener.until("nodes", "n1", (node) => node === undefined);
    expect([...listener.objects("pods").keys()]).toEqual(["shop/db"]);
  });

  it("a daemon that starts again goes on under its lease, and what it no longer has goes", async () => {
    const before = daemon("n1");
    before.registry.setNode({ addresses: [parseIp("192.0.2.1")], podCidrs: [] });
    before.registry.registerPod(localPod("web"));
    before.registry.registerPod(localPod("old"));
    await settled(before.registry);
    await before.kill();
    const webKey = formatPolicyKey(PREFIX, {
      kind: "registered",
      node: "n1",
      namespace: "shop",
      name: "web",
    });
    const stored = await raw.get(webKey);
    const after = daemon("n1");
    // A delete that comes before the daemon knows all of its pods.
    after.registry.unregisterPod(localPod("old", { uid: "another one" }));
    await settled(after.registry);
    expect(await raw.get(webKey.replace("web", "old"))).toBeDefined();
    after.registry.reconcile([localPod("web")]);
    await settled(after.registry);
    expect(await raw.get(webKey)).toEqual(stored);
    expect(await raw.get(webKey.replace("web", "old"))).toBeUndefined();
    expect(await raw.get(formatPolicyKey(PREFIX, { kind: "nodes", name: "n1" }))).toBeDefined();
  });

  it("pods are registered once etcd is there, and again after somebody deleted or changed them", async () => {
    const { registry } = daemon("n1");
    registry.registerPod(localPod("web"));
    await settled(registry);
    const key = formatPolicyKey(PREFIX, { kind: "registered", node: "n1", namespace: "shop", name: "web" });
    const before = (await raw.get(key))!;
    await raw.delete(key);
    await waitFor("the pod again", async () => (await raw.get(key))?.value === before.value, PATIENCE);
    await raw.put(key, "{}");
    await waitFor("the pod again", async () => (await raw.get(key))?.value === before.value, PATIENCE);
    // Its lease: the keys go with it.
    await raw.revokeLease(before.leaseId);
    await waitFor("the pod again", async () => (await raw.get(key))?.value === before.value, PATIENCE);
    expect((await raw.get(key))?.leaseId).not.toBe(before.leaseId);
    await etcd.members[0]!.kill();
    registry.registerPod(localPod("db"));
    await waitFor("the problem", () => registry.health().problem, PATIENCE);
    expect(registry.health().registered).toBe(false);
    await etcd.members[0]!.start();
    await settled(registry);
    expect(registry.health()).toEqual({ registered: true });
    expect(await persist(() => raw.get(key.replace("web", "db")))).toBeDefined();
  });

  it("a pod that moves to another node is there all the time, whatever comes first", async () => {
    const [from, to] = [daemon("n1"), daemon("n2")];
    from.registry.registerPod(localPod("web"));
    await settled(from.registry);
    const listener = await start();
    to.registry.registerPod(
      localPod("web", { uid: "later", ips: [parseIp("10.244.2.5")], createdAtMs: Date.UTC(2026, 10, 22) }),
    );
    await listener.until("pods", "shop/web", (pod) => pod?.nodeName === "n2");
    from.registry.unregisterPod(localPod("web"));
    await settled(from.registry);
    await put({ kind: "namespaces", name: "last" }, namespaceNamed("last"));
    await listener.until("namespaces", "last", (namespace) => namespace !== undefined);
    expect(listener.objects("pods").get("shop/web")?.uid).toBe("later");
    expect(listener.events.some(({ type, kind }) => type === "removed" && kind === "pods")).toBe(false);
  });

  it("an etcd that has lost its data gets the pods again, and opens nothing", async () => {
    const { registry } = daemon("n1");
    registry.registerPod(localPod("web"));
    await put({ kind: "namespaces", name: "shop" }, namespaceNamed("shop", { team: "a" }));
    await put({ kind: "policies", namespace: "shop", name: "closed" }, policyNamed("shop", "closed"));
    await settled(registry);
    const listener = await start();
    const member = etcd.members[0]!;
    await member.kill();
    member.wipe();
    await member.start();
    await waitFor("the problem", () => listener.source.health().problem?.includes("shop/closed"), PATIENCE);
    await waitFor("the pod", async () => (await raw.list(policyKeyPrefix(PREFIX))).kvs.length > 0, PATIENCE);
    await listener.until("pods", "shop/web", (pod) => pod !== undefined);
    expect(listener.objects("policies").has("shop/closed")).toBe(true);
    expect(listener.objects("namespaces").get("shop")?.labels["team"]).toBe("a");
    await put({ kind: "policies", namespace: "shop", name: "closed" }, policyNamed("shop", "closed"));
    await waitFor("no problem", () => listener.source.health().problem === undefined, PATIENCE);
    await raw.delete(formatPolicyKey(PREFIX, { kind: "policies", namespace: "shop", name: "closed" }));
    await listener.until("policies", "shop/closed", (policy) => policy === undefined);
  });

  it("policy apply of many at once: each is written as a whole", async () => {
    const apply = async (writer: number): Promise<number> => {
      const text = ["a", "b", "c"]
        .map((name) =>
          policyNamed("shop", name, { podSelector: { matchLabels: { writer: String(writer) } } }),
        )
        .map((document) => JSON.stringify(document))
        .join("\n---\n");
      const own = createEtcdClient(etcd.connection);
      const modules = {
        stdin: Readable.from([text]),
        stdout: { write: () => undefined },
        stderr: { write: (text: string) => log.warn({}, text) },
      };
      const environment = {
        store: "etcd",
        etcdPrefix: PREFIX,
        statusSocket: "",
        openEtcd: () => Promise.resolve(own),
      } as const;
      return runPolicyCommand(["apply", "-f", "-"], (operands) => ({ environment, operands }), modules);
    };
    const listener = await start();
    const codes = await Promise.all(Array.from({ length: 8 }, (_, writer) => apply(writer)));
    // Whoever lost each time has said so, and written nothing.
    expect(codes).toContain(0);
    const stored = (await raw.list(policyKeyPrefix(PREFIX))).kvs.map(
      ({ value }) => JSON.parse(value) as { spec: object },
    );
    expect(new Set(stored.map(({ spec }) => JSON.stringify(spec))).size).toBe(1);
    await waitFor("the policies", () => listener.objects("policies").size === 3, PATIENCE);
    expect(listener.source.health()).toEqual({ connected: true, skipped: [] });
  });

  it("a transaction is done as a whole or not at all", async () => {
    const [a, b] = [`${PREFIX}/policy/x/a`, `${PREFIX}/policy/x/b`];
    const both = [a, b].map((key) => ({ type: "put", key, value: "1" }) as const);
    expect(await raw.transact(both, [{ key: a, absent: true }])).toBe(true);
    const { modRevision } = (await raw.get(b))!;
    expect(await raw.transact([{ type: "delete", key: a }], [{ key: b, absent: true }])).toBe(false);
    expect(await raw.get(a)).toBeDefined();
    const conditions = [{ key: b, unchangedSince: modRevision }];
    expect(
      await raw.transact(
        [
          { type: "delete", key: a },
          { type: "put", key: b, value: "2" },
        ],
        conditions,
      ),
    ).toBe(true);
    expect((await raw.get(b))?.value).toBe("2");
    const twice = [...both, ...both];
    await expect(raw.transact(twice)).rejects.toBeInstanceOf(EtcdCallError);
  });
});
