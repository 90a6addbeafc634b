// The policy source on Kubernetes, against the fake API server: compliance, and what only Kubernetes has.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runReflector } from "../../../src/kube/reflector.ts";
import { createKubePolicySource, createNodeTap } from "../../../src/policy/kube-policy-source.ts";
import { startFakeKube } from "../../support/fake-kube/fake-kube.ts";
import type { FakeKube } from "../../support/fake-kube/fake-kube.ts";
import type { ResourceName } from "../../support/fake-kube/resources.ts";
import { clientOf, QUICK } from "../../support/kube-mirror.ts";
import { memoryLogger } from "../../support/memory-logger.ts";
import {
  listen,
  namespaceNamed,
  podNamed,
  policyNamed,
  policySourceCompliance,
} from "../../support/policy-source-compliance.ts";
import type { Listener, Manifest, PolicyStoreDriver } from "../../support/policy-source-compliance.ts";
import type { KubeClient } from "../../../src/kube/api-client.ts";
import type { PolicyKind, PolicySource } from "../../../src/policy/source.ts";
import { waitFor } from "../../support/wait.ts";

const RESOURCE: Readonly<Record<PolicyKind, ResourceName>> = {
  namespaces: "namespaces",
  nodes: "nodes",
  pods: "pods",
  policies: "networkpolicies",
};

function put(fake: FakeKube, kind: PolicyKind, object: Manifest): void {
  fake.put(RESOURCE[kind], object);
}

/** A source that gets its Nodes from a mirror that others run; the signal ends that. */
function createTappedSource(client: KubeClient, signal: AbortSignal): PolicySource {
  const nodes = createNodeTap();
  const options = { resource: "nodes", path: "/api/v1/nodes", timing: QUICK };
  void runReflector({ ...options, prune: (object) => nodes.prune(object) }, nodes, { client }, signal);
  return createKubePolicySource({ client, timing: QUICK, nodes });
}

async function openFake(isTapped: boolean): Promise<PolicyStoreDriver> {
  const fake = await startFakeKube();
  for (const { metadata } of fake.list("namespaces")) fake.delete("namespaces", metadata.name);
  const client = clientOf(fake);
  const ending = new AbortController();
  return {
    createSource: () =>
      isTapped
        ? createTappedSource(client, ending.signal)
        : createKubePolicySource({ client, timing: QUICK }),
    put: (kind, object) => Promise.resolve(put(fake, kind, object)),
    remove: (kind, name, namespace) => {
      // Of a namespace only the last event: what was in it may come later by its own watch.
      fake.delete(RESOURCE[kind], name, namespace);
      return Promise.resolve();
    },
    whileAway: async (changes, { loseHistory = false } = {}) => {
      await fake.faults.down();
      await changes();
      if (loseHistory) fake.faults.expireHistory();
      await fake.faults.up();
    },
    cut: () => fake.faults.cutWatches("inside-line"),
    down: () => fake.faults.down(),
    up: () => fake.faults.up(),
    close: async () => {
      ending.abort();
      client.close();
      await fake.close();
    },
  };
}

policySourceCompliance("Kubernetes", () => openFake(false));
policySourceCompliance("Kubernetes with a mirror of Nodes of somebody else's", () => openFake(true));

describe("on Kubernetes", () => {
  let fake: FakeKube;
  let listener: Listener;
  const log = memoryLogger();
  const start = (token?: string): void => {
    listener = listen(createKubePolicySource({ client: clientOf(fake, token), timing: QUICK }, { log }));
  };
  beforeEach(async () => {
    fake = await startFakeKube();
  });
  afterEach(async () => {
    await listener.stop();
    await fake.close();
  });

  it("says which rule of RBAC is missing, and goes on once it is there", async () => {
    const rule = (apiGroup: string, ...resources: string[]) => ({
      apiGroups: [apiGroup],
      resources,
      verbs: ["list", "watch"],
    });
    const core = rule("", "pods", "namespaces", "nodes");
    fake.setTokens({ t: { name: "flannel", rules: [core] } });
    start("t");
    await waitFor("the problem", () => listener.source.health().problem);
    expect(listener.source.health().problem).toContain(
      'The rule that is missing in our ClusterRole: {apiGroups: ["networking.k8s.io"], resources: [networkpolicies], verbs: [list, watch]}',
    );
    expect(listener.source.health().connected).toBe(false);
    expect(listener.synced()).toBe(false);
    fake.setTokens({ t: { name: "flannel", rules: [core, rule("networking.k8s.io", "networkpolicies")] } });
    await waitFor("snapshots", listener.synced);
    await waitFor("health", () => listener.source.health().problem === undefined);
    expect(log.lines.map(({ message }) => message)).toContain("Kubernetes: networkpolicies: works again");
  });

  it("a namespace that was made anew keeps its policies, though its end is told late", async () => {
    put(fake, "namespaces", namespaceNamed("shop"));
    put(fake, "policies", policyNamed("shop", "before"));
    start();
    await waitFor("snapshots", listener.synced);
    // The watch of namespaces hangs while that of policies goes on.
    fake.faults.stallWatches();
    fake.delete("networkpolicies", "before", "shop");
    fake.delete("namespaces", "shop");
    put(fake, "namespaces", namespaceNamed("shop", { made: "anew" }));
    put(fake, "policies", policyNamed("shop", "after"));
    fake.faults.cutWatches("between-lines", { resource: "networkpolicies" });
    fake.faults.resumeWatches();
    await listener.until("policies", "shop/after", (policy) => policy !== undefined);
    await listener.until("namespaces", "shop", (namespace) => namespace?.labels["made"] === "anew");
    await listener.until("policies", "shop/before", (policy) => policy === undefined);
    expect(listener.objects("policies").has("shop/after")).toBe(true);
  });

  it("knows finished, terminating and host-network pods for what they are", async () => {
    const pod = podNamed("default", "job", { ip: "10.244.1.5" });
    put(fake, "pods", { ...pod, status: { phase: "Succeeded", podIPs: [{ ip: "10.244.1.5" }] } });
    put(fake, "pods", {
      ...podNamed("default", "host", { ip: "192.0.2.1" }),
      spec: { nodeName: "n1", hostNetwork: true },
    });
    put(fake, "pods", {
      ...podNamed("default", "ending", { ip: "10.244.1.6" }),
      metadata: {
        namespace: "default",
        name: "ending",
        deletionTimestamp: "2026-11-21T00:00:00Z",
      } as Manifest["metadata"],
    });
    start();
    await waitFor("snapshots", listener.synced);
    expect(listener.objects("pods").get("default/job")?.finished).toBe(true);
    expect(listener.objects("pods").get("default/host")?.hostNetwork).toBe(true);
    expect(listener.objects("pods").get("default/ending")?.terminating).toBe(true);
  });
});
