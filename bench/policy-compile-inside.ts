// Runs as the daemon runs, with its flags: the policy graph under events of a large cluster, beside compiling from scratch. Prints JSON.
// Usage: policy-compile-inside.ts speed | objects | graph: times, or the MB (10^6 bytes) of heap that these take.
import { setTimeout as delay } from "node:timers/promises";
import { compilePolicy } from "../src/policy/compile.ts";
import { SILENT_LOGGER } from "../src/net/logger.ts";
import { createPolicyGraph } from "../src/policy/graph.ts";
import type { PolicyGraph } from "../src/policy/graph.ts";
import { ObjectFeed } from "../src/policy/object-feed.ts";
import { selects } from "../src/policy/selector.ts";
import { DEFAULT_POLICY_SETTINGS } from "../src/policy/settings.ts";
import { objectKey } from "../src/policy/snapshot.ts";
import type { Pod, Policy, PolicySnapshot } from "../src/policy/snapshot.ts";
import type { PolicyEvent } from "../src/policy/source.ts";
import type { FeedEntry } from "../src/policy/source-objects.ts";
import { clusterPod, clusterPolicy, largeCluster, LARGE_CLUSTER, LOCAL_NODE } from "./policy-cluster.ts";
import type { ClusterSize } from "./policy-cluster.ts";

/** What the parent reads of `speed`. Milliseconds. */
export interface PolicyCompileReport {
  readonly first: readonly number[];
  readonly firstFromScratch: readonly number[];
  readonly remotePod: readonly number[];
  readonly localPod: readonly number[];
  readonly policy: readonly number[];
  readonly fromScratch: readonly number[];
  readonly rules: number;
  readonly sets: number;
  readonly members: number;
}

const SIZE = LARGE_CLUSTER;
const ROUNDS = 5;
const settings = DEFAULT_POLICY_SETTINGS;

function timed(work: () => unknown): number {
  const startedAt = performance.now();
  work();
  return performance.now() - startedAt;
}

/** Objects as they come: no string or label shared with another. */
function freshObjects(size = SIZE): PolicySnapshot {
  return JSON.parse(JSON.stringify(largeCluster(size))) as PolicySnapshot;
}

function startGraph({ nodeName, namespaces, nodes, pods, policies }: PolicySnapshot): PolicyGraph {
  const graph = createPolicyGraph({ nodeName, settings });
  graph.apply({ type: "snapshot", kind: "namespaces", objects: namespaces });
  graph.apply({ type: "snapshot", kind: "nodes", objects: nodes });
  graph.apply({ type: "snapshot", kind: "policies", objects: policies });
  graph.apply({ type: "snapshot", kind: "pods", objects: pods });
  return graph;
}

async function heapMb(): Promise<number> {
  for (let round = 0; round < 4; round += 1) {
    await delay(10);
    globalThis.gc?.();
  }
  return process.memoryUsage().heapUsed / 1e6;
}

/** What a daemon holds that has had its first lists. */
function startFeed(size: ClusterSize): unknown {
  const { pods, policies, ...rest } = freshObjects(size);
  const graph = createPolicyGraph({ nodeName: LOCAL_NODE, settings });
  const feed = new ObjectFeed({ onEvent: (event) => graph.apply(event), log: SILENT_LOGGER });
  const namespaced = (object: Pod | Policy) => ({ key: objectKey(object), object });
  const named = <T extends { readonly name: string }>(object: T) => ({ key: object.name, object });
  feed.snapshot("namespaces", rest.namespaces.map(named));
  feed.snapshot("nodes", rest.nodes.map(named));
  feed.snapshot("policies", policies.map(namespaced) as FeedEntry<"policies">[]);
  feed.snapshot("pods", pods.map(namespaced) as FeedEntry<"pods">[]);
  return { feed, graph, compiled: graph.compiled() };
}

/** Nothing of it may be in the frame of a function that waits: that would count as held. */
function fill(hold: unknown[], make: () => unknown): void {
  hold.push(make());
}

