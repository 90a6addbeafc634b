// A mirror of a prefix over a store that does not tell everything: what it misses it finds, and how soon.
import { expect, test } from "vitest";
import { CompactedError } from "../../../src/etcd/client.ts";
import type { EtcdClient } from "../../../src/etcd/client.ts";
import { mirrorPrefix } from "../../../src/etcd/mirror.ts";
import type { MirrorOptions } from "../../../src/etcd/mirror.ts";
import type { SourceTally } from "../../../src/net/source-tally.ts";
import { createFakeEtcd } from "../../support/fake-etcd-client.ts";
import { forgetful, manualTimers } from "../../support/silent-loss.ts";
import { waitFor } from "../../support/wait.ts";

const PREFIX = "/net/subnets/";
const TEN_MINUTES_MS = 600_000;

function mirror(client: EtcdClient, more: Partial<MirrorOptions> = {}) {
  const stop = new AbortController();
  const keys = new Map<string, string>();
  const causes: string[] = [];
  const problems: string[] = [];
  const tally: SourceTally = {
    relist: (source, reason) => void causes.push(`${source} ${reason}`),
    cut: (source) => void causes.push(`${source} cut`),
  };
  let snapshots = 0;
  const ended = mirrorPrefix(
    {
      client,
      prefix: PREFIX,
      what: "leases",
      tally,
      keeping: "all",
      rewoundGraceMs: 1,
      random: () => 0.5,
      ...more,
    },
    {
      onSnapshot: (kvs) => {
        snapshots += 1;
        keys.clear();
        for (const { key, value } of kvs) keys.set(key, value);
      },
      onEvent: (event) => {
        if (event.type === "put") keys.set(event.kv.key, event.kv.value);
        else keys.delete(event.key);
      },
      onConnected: () => undefined,
      onProblem: (problem) => void problems.push(problem),
    },
    stop.signal,
  );
  const end = async (): Promise<void> => {
    stop.abort();
    await ended;
  };
  return { keys, causes, problems, snapshots: () => snapshots, end };
}

test("an event that is lost without a word is made good within ten minutes", async () => {
  const store = createFakeEtcd();
  await store.put(`${PREFIX}a`, "1");
  const client = forgetful(store, (event) => event.type === "delete");
  const { after, fire, pendingMs } = manualTimers();
  const { keys, causes, snapshots, end } = mirror(client, { after });
  await waitFor("the first list", () => pendingMs().length === 1);
  expect(pendingMs()).toEqual([TEN_MINUTES_MS]);
  await store.delete(`${PREFIX}a`);
  await store.put(`${PREFIX}b`, "2");
  await waitFor("the event that is told", () => keys.has(`${PREFIX}b`));
  expect([...keys.keys()]).toEqual([`${PREFIX}a`, `${PREFIX}b`]);
  fire();
  await waitFor("the second list", () => snapshots() === 2);
  expect([...keys.keys()]).toEqual([`${PREFIX}b`]);
  expect(causes).toEqual(["leases periodic"]);
  // And the watch goes on.
  await waitFor("the next timer", () => pendingMs().length === 1);
  await store.put(`${PREFIX}c`, "3");
  await waitFor("an event", () => keys.has(`${PREFIX}c`));
  await end();
  expect(pendingMs()).toEqual([]);
});

test.each([
  { keys: 10, random: 0, expectedMs: 0.75 * TEN_MINUTES_MS },
  { keys: 10, random: 0.999, expectedMs: 1.2495 * TEN_MINUTES_MS },
  { keys: 4000, random: 0.5, expectedMs: 4 * TEN_MINUTES_MS },
])("with $keys keys the next list comes after $expectedMs ms", async ({ keys, random, expectedMs }) => {
  const initial = Object.fromEntries(Array.from({ length: keys }, (_, i) => [`${PREFIX}${i}`, ""]));
  const { after, pendingMs } = manualTimers();
  const { end } = mirror(createFakeEtcd(initial), { after, random: () => random });
  await waitFor("the timer", () => pendingMs().length === 1);
  expect(pendingMs()[0]).toBeCloseTo(expectedMs, 3);
  await end();
});

test("a store that was made anew and filled beyond our revision, while nobody watched, is noticed when it answers", async () => {
  let store = createFakeEtcd();
  await store.put(`${PREFIX}a`, "1");
  const cut: (() => void)[] = [];
  const reconnected: (() => void)[] = [];
  const client: EtcdClient = {
    ...store,
    list: (prefix) => store.list(prefix),
    markAt: (prefix, revision) => store.markAt(prefix, revision),
    async *watch(prefix, from, options) {
      const { signal } = options;
      options.onState?.({ connected: true });
      await new Promise<void>((resolve) => {
        cut.push(resolve);
        signal.addEventListener("abort", () => resolve());
      });
      if (signal.aborted) return;
      options.onState?.({ connected: false, reason: "cut" });
      await new Promise<void>((resolve) => reconnected.push(resolve));
      options.onState?.({ connected: true });
      yield* store.watch(prefix, from, { signal });
    },
  };
  const { keys, causes, problems, end } = mirror(client);
  await waitFor("the watch", () => cut.length === 1);
  cut[0]?.();
  await waitFor("the cut", () => reconnected.length === 1);
  store = createFakeEtcd();
  for (const key of ["b", "c", "d"]) await store.put(`${PREFIX}${key}`, "new");
  reconnected[0]?.();
  await waitFor(
    "all of the new keys",
    () => [...keys.keys()].join() === ["b", "c", "d"].map((key) => PREFIX + key).join(),
  );
  expect(causes).toEqual(["leases cut", "leases other-history"]);
  expect(problems.at(-1)).toMatch(/etcd has lost data \(.*\); keeping all/);
  await end();
});

test("a cut alone leads to no list", async () => {
  const store = createFakeEtcd();
  await store.put(`${PREFIX}a`, "1");
  let marks = 0;
  const client: EtcdClient = {
    ...store,
    markAt: (prefix, revision) => {
      marks += 1;
      return store.markAt(prefix, revision);
    },
    async *watch(prefix, from, options) {
      const { signal } = options;
      options.onState?.({ connected: true });
      options.onState?.({ connected: false, reason: "cut" });
      await store.put(`${PREFIX}b`, "2");
      options.onState?.({ connected: true });
      yield* store.watch(prefix, from, { signal });
    },
  };
  const { keys, causes, snapshots, end } = mirror(client);
  await waitFor("the key written meanwhile", () => keys.has(`${PREFIX}b`) && marks === 1);
  await store.put(`${PREFIX}c`, "3");
  await waitFor("the next key", () => keys.has(`${PREFIX}c`));
  expect({ causes, snapshots: snapshots() }).toEqual({ causes: ["leases cut"], snapshots: 1 });
  await end();
});

test("a compaction of what was needed is counted", async () => {
  const store = createFakeEtcd();
  await store.put(`${PREFIX}a`, "1");
  let watched = 0;
  const client: EtcdClient = {
    ...store,
    async *watch(...args) {
      watched += 1;
      if (watched === 1) throw new CompactedError("gone");
      yield* store.watch(...args);
    },
  };
  const { causes, snapshots, end } = mirror(client);
  await waitFor("the second list", () => snapshots() === 2);
  expect(causes).toEqual(["leases expired"]);
  await end();
});
