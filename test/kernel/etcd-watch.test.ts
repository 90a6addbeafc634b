// The watch against real etcd: no event lost or repeated, whatever happens to the stream.
import { afterEach, describe, expect, test } from "vitest";
import { CompactedError } from "../../src/etcd/client.ts";
import type { EtcdCallError, EtcdClient, Revision, WatchEvent } from "../../src/etcd/client.ts";
import type { EtcdConnection } from "../../src/etcd/connection.ts";
import { createEtcdClient } from "../../src/etcd/etcd3-client.ts";
import { startEtcd } from "../support/etcd.ts";
import type { TestEtcd, TestEtcdOptions } from "../support/etcd.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import type { TcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function etcdWith(options: TestEtcdOptions = {}): Promise<TestEtcd> {
  const etcd = await startEtcd(options);
  cleanups.push(() => etcd.close());
  return etcd;
}

async function proxyTo(etcd: TestEtcd): Promise<TcpProxy> {
  const proxy = await startTcpProxy(etcd.members[0]!.port);
  cleanups.push(() => proxy.close());
  return proxy;
}

/** Begins with the first endpoint. */
function open(connection: EtcdConnection): EtcdClient {
  const client = createEtcdClient(connection, { random: () => 0 });
  cleanups.push(() => client.close());
  return client;
}

interface Recording {
  readonly events: readonly string[];
  readonly states: readonly boolean[];
  /** Why the watch ended; undefined while it runs and after an abort. */
  readonly error: () => unknown;
  readonly stop: () => Promise<void>;
}

/** `put KEY=VALUE` and `delete KEY` in the order of their coming. */
function record(client: EtcdClient, prefix: string, from: Revision): Recording {
  const stop = new AbortController();
  const events: string[] = [];
  const states: boolean[] = [];
  let error: unknown;
  const run = async (): Promise<void> => {
    const options = {
      signal: stop.signal,
      onState: (s: { connected: boolean }) => void states.push(s.connected),
    };
    for await (const batch of client.watch(prefix, from, options)) events.push(...batch.map(format));
  };
  const done = run().catch((reason: unknown) => {
    error = reason;
  });
  const stopped = async (): Promise<void> => {
    stop.abort();
    await done;
  };
  cleanups.push(stopped);
  return { events, states, error: () => error, stop: stopped };
}

function format(event: WatchEvent): string {
  return event.type === "put" ? `put ${event.kv.key}=${event.kv.value}` : `delete ${event.key}`;
}

/** 250 bytes each, fifty at a time. */
async function putMany(client: EtcdClient, prefix: string, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i += 50) {
    const numbers = Array.from({ length: Math.min(50, to - i) }, (_, j) => i + j);
    await Promise.all(numbers.map((n) => client.put(`${prefix}${n}`, String(n).padEnd(250, "."))));
  }
}

/** What a watch must have seen, when each key was written once. */
async function historyOf(client: EtcdClient, prefix: string): Promise<string[]> {
  const { kvs } = await client.list(prefix);
  return kvs
    .toSorted((a, b) => (a.modRevision < b.modRevision ? -1 : 1))
    .map((kv) => format({ type: "put", kv }));
}

