// A reflector over a fake or real API server with everything that its handlers were told, for tests.
import { createKubeClient } from "../../src/kube/api-client.ts";
import type { KubeClient } from "../../src/kube/api-client.ts";
import { runReflector } from "../../src/kube/reflector.ts";
import type { ReflectorHealth, ReflectorOptions, ReflectorTiming } from "../../src/kube/reflector.ts";
import type { SourceTally } from "../../src/net/source-tally.ts";
import type { FakeKube } from "./fake-kube/fake-kube.ts";

export interface Seen {
  readonly name: string;
  readonly version: string;
  readonly value: string;
}

export interface Mirror {
  /** Name -> value, as the events add up. */
  readonly map: ReadonlyMap<string, string>;
  /** "snapshot a,b", "put a 1", "delete a". */
  readonly told: readonly string[];
  readonly health: readonly ReflectorHealth[];
  /** "nodes cut", "nodes relist expired". */
  readonly tallied: readonly string[];
  stop(): Promise<void>;
}

/** Fast enough for tests, slow enough to be a wait. */
export const QUICK: ReflectorTiming = {
  minBackoffMs: 5,
  maxBackoffMs: 50,
  stableMs: 20,
  watchIdleMs: 60_000,
  listIdleMs: 60_000,
  watchSeconds: 300,
};

export function clientOf(fake: Pick<FakeKube, "url">, token?: string): KubeClient {
  const credentials = { ...(token !== undefined && { token }) };
  return createKubeClient({
    baseUrl: fake.url,
    source: "a test",
    credentials: () => Promise.resolve(credentials),
  });
}

/** Mirrors Nodes: the value of each is its label "v". */
export function startMirror(
  fake: Pick<FakeKube, "url">,
  timing: Partial<ReflectorTiming> = {},
  options: Partial<ReflectorOptions<Seen>> = {},
): Mirror {
  const stop = new AbortController();
  const client = clientOf(fake);
  const map = new Map<string, string>();
  const told: string[] = [];
  const health: ReflectorHealth[] = [];
  const tallied: string[] = [];
  const tally: SourceTally = {
    relist: (source, reason) => void tallied.push(`${source} relist ${reason}`),
    cut: (source) => void tallied.push(`${source} cut`),
  };
  const running = runReflector<Seen>(
    {
      resource: "nodes",
      path: "/api/v1/nodes",
      prune: (object) => {
        const { metadata } = object as {
          metadata: { name: string; resourceVersion: string; labels?: { v?: string } };
        };
        return { name: metadata.name, version: metadata.resourceVersion, value: metadata.labels?.v ?? "" };
      },
      timing: { ...QUICK, ...timing },
      ...options,
    },
    {
      onSnapshot: (items) => {
        map.clear();
        for (const { name, value } of items) map.set(name, value);
        const names = items.map(({ name }) => name);
        told.push(`snapshot ${names.toSorted().join(",")}`);
      },
      onPut: ({ name, value }) => {
        map.set(name, value);
        told.push(`put ${name} ${value}`);
      },
      onDelete: ({ name }) => {
        map.delete(name);
        told.push(`delete ${name}`);
      },
      onHealth: (state) => void health.push(state),
    },
    { client, tally },
    stop.signal,
  );
  return {
    map,
    told,
    health,
    tallied,
    stop: async () => {
      stop.abort();
      await running;
      client.close();
    },
  };
}

export function putNode(fake: FakeKube, name: string, value: string): void {
  fake.put("nodes", { metadata: { name, labels: { v: value } } });
}
