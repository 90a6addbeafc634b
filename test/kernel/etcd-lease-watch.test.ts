// watchLeases against real etcd: whatever happens, the fold of the events is what etcd holds.
import * as fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { EtcdClient } from "../../src/etcd/client.ts";
import type { EtcdConnection } from "../../src/etcd/connection.ts";
import { createEtcdClient } from "../../src/etcd/etcd3-client.ts";
import { createEtcdSubnetManager } from "../../src/ipam/etcd-subnet-manager.ts";
import type { EtcdSubnetManager } from "../../src/ipam/etcd-subnet-manager.ts";
import { applyLeaseEvent } from "../../src/ipam/lease.ts";
import type { LeaseBook, LeaseEvent } from "../../src/ipam/lease.ts";
import { parseIp } from "../../src/net/ip.ts";
import { startEtcd } from "../support/etcd.ts";
import type { TestEtcd } from "../support/etcd.ts";
import { memoryLogger } from "../support/memory-logger.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import type { TcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait.ts";

const PREFIX = "/coreos.com/network";
const SUBNETS = `${PREFIX}/subnets/`;

let etcd: TestEtcd;
let proxy: TcpProxy;
let raw: EtcdClient;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  etcd = await startEtcd();
  proxy = await startTcpProxy(etcd.members[0]!.port);
});
afterAll(async () => {
  await proxy.close();
  await etcd.close();
});