describe("cut streams", () => {
  test("3000 events, cut during the replay and while they are written: each once, in order", async () => {
    const etcd = await etcdWith();
    const direct = open(etcd.connection);
    const proxy = await proxyTo(etcd);
    await putMany(direct, "/w/", 0, 2500);
    // etcd replays a thousand revisions per message, 290 kB here: each connection carries one message and a half.
    proxy.cutAfterBytes(400_000);
    const recording = record(open({ endpoints: [`http://127.0.0.1:${proxy.port}`] }), "/w/", 1n);
    await waitFor("the replay", () => recording.events.length >= 2500, { timeoutMs: 30_000 });
    expect(proxy.accepted).toBeGreaterThan(1);
    proxy.cutAfterBytes(0);
    for (let i = 2500; i < 3000; i += 100) {
      await putMany(direct, "/w/", i, i + 100);
      proxy.cut();
    }
    await waitFor("all events", () => recording.events.length >= 3000, { timeoutMs: 30_000 });
    expect(recording.events).toEqual(await historyOf(direct, "/w/"));
    expect(recording.states).toContain(false);
  });

  test("a transaction that is larger than a message arrives whole, out of its fragments", async () => {
    const etcd = await etcdWith({ args: ["--max-request-bytes", "2000000", "--max-txn-ops", "500"] });
    const direct = open(etcd.connection);
    const recording = record(open(etcd.connection), "/big/", 1n);
    const leaseId = await direct.grantLease(60);
    const value = "x".repeat(100_000);
    await Promise.all(Array.from({ length: 60 }, (_, i) => direct.put(`/big/${i}`, value, { leaseId })));
    await waitFor("the puts", () => recording.events.length === 60);
    const replay = record(open(etcd.connection), "/big/", 1n);
    await waitFor("6 MB of replay", () => replay.events.length === 60);
    expect(replay.events.map((text) => text.length)).toEqual(recording.events.map((text) => text.length));
    // One revision with 60 events.
    await direct.revokeLease(leaseId);
    await waitFor("the deletions", () => replay.events.length === 120);
    expect(new Set(replay.events.slice(60)).size).toBe(60);
  });

  test(
    "a peer that is gone without a word is noticed, and nothing is lost",
    { timeout: 60_000 },
    async () => {
      const etcd = await etcdWith();
      const proxy = await proxyTo(etcd);
      const recording = record(open({ endpoints: [`http://127.0.0.1:${proxy.port}`] }), "/w/", 1n);
      const direct = open(etcd.connection);
      await direct.put("/w/1", "before");
      await waitFor("the first event", () => recording.events.length === 1);
      proxy.stall();
      await direct.put("/w/2", "meanwhile");
      await waitFor("the loss to be noticed", () => recording.states.at(-1) === false, { timeoutMs: 30_000 });
      proxy.resume();
      await waitFor("the event", () => recording.events.length === 2, { timeoutMs: 30_000 });
      expect(recording.events).toEqual(["put /w/1=before", "put /w/2=meanwhile"]);
    },
  );
});

describe("compaction", () => {
  test("a start that is compacted away", async () => {
    const etcd = await etcdWith();
    const client = open(etcd.connection);
    await putMany(client, "/w/", 0, 10);
    await etcd.compact();
    const recording = record(client, "/w/", 2n);
    await waitFor("the error", recording.error);
    expect(recording.error()).toBeInstanceOf(CompactedError);
  });

  test("during a cut", async () => {
    const etcd = await etcdWith();
    const direct = open(etcd.connection);
    const proxy = await proxyTo(etcd);
    const recording = record(open({ endpoints: [`http://127.0.0.1:${proxy.port}`] }), "/w/", 1n);
    await direct.put("/w/1", "seen");
    await waitFor("the first event", () => recording.events.length === 1);
    proxy.stall();
    await putMany(direct, "/w/", 2, 5);
    await etcd.compact();
    proxy.cut();
    proxy.resume();
    await waitFor("the error", recording.error, { timeoutMs: 30_000 });
    expect(recording.error()).toBeInstanceOf(CompactedError);
    expect(recording.events).toEqual(["put /w/1=seen"]);
  });

  test("up to the very deletion that was missed: etcd drops the tombstone, so history must be read anew", async () => {
    // etcd before 3.4.34 and 3.5.15 (etcd-io/etcd #18089): a watch from the compacted revision itself is served, without
    // the deletion that this revision was.
    const etcd = await etcdWith();
    const direct = open(etcd.connection);
    const proxy = await proxyTo(etcd);
    const recording = record(open({ endpoints: [`http://127.0.0.1:${proxy.port}`] }), "/w/", 1n);
    await direct.put("/w/1", "seen");
    await waitFor("the first event", () => recording.events.length === 1);
    proxy.stall();
    await direct.delete("/w/1");
    await etcd.compact();
    proxy.cut();
    proxy.resume();
    await waitFor("the deletion or the error", () => recording.error() ?? recording.events.length > 1, {
      timeoutMs: 20_000,
    });
    expect(recording.error()).toBeInstanceOf(CompactedError);
  });

  test("of others' revisions while our prefix is quiet is no loss: progress notifications move us on", async () => {
    const etcd = await etcdWith({ args: ["--experimental-watch-progress-notify-interval", "100ms"] });
    const direct = open(etcd.connection);
    const proxy = await proxyTo(etcd);
    const recording = record(open({ endpoints: [`http://127.0.0.1:${proxy.port}`] }), "/quiet/", 1n);
    await direct.put("/quiet/1", "x");
    await waitFor("the event", () => recording.events.length === 1);
    await putMany(direct, "/noise/", 0, 50);
    const before = recording.states.length;
    const chunks = proxy.chunksFromServer;
    await waitFor("progress notifications", () => proxy.chunksFromServer > chunks + 3);
    await etcd.compact();
    proxy.cut();
    await waitFor("the reconnection", () => recording.states.length >= before + 2 && recording.states.at(-1));
    await direct.put("/quiet/2", "y");
    await waitFor("the next event", () => recording.events.length === 2);
    expect(recording.error()).toBeUndefined();
  });

  test("etcd restored from an older state: the watch says that history is gone instead of waiting for ever", async () => {
    const etcd = await etcdWith();
    const direct = open(etcd.connection);
    const recording = record(open(etcd.connection), "/w/", 1n);
    await putMany(direct, "/w/", 0, 50);
    await waitFor("the events", () => recording.events.length === 50);
    const other = await etcdWith();
    const proxy = await proxyTo(etcd);
    const moved = record(
      open({ endpoints: [`http://127.0.0.1:${proxy.port}`, ...other.endpoints] }),
      "/w/",
      1n,
    );
    await waitFor("the events", () => moved.events.length === 50 || moved.error());
    await etcd.members[0]!.kill();
    await waitFor("the error", () => moved.error(), { timeoutMs: 30_000 });
    expect(moved.error()).toBeInstanceOf(CompactedError);
  });
});