/** In a process of its own: what earlier measurements leave behind goes when it will. */
async function heapOf(make: (size: ClusterSize) => unknown): Promise<number> {
  const hold: unknown[] = [];
  // A small one pays for what is compiled and cached once.
  make({ ...SIZE, pods: 200, policies: 100 });
  const before = await heapMb();
  fill(hold, () => make(SIZE));
  const after = await heapMb();
  hold.length = 0;
  return after - before;
}

const putPod = (object: Pod): PolicyEvent => ({ type: "put", kind: "pods", object });
const putPolicy = (object: Policy): PolicyEvent => ({ type: "put", kind: "policies", object });
const removed = (kind: "pods" | "policies", object: Pod | Policy): PolicyEvent => ({
  type: "removed",
  kind,
  key: objectKey(object),
});

/** Pods elsewhere join, get other labels, and leave. */
function remotePodEvents(): readonly PolicyEvent[] {
  return Array.from({ length: 200 }, (_, i) => i * 7).flatMap((i) => {
    const pod = clusterPod(SIZE.pods + i, SIZE);
    const labels = { "app.kubernetes.io/name": "worker", tier: "backend" };
    return [putPod(pod), putPod({ ...pod, labels }), removed("pods", pod)];
  });
}

/** Pods of this node leave and come back; most are the only ones of their kind here. */
function localPodEvents(): readonly PolicyEvent[] {
  return Array.from({ length: 2 * SIZE.localPods }, (_, i) => clusterPod(i % SIZE.localPods, SIZE)).flatMap(
    (pod) => [removed("pods", pod), putPod(pod)],
  );
}

/** Policies that select pods of this node go, come back, and change. */
function policyEvents(): readonly PolicyEvent[] {
  const here = Array.from({ length: SIZE.localPods }, (_, n) => clusterPod(n, SIZE));
  const inForce = Array.from({ length: SIZE.policies }, (_, n) => clusterPolicy(n, SIZE)).filter(
    ({ namespace, podSelector }) =>
      here.some((pod) => pod.namespace === namespace && selects(podSelector, pod.labels)),
  );
  return inForce
    .filter((_, index) => index % 5 === 0)
    .flatMap((policy) => [
      removed("policies", policy),
      putPolicy(policy),
      putPolicy({ ...policy, ingress: [{}], egress: [] }),
      putPolicy(policy),
    ]);
}

function measureEvents(graph: PolicyGraph, events: readonly PolicyEvent[]): readonly number[] {
  return events.map((event) =>
    timed(() => {
      graph.apply(event);
      graph.compiled();
    }),
  );
}

function measureSpeed(): PolicyCompileReport {
  const first: number[] = [];
  const firstFromScratch: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const objects = freshObjects();
    first.push(timed(() => startGraph(objects).compiled()));
    firstFromScratch.push(timed(() => compilePolicy(objects, settings)));
  }
  const graph = startGraph(freshObjects());
  const { firewall, sets } = graph.compiled();
  const warm = [remotePodEvents(), localPodEvents(), policyEvents()].map((events) => events.slice(0, 60));
  for (const events of warm) measureEvents(graph, events);
  return {
    first,
    firstFromScratch,
    remotePod: measureEvents(graph, remotePodEvents()),
    localPod: measureEvents(graph, localPodEvents()),
    policy: measureEvents(graph, policyEvents()),
    fromScratch: Array.from({ length: 4 * ROUNDS }, () =>
      timed(() => compilePolicy(graph.snapshot(), settings)),
    ),
    rules: firewall.reduce((sum, row) => sum + (row.kind === "chain" ? row.rules.length : 1), 0),
    sets: sets.length,
    members: sets.reduce((sum, { members }) => sum + members.length, 0),
  };
}

const MEASUREMENTS: Readonly<Record<string, () => unknown>> = {
  speed: measureSpeed,
  objects: () => heapOf(freshObjects),
  graph: () => heapOf(startFeed),
};
console.log(JSON.stringify(await MEASUREMENTS[process.argv[2] ?? ""]?.()));