beforeEach(async () => {
  raw = createEtcdClient(etcd.connection);
  cleanups.push(() => raw.close());
  for (const { key } of (await raw.list(PREFIX)).kvs) await raw.delete(key);
});
afterEach(async () => {
  proxy.resume();
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

function throughProxy(): EtcdConnection {
  return { endpoints: [`http://127.0.0.1:${proxy.port}`] };
}

interface Watching {
  readonly manager: EtcdSubnetManager;
  readonly log: ReturnType<typeof memoryLogger>;
  readonly events: readonly LeaseEvent[];
  readonly book: () => LeaseBook;
  /** `subnet@publicIp`, sorted. */
  readonly summary: () => readonly string[];
  readonly stop: () => Promise<void>;
}

function watch(connection: EtcdConnection = etcd.connection): Watching {
  const log = memoryLogger();
  const client = createEtcdClient(connection);
  const manager = createEtcdSubnetManager(
    { client, prefix: PREFIX, renewMarginMinutes: 60, rewoundGraceMs: 2_000 },
    { log },
  );
  const stop = new AbortController();
  const events: LeaseEvent[] = [];
  let book: LeaseBook = new Map();
  const onEvent = (event: LeaseEvent): void => {
    events.push(event);
    book = applyLeaseEvent(book, event);
  };
  const done = manager.watchLeases(onEvent, stop.signal);
  const stopped = async (): Promise<void> => {
    stop.abort();
    await done;
    await manager.close();
  };
  cleanups.push(stopped);
  return { manager, log, events, book: () => book, summary: () => summaryOf(book), stop: stopped };
}

function summaryOf(book: LeaseBook): readonly string[] {
  return [...book].map(([key, lease]) => `${key}@${lease.publicIp}/${lease.backendType}`).sort();
}

const put = (name: string, value: string) => raw.put(SUBNETS + name, value);
const hostGw = (ip: string) => `{"PublicIP":"${ip}","PublicIPv6":null,"BackendType":"host-gw"}`;

test("a snapshot first, then every change in order", async () => {
  await put("10.5.1.0-24", hostGw("192.0.2.1"));
  const { events } = watch();
  await waitFor("the snapshot", () => events.length === 1);
  await put("10.5.2.0-24", hostGw("192.0.2.2"));
  await put("10.5.2.0-24", hostGw("192.0.2.3"));
  await raw.delete(`${SUBNETS}10.5.1.0-24`);
  await waitFor("the changes", () => events.length === 4);
  expect(events.map((event) => (event.type === "put" ? `put ${event.lease.publicIp}` : event.type))).toEqual([
    "snapshot",
    "put 192.0.2.2",
    "put 192.0.2.3",
    "removed",
  ]);
  expect(events[3]).toEqual({ type: "removed", subnetKey: "10.5.1.0/24" });
});

test("an empty network is an empty snapshot", async () => {
  const { events } = watch();
  await waitFor("the snapshot", () => events.length === 1);
  expect(events).toEqual([{ type: "snapshot", leases: [] }]);
});

test("foreign keys and broken values beside good ones are skipped and told of once", async () => {
  await put("10.5.1.0-24", hostGw("192.0.2.1"));
  await put("hello", "world");
  await put("10.5.9.0-24", "{");
  await put("10.5.8.0-24", '{"PublicIP":null}');
  const { summary, manager, log } = watch();
  await waitFor("the lease", () => summary().length === 1);
  await put("deeper/10.5.7.0-24", hostGw("192.0.2.7"));
  await raw.put(`${PREFIX}/subnets-old/10.5.6.0-24`, hostGw("192.0.2.6"));
  await put("10.5.2.0-24", hostGw("192.0.2.2"));
  await waitFor("the second lease", () => summary().length === 2);
  expect(summary()).toEqual(["10.5.1.0/24@192.0.2.1/host-gw", "10.5.2.0/24@192.0.2.2/host-gw"]);
  const { skipped, connected } = manager.health();
  expect(connected).toBe(true);
  expect(Object.fromEntries(skipped.map(({ key, reason }) => [key.slice(SUBNETS.length), reason]))).toEqual({
    hello: '"hello" is not an IPv4 subnet such as 10.5.7.0-24',
    "10.5.9.0-24": expect.stringContaining("not valid JSON"),
    "10.5.8.0-24": "PublicIP is null, but must be an IPv4 address",
    "deeper/10.5.7.0-24": '"deeper/10.5.7.0-24" is not an IPv4 subnet such as 10.5.7.0-24',
  });
  expect(log.lines.filter(({ level }) => level === "warn")).toHaveLength(4);
});

test("a lease that is broken and mended goes and comes, and so does the notice", async () => {
  await put("10.5.1.0-24", hostGw("192.0.2.1"));
  const { summary, manager } = watch();
  await waitFor("the lease", () => summary().length === 1);
  await put("10.5.1.0-24", "oops");
  await waitFor("the notice", () => manager.health().skipped.length === 1 && summary().length === 0);
  await put("10.5.1.0-24", hostGw("192.0.2.1"));
  await waitFor("the lease", () => summary().length === 1);
  expect(manager.health().skipped).toEqual([]);
  await put("junk", "x");
  await waitFor("the notice", () => manager.health().skipped.length === 1);
  await raw.delete(`${SUBNETS}junk`);
  await waitFor("its end", () => manager.health().skipped.length === 0);
});

test("a lease outside the network of the config is not believed", async () => {
  await raw.put(`${PREFIX}/config`, '{"Network":"10.5.0.0/16"}');
  await put("10.5.1.0-24", hostGw("192.0.2.1"));
  await put("192.0.0.0-16", hostGw("192.0.2.66"));
  const client = createEtcdClient(etcd.connection);
  const manager = createEtcdSubnetManager({ client, prefix: PREFIX, renewMarginMinutes: 60 });
  const stop = new AbortController();
  cleanups.push(() => manager.close());
  await manager.networkConfig(stop.signal);
  const events: LeaseEvent[] = [];
  const done = manager.watchLeases((event) => events.push(event), stop.signal);
  await waitFor("the snapshot", () => events.length === 1);
  stop.abort();
  await done;
  expect(events).toMatchObject([{ type: "snapshot", leases: [{ subnet: "10.5.1.0/24" }] }]);
  expect(manager.health().skipped).toEqual([
    { key: `${SUBNETS}192.0.0.0-16`, reason: "192.0.0.0/16 lies outside the network 10.5.0.0/16" },
  ]);
});

test("compaction during a cut: a new snapshot without what went meanwhile", async () => {
  await put("10.5.1.0-24", hostGw("192.0.2.1"));
  await put("10.5.2.0-24", hostGw("192.0.2.2"));
  const { events, summary, manager } = watch(throughProxy());
  await waitFor("the snapshot", () => summary().length === 2);
  proxy.stall();
  await raw.delete(`${SUBNETS}10.5.1.0-24`);
  await put("10.5.3.0-24", hostGw("192.0.2.3"));
  await etcd.compact();
  proxy.cut();
  proxy.resume();
  await waitFor("the second snapshot", () => events.length > 1, { timeoutMs: 30_000 });
  expect(events.map(({ type }) => type)).toEqual(["snapshot", "snapshot"]);
  expect(summary()).toEqual(["10.5.2.0/24@192.0.2.2/host-gw", "10.5.3.0/24@192.0.2.3/host-gw"]);
  expect(manager.health()).toEqual({ connected: true, skipped: [] });
});

test("etcd that is not there yet, and away later: said in health, and no event is made up", async () => {
  await put("10.5.1.0-24", hostGw("192.0.2.1"));
  await etcd.members[0]!.stop();
  const { events, manager } = watch();
  await waitFor("the problem", () => manager.health().problem);
  expect(manager.health().connected).toBe(false);
  await etcd.members[0]!.start();
  await waitFor("the snapshot", () => events.length === 1, { timeoutMs: 30_000 });
  await etcd.members[0]!.kill();
  await waitFor("the loss to be noticed", () => !manager.health().connected);
  await etcd.members[0]!.start();
  await waitFor("the connection", () => manager.health().connected, { timeoutMs: 30_000 });
  expect(events).toHaveLength(1);
});

test("a watch that is not permitted is said in health, and begins when it is", async () => {
  const own = await startEtcd();
  cleanups.push(() => own.close());
  const connection = await own.enableAuth("/other/");
  const { events, manager } = watch(connection);
  await waitFor("the problem", () => manager.health().problem?.includes("permission denied"));
  expect(manager.health().connected).toBe(false);
  await own.etcdctl("role", "grant-permission", "flannel", "readwrite", PREFIX, "--prefix=true");
  await waitFor("the snapshot", () => events.length === 1, { timeoutMs: 30_000 });
  expect(manager.health()).toEqual({ connected: true, skipped: [] });
});

test("etcd that lost all its data: the node puts its lease back, and the watch starts from what there is", async () => {
  const own = await startEtcd();
  cleanups.push(() => own.close());
  const client = createEtcdClient(own.connection);
  cleanups.push(() => client.close());
  await client.put(`${PREFIX}/config`, '{"Network":"10.5.0.0/16"}');
  await client.put(`${SUBNETS}10.5.200.0-24`, hostGw("192.0.2.200"));
  const { events, summary, manager } = watch(own.connection);
  const stop = new AbortController();
  const publicIp = parseIp("192.0.2.7");
  const attributes = () => ({ publicIp, backendType: "host-gw" });
  const lease = await manager.acquire({ publicIp, attributes }, stop.signal);
  const kept = manager.keepLease(lease, stop.signal);
  await waitFor("both leases", () => summary().length === 2);
  await own.members[0]!.kill();
  own.members[0]!.wipe();
  await own.members[0]!.start();
  await waitFor("our key", async () => (await client.list(SUBNETS)).kvs.length === 1, { timeoutMs: 30_000 });
  await waitFor("our lease alone", () => summary().length === 1, { timeoutMs: 30_000 });
  expect(summary()).toEqual([`${lease.subnet}@192.0.2.7/host-gw`]);
  expect(events.filter(({ type }) => type === "snapshot").length).toBeGreaterThan(1);
  stop.abort();
  await kept;
});

test("etcd that was made anew and filled beyond our revision while we were away: noticed, and the node puts its lease back", async () => {
  const own = await startEtcd();
  cleanups.push(() => own.close());
  const gate = await startTcpProxy(own.members[0]!.port);
  cleanups.push(() => gate.close());
  const client = createEtcdClient(own.connection);
  cleanups.push(() => client.close());
  await client.put(`${PREFIX}/config`, '{"Network":"10.5.0.0/16"}');
  await client.put(`${SUBNETS}10.5.200.0-24`, hostGw("192.0.2.200"));
  const { summary, manager } = watch({ endpoints: [`http://127.0.0.1:${gate.port}`] });
  const stop = new AbortController();
  const publicIp = parseIp("192.0.2.7");
  const attributes = () => ({ publicIp, backendType: "host-gw" });
  const lease = await manager.acquire({ publicIp, attributes }, stop.signal);
  const kept = manager.keepLease(lease, stop.signal);
  await waitFor("both leases", () => summary().length === 2);
  const { revision } = await client.list(SUBNETS);

  gate.stall();
  gate.cut();
  await own.members[0]!.kill();
  own.members[0]!.wipe();
  await own.members[0]!.start();
  // At a revision that we have seen already.
  await client.put(`${SUBNETS}10.5.201.0-24`, hostGw("192.0.2.201"));
  while ((await client.list(SUBNETS)).revision <= revision + 3n) await client.put("/filler", "");
  gate.cut();
  gate.resume();

  const wanted = ["10.5.201.0/24@192.0.2.201/host-gw", `${lease.subnet}@192.0.2.7/host-gw`].toSorted();
  await waitFor("what the new store has", () => JSON.stringify(summary()) === JSON.stringify(wanted), {
    timeoutMs: 60_000,
  });
  stop.abort();
  await kept;
});

const action = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("put"), n: fc.nat(9), ip: fc.nat(200) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("delete"), n: fc.nat(9), ip: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("break"), n: fc.nat(9), ip: fc.constant(0) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("cut"), n: fc.constant(0), ip: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("compact"), n: fc.constant(0), ip: fc.constant(0) }) },
);

