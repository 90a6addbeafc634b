// What every PolicySource must do, whatever its store; each store says in a driver how it is written to and broken.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Pod } from "../../src/policy/snapshot.ts";
import { POLICY_KINDS } from "../../src/policy/source.ts";
import type { PolicyEvent, PolicyKind, PolicyObjects, PolicySource } from "../../src/policy/source.ts";
import { keyOf } from "../../src/policy/source-objects.ts";
import { waitFor } from "./wait.ts";

/** JSON of a Kubernetes object. */
export interface Manifest {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** One store, empty at the start of each test. */
export interface PolicyStoreDriver {
  createSource(): PolicySource;
  /** Creates or replaces, as whoever owns such objects does. */
  put(kind: PolicyKind, object: Manifest): Promise<void>;
  /** A namespace goes with all that is in it, in whatever order the store does that. */
  remove(kind: PolicyKind, name: string, namespace?: string): Promise<void>;
  /** The source cannot reach the store while `changes` are made. */
  whileAway(changes: () => Promise<void>, options?: { readonly loseHistory?: boolean }): Promise<void>;
  /** Breaks the source's connections once. */
  cut(): void;
  /** Nobody reaches the store. */
  down(): Promise<void>;
  up(): Promise<void>;
  close(): Promise<void>;
}

/** What a source has told, and what that adds up to. */
export interface Listener {
  readonly source: PolicySource;
  readonly events: readonly PolicyEvent[];
  objects<Kind extends PolicyKind>(kind: Kind): ReadonlyMap<string, PolicyObjects[Kind]>;
  /** All kinds have had their snapshot. */
  readonly synced: () => boolean;
  /** Waits for the object to be as `check` wants it; undefined is absent. */
  until<Kind extends PolicyKind>(
    kind: Kind,
    key: string,
    check: (object: PolicyObjects[Kind] | undefined) => boolean,
  ): Promise<void>;
  readonly stop: () => Promise<void>;
}

/** A deadline for machines that are much slower and busy. */
const PATIENCE = { timeoutMs: 50_000 };

export function listen(source: PolicySource): Listener {
  const stop = new AbortController();
  const events: PolicyEvent[] = [];
  const known = new Map<PolicyKind, Map<string, PolicyObjects[PolicyKind]>>();
  const done = source.watch((event) => {
    events.push(event);
    if (event.type === "snapshot") {
      known.set(event.kind, new Map(event.objects.map((object) => [keyOf(object), object])));
      return;
    }
    const objects = known.get(event.kind);
    if (objects === undefined) throw new Error(`${event.kind}: an event before the snapshot`);
    if (event.type === "put") objects.set(keyOf(event.object), event.object);
    else objects.delete(event.key);
  }, stop.signal);
  const objects = <Kind extends PolicyKind>(kind: Kind) =>
    (known.get(kind) ?? new Map()) as ReadonlyMap<string, PolicyObjects[Kind]>;
  return {
    source,
    events,
    objects,
    synced: () => known.size === POLICY_KINDS.length,
    until: async (kind, key, check) => {
      await waitFor(`${kind} ${key}`, () => check(objects(kind).get(key)), PATIENCE);
    },
    stop: async () => {
      stop.abort();
      await done;
    },
  };
}

export const namespaceNamed = (name: string, labels: Readonly<Record<string, string>> = {}): Manifest => ({
  metadata: { name, labels },
});
export const nodeNamed = (name: string, address: string, podCIDR: string): Manifest => ({
  metadata: { name },
  spec: { podCIDR, podCIDRs: [podCIDR] },
  status: { addresses: [{ type: "InternalIP", address }] },
});
export const podNamed = (
  namespace: string,
  name: string,
  { ip, labels = {} }: { readonly ip: string; readonly labels?: Readonly<Record<string, string>> },
): Manifest => ({
  metadata: { namespace, name, labels, uid: `uid-${name}` } as Manifest["metadata"],
  spec: {
    nodeName: "n1",
    containers: [{ name: "c", image: "c", ports: [{ name: "web", containerPort: 8080, protocol: "TCP" }] }],
  },
  status: { phase: "Running", podIP: ip, podIPs: [{ ip }] },
});
export const policyNamed = (
  namespace: string,
  name: string,
  spec: object = { podSelector: {} },
): Manifest => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { namespace, name },
  spec,
});
/** As no API server would take it, but as one of another version may hold it: a peer that nobody can understand. */
export const brokenPolicy = (namespace: string, name: string): Manifest =>
  policyNamed(namespace, name, {
    podSelector: { matchLabels: { app: "db" } },
    ingress: [
      { from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["not a network"] } }] },
      { from: [{ podSelector: {} }] },
    ],
  });