describe("authentication", () => {
  test("etcd killed and restarted: the watch goes on with a new token", async () => {
    const etcd = await etcdWith();
    const connection = await etcd.enableAuth("/net/");
    const recording = record(open(connection), "/net/", 1n);
    const root = open(etcd.connection);
    for (const round of ["1", "2", "3"]) {
      await root.put(`/net/${round}`, round);
      await waitFor(`event ${round}`, () => recording.events.length === Number(round), { timeoutMs: 30_000 });
      await etcd.members[0]!.kill();
      await etcd.members[0]!.start();
    }
    expect(recording.events).toEqual(["put /net/1=1", "put /net/2=2", "put /net/3=3"]);
    expect(recording.error()).toBeUndefined();
  });

  test("permission denied ends the watch with a final error, and other watches of the client live on", async () => {
    const etcd = await etcdWith();
    const client = open(await etcd.enableAuth("/net/"));
    const denied = record(client, "/elsewhere/", 1n);
    await waitFor("the error", denied.error);
    expect(denied.error()).toMatchObject({ retryable: false });
    expect((denied.error() as EtcdCallError).message).toContain("permission denied");
    const permitted = record(client, "/net/", 1n);
    await client.put("/net/1", "x");
    await waitFor("the event", () => permitted.events.length === 1);
  });

  test("a wrong password", async () => {
    const etcd = await etcdWith();
    const connection = await etcd.enableAuth("/net/");
    const recording = record(open({ ...connection, password: "wrong" }), "/net/", 1n);
    await waitFor("the error", recording.error);
    expect(recording.error()).toMatchObject({ retryable: false });
  });
});

test(
  "three members: quorum lost and back, the leader killed, nothing lost",
  { timeout: 90_000 },
  async () => {
    const etcd = await etcdWith({ members: 3 });
    const client = open(etcd.connection);
    const recording = record(client, "/w/", 1n);
    await client.put("/w/0", "0");
    await waitFor("the first event", () => recording.events.length === 1);
    const [first, second, third] = etcd.members;
    await second!.kill();
    await third!.kill();
    await waitFor("the loss to be noticed", () => recording.states.at(-1) === false, { timeoutMs: 30_000 });
    expect(await client.put("/w/never", "x", {}).catch((error: unknown) => error)).toMatchObject({
      retryable: true,
    });
    await Promise.all([second!.start(), third!.start()]);
    await waitFor("a write", () => client.put("/w/1", "1"), { timeoutMs: 30_000 });
    await first!.kill();
    await waitFor("a write", () => client.put("/w/2", "2"), { timeoutMs: 30_000 });
    await waitFor("the events", () => recording.events.at(-1) === "put /w/2=2", { timeoutMs: 30_000 });
    // A put that was repeated after a failure is two revisions; the last of each key must have come, in order.
    const last = new Map(recording.events.map((text, i) => [text, i]));
    expect([...last].toSorted((a, b) => a[1] - b[1]).map(([text]) => text)).toEqual(
      await historyOf(client, "/w/"),
    );
  },
);