test(
  "any sequence of writes with cuts and compactions folds to what a fresh list gives",
  { timeout: 120_000 },
  async () => {
    const property = fc.asyncProperty(fc.array(action, { minLength: 10, maxLength: 60 }), async (actions) => {
      const old = watch(throughProxy());
      for (const { do: what, n, ip } of actions) {
        if (what === "put") await put(`10.5.${n}.0-24`, hostGw(`192.0.2.${ip}`));
        else if (what === "delete") await raw.delete(`${SUBNETS}10.5.${n}.0-24`);
        else if (what === "break") await put(`10.5.${n}.0-24`, "{}}");
        else if (what === "cut") proxy.cut();
        else await etcd.compact();
      }
      // Its coming shows that all before has come; through the first page of a snapshot or as an event.
      await put("10.5.250.0-24", hostGw(`192.0.2.${actions.length}`));
      await waitFor("the last write", () => old.summary().some((line) => line.startsWith("10.5.250.0")), {
        timeoutMs: 30_000,
      });
      const fresh = watch();
      await waitFor("the fresh list", () => fresh.events.length > 0);
      expect(old.book()).toEqual(fresh.book());
      await Promise.all([old.stop(), fresh.stop()]);
      await raw.delete(`${SUBNETS}10.5.250.0-24`);
    });
    await fc.assert(property, { numRuns: 25 });
  },
);