/** `validates`: the store itself refuses objects with faults. */
export function policySourceCompliance(
  store: string,
  open: () => Promise<PolicyStoreDriver>,
  { validates = false }: { readonly validates?: boolean } = {},
): void {
  describe(`a policy source on ${store}`, () => {
    let driver: PolicyStoreDriver;
    let listeners: Listener[] = [];
    const start = (): Listener => {
      const listener = listen(driver.createSource());
      listeners.push(listener);
      return listener;
    };
    const startSynced = async (): Promise<Listener> => {
      const listener = start();
      await waitFor("snapshots", listener.synced, PATIENCE);
      return listener;
    };
    beforeEach(async () => {
      driver = await open();
      await driver.put("namespaces", namespaceNamed("shop", { team: "a" }));
      await driver.put("nodes", nodeNamed("n1", "192.0.2.1", "10.244.1.0/24"));
      await driver.put("pods", podNamed("shop", "web", { ip: "10.244.1.5", labels: { app: "web" } }));
      await driver.put("policies", policyNamed("shop", "closed"));
    });
    afterEach(async () => {
      await Promise.all(listeners.map((listener) => listener.stop()));
      listeners = [];
      await driver.close();
    });

    it("tells all there is first, of each kind once", async () => {
      const listener = await startSynced();
      expect(listener.events.map(({ type, kind }) => `${type} ${kind}`).toSorted()).toEqual(
        POLICY_KINDS.map((kind) => `snapshot ${kind}`).toSorted(),
      );
      expect(listener.objects("namespaces").get("shop")).toEqual({
        name: "shop",
        labels: { team: "a", "kubernetes.io/metadata.name": "shop" },
      });
      expect(listener.objects("nodes").get("n1")).toEqual({
        name: "n1",
        addresses: ["192.0.2.1", "10.244.1.0", "10.244.1.1"],
        podCidrs: ["10.244.1.0/24"],
      });
      expect(listener.objects("pods").get("shop/web")).toMatchObject({
        nodeName: "n1",
        labels: { app: "web" },
        ips: ["10.244.1.5"],
        ports: [{ name: "web", protocol: "TCP", port: 8080 }],
        finished: false,
      } satisfies Partial<Record<keyof Pod, unknown>>);
      expect(listener.objects("policies").get("shop/closed")).toMatchObject({
        namespace: "shop",
        podSelector: [],
        types: ["ingress"],
        ingress: [],
      });
      expect(listener.source.health()).toEqual({ connected: true, skipped: [] });
    });

    it("tells what is put, changed and removed", async () => {
      const listener = await startSynced();
      await driver.put("pods", podNamed("shop", "db", { ip: "10.244.1.6", labels: { app: "db" } }));
      await listener.until("pods", "shop/db", (pod) => pod?.labels["app"] === "db");
      await driver.put("pods", podNamed("shop", "db", { ip: "10.244.1.6", labels: { app: "cache" } }));
      await listener.until("pods", "shop/db", (pod) => pod?.labels["app"] === "cache");
      await driver.put("namespaces", namespaceNamed("shop", { team: "b" }));
      await listener.until("namespaces", "shop", (namespace) => namespace?.labels["team"] === "b");
      await driver.put(
        "policies",
        policyNamed("shop", "closed", { podSelector: {}, policyTypes: ["Egress"] }),
      );
      await listener.until("policies", "shop/closed", (policy) => policy?.types.join() === "egress");
      await driver.remove("policies", "closed", "shop");
      await listener.until("policies", "shop/closed", (policy) => policy === undefined);
      await driver.remove("pods", "db", "shop");
      await listener.until("pods", "shop/db", (pod) => pod === undefined);
      await driver.remove("nodes", "n1");
      await listener.until("nodes", "n1", (node) => node === undefined);
      expect([...listener.objects("pods").keys()]).toEqual(["shop/web"]);
    });

    it("keeps quiet about what does not concern policy", async () => {
      const listener = await startSynced();
      const pod = podNamed("shop", "web", { ip: "10.244.1.5", labels: { app: "web" } });
      await driver.put("pods", {
        ...pod,
        status: { ...(pod["status"] as object), startTime: "2026-11-21T00:00:00Z" },
      });
      await driver.put("nodes", { ...nodeNamed("n1", "192.0.2.1", "10.244.1.0/24"), kind: "Node" });
      await driver.put("pods", podNamed("shop", "last", { ip: "10.244.1.9" }));
      await driver.put("nodes", nodeNamed("n2", "192.0.2.2", "10.244.2.0/24"));
      await listener.until("pods", "shop/last", (found) => found !== undefined);
      await listener.until("nodes", "n2", (found) => found !== undefined);
      const later = listener.events.filter(({ type }) => type !== "snapshot");
      const told = new Set(later.map((event) => (event.type === "put" ? keyOf(event.object) : event.type)));
      expect(told).toEqual(new Set(["shop/last", "n2"]));
    });

    it("gives pods of one kind one copy of their labels", async () => {
      await driver.put("pods", podNamed("shop", "web2", { ip: "10.244.1.7", labels: { app: "web" } }));
      const listener = await startSynced();
      const [first, second] = ["shop/web", "shop/web2"].map((key) => listener.objects("pods").get(key));
      expect(first?.labels).toBe(second?.labels);
      expect(first?.ports).toBe(second?.ports);
    });

    it("waits for a store that is away at the start, and says so", async () => {
      await driver.down();
      const listener = start();
      await waitFor("a problem", () => listener.source.health().problem, PATIENCE);
      expect(listener.source.health().connected).toBe(false);
      expect(listener.events).toEqual([]);
      await driver.up();
      await waitFor("snapshots", listener.synced, PATIENCE);
      expect(listener.objects("policies").has("shop/closed")).toBe(true);
      await waitFor("health", () => listener.source.health().connected, PATIENCE);
      expect(listener.source.health().problem).toBeUndefined();
    });

    it("catches up with what changed while the store was away, and forgets nothing meanwhile", async () => {
      const listener = await startSynced();
      await driver.whileAway(async () => {
        await driver.put("policies", policyNamed("shop", "second"));
        await driver.remove("policies", "closed", "shop");
        await driver.put("pods", podNamed("shop", "db", { ip: "10.244.1.6" }));
        expect(listener.objects("policies").has("shop/closed")).toBe(true);
      });
      await listener.until("policies", "shop/second", (policy) => policy !== undefined);
      await listener.until("policies", "shop/closed", (policy) => policy === undefined);
      await listener.until("pods", "shop/db", (pod) => pod !== undefined);
    });

    it("lists anew when the store's history is gone", async () => {
      const listener = await startSynced();
      await driver.whileAway(
        async () => {
          await driver.remove("pods", "web", "shop");
          await driver.put("policies", policyNamed("shop", "second"));
          await driver.remove("policies", "closed", "shop");
        },
        { loseHistory: true },
      );
      await listener.until("policies", "shop/second", (policy) => policy !== undefined);
      await listener.until("policies", "shop/closed", (policy) => policy === undefined);
      await listener.until("pods", "shop/web", (pod) => pod === undefined);
    });

    it("loses and repeats nothing when connections are cut again and again", async () => {
      const listener = await startSynced();
      const names = Array.from({ length: 20 }, (_, i) => `p${i}`);
      for (const [i, name] of names.entries()) {
        if (i % 5 === 0) driver.cut();
        await driver.put("pods", podNamed("shop", name, { ip: `10.244.1.${100 + i}` }));
      }
      await listener.until("pods", `shop/${names.at(-1)}`, (pod) => pod !== undefined);
      await waitFor(
        "all pods",
        () => names.every((name) => listener.objects("pods").has(`shop/${name}`)),
        PATIENCE,
      );
    });

    it("a namespace that goes takes its policies along, and none of a namespace with a longer name", async () => {
      await driver.put("namespaces", namespaceNamed("shop-2"));
      await driver.put("policies", policyNamed("shop-2", "closed"));
      const listener = await startSynced();
      await driver.remove("namespaces", "shop");
      await listener.until("policies", "shop/closed", (policy) => policy === undefined);
      await listener.until("namespaces", "shop", (namespace) => namespace === undefined);
      expect([...listener.objects("policies").keys()]).toEqual(["shop-2/closed"]);
      await driver.put("namespaces", namespaceNamed("shop"));
      await driver.put(
        "policies",
        policyNamed("shop", "closed", { podSelector: {}, policyTypes: ["Egress"] }),
      );
      await listener.until("policies", "shop/closed", (policy) => policy !== undefined);
    });

    it("ends when it is told to, also while the store is away", async () => {
      await driver.down();
      const listener = start();
      await waitFor("a problem", () => listener.source.health().problem, PATIENCE);
      await listener.stop();
      await driver.up();
      expect(listener.events).toEqual([]);
    });

    if (validates) {
      it("is never given a policy with faults, which the store itself refuses", async () => {
        await expect(driver.put("policies", brokenPolicy("shop", "faulty"))).rejects.toThrow("invalid");
      });
      return;
    }
    it("delivers what is left of a policy with faults, closed, and names it until it is corrected", async () => {
      const listener = await startSynced();
      await driver.put("policies", brokenPolicy("shop", "faulty"));
      await listener.until("policies", "shop/faulty", (policy) => policy !== undefined);
      const [first, second] = listener.objects("policies").get("shop/faulty")?.ingress ?? [];
      expect(first).toEqual({ peers: [] });
      expect(second?.peers).toHaveLength(1);
      const { skipped } = listener.source.health();
      expect(skipped).toMatchObject([{ kind: "policies", key: "shop/faulty" }]);
      expect(skipped[0]?.reason).toContain("spec.ingress[0].from[0].ipBlock.except[0]");
      await driver.put("policies", policyNamed("shop", "faulty"));
      await waitFor("nothing skipped", () => listener.source.health().skipped.length === 0, PATIENCE);
      await driver.put("policies", brokenPolicy("shop", "faulty"));
      await waitFor("the fault", () => listener.source.health().skipped.length === 1, PATIENCE);
      await driver.remove("policies", "faulty", "shop");
      await waitFor("nothing skipped", () => listener.source.health().skipped.length === 0, PATIENCE);
    });
  });
}
