// The etcd subnet manager over a store in memory: stopping, health, and what only happens between two calls.
import { afterEach, describe, expect, test } from "vitest";
import { EtcdCallError } from "../../../src/etcd/client.ts";
import type { EtcdClient } from "../../../src/etcd/client.ts";
import { EtcdHealth } from "../../../src/ipam/etcd-health.ts";
import { createEtcdSubnetManager } from "../../../src/ipam/etcd-subnet-manager.ts";
import type { Lease, LeaseEvent } from "../../../src/ipam/lease.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { createFakeEtcd } from "../../support/fake-etcd-client.ts";
import { memoryLogger } from "../../support/memory-logger.ts";
import { waitFor } from "../../support/wait.ts";

const publicIp = parseIp("192.0.2.7");
const CONFIG = { "/net/config": '{"Network":"10.5.0.0/16","SubnetMin":"10.5.7.0","SubnetMax":"10.5.9.0"}' };
const request = { publicIp, attributes: () => ({ publicIp, backendType: "host-gw" }) };
const lease: Lease = {
  nodeName: publicIp,
  subnet: parseCidr("10.5.7.0/24"),
  publicIp,
  backendType: "host-gw",
};

const stops: AbortController[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop.abort();
});

function stopper(): AbortController {
  const stop = new AbortController();
  stops.push(stop);
  return stop;
}

function manage(client: EtcdClient, log = memoryLogger()) {
  const options = { client, prefix: "/net/", renewMarginMinutes: 60 };
  return createEtcdSubnetManager(options, { log, random: () => 0 });
}

describe("an abort", () => {
  const never = () => new Promise<never>(() => undefined);
  const silent: EtcdClient = {
    ...createFakeEtcd(),
    get: never,
    list: never,
    put: never,
    grantLease: never,
    keepAliveOnce: never,
  };
  const calls = [
    {
      name: "networkConfig",
      run: (signal: AbortSignal) => manage(silent).networkConfig(signal),
      rejects: true,
    },
    { name: "acquire", run: (signal: AbortSignal) => manage(silent).acquire(request, signal), rejects: true },
    {
      name: "keepLease",
      run: (signal: AbortSignal) => manage(silent).keepLease(lease, signal),
      rejects: false,
    },
    {
      name: "watchLeases",
      run: (signal: AbortSignal) => manage(silent).watchLeases(() => {}, signal),
      rejects: false,
    },
  ];
  test.each(calls)("ends $name while etcd is silent", async ({ run, rejects }) => {
    const stop = stopper();
    const running = run(stop.signal);
    stop.abort(new Error("stopping"));
    if (rejects) await expect(running).rejects.toThrow("stopping");
    else await expect(running).resolves.toBeUndefined();
  });
});

describe("acquire", () => {
  test("somebody takes the subnet between the list and the write: another one, and no etcd lease is left behind", async () => {
    const etcd = createFakeEtcd(CONFIG);
    const revoked: string[] = [];
    const client = { ...etcd, revokeLease: (id: string) => (revoked.push(id), etcd.revokeLease(id)) };
    etcd.beforePut = async (key) => {
      etcd.beforePut = undefined;
      await etcd.put(key, '{"PublicIP":"192.0.2.99"}');
    };
    // `put` of the fake asks `beforePut` of the object it was made as.
    const got = await manage(client).acquire(request, stopper().signal);
    expect(got.subnet).toBe("10.5.8.0/24");
    expect(revoked).toHaveLength(1);
  });

  test("wrong credentials end it, an outage does not", async () => {
    const etcd = createFakeEtcd(CONFIG);
    const manager = manage(etcd);
    await manager.networkConfig(stopper().signal);
    etcd.failure = new EtcdCallError("away", true);
    const acquiring = manager.acquire(request, stopper().signal);
    await waitFor("the problem", () => manager.health().problem === "away");
    expect(manager.health().connected).toBe(false);
    etcd.failure = undefined;
    expect((await acquiring).subnet).toBe("10.5.7.0/24");
    etcd.failure = new EtcdCallError("wrong password", false);
    await expect(manager.acquire(request, stopper().signal)).rejects.toThrow("wrong password");
  });
});

test("a watch hands on nothing after its abort", async () => {
  const etcd = createFakeEtcd(CONFIG);
  const stop = stopper();
  const events: LeaseEvent[] = [];
  const watching = manage(etcd).watchLeases((event) => events.push(event), stop.signal);
  await waitFor("the snapshot", () => events.length === 1);
  stop.abort();
  await etcd.put("/net/subnets/10.5.7.0-24", '{"PublicIP":"192.0.2.1"}');
  await watching;
  expect(events).toHaveLength(1);
});

describe("health", () => {
  function health() {
    const clock = { now: 0 };
    const log = memoryLogger();
    return {
      health: new EtcdHealth(log, () => clock.now),
      clock,
      warnings: () => log.lines.filter((l) => l.level === "warn"),
    };
  }

  test("is not connected before the first answer, nor while a watch is refused", () => {
    const { health: subject } = health();
    expect(subject.read()).toEqual({ connected: false, skipped: [] });
    subject.ok("config");
    expect(subject.read().connected).toBe(true);
    subject.problem("watch", "permission denied", false);
    expect(subject.read()).toEqual({ connected: false, problem: "permission denied", skipped: [] });
  });

  test("logs a lasting problem once a minute, a new one and its end at once", () => {
    const { health: subject, clock, warnings } = health();
    for (clock.now = 0; clock.now < 120_000; clock.now += 1_000) subject.problem("acquire", "full", false);
    expect(warnings()).toHaveLength(2);
    subject.problem("acquire", "fuller", false);
    expect(warnings()).toHaveLength(3);
  });

  test("an etcd that is away is told before a problem of another kind", () => {
    const { health: subject } = health();
    subject.problem("acquire", "full", false);
    subject.problem("keep", "away", true);
    expect(subject.read().problem).toBe("away");
  });

  test("tells of a skipped key once per version of it", () => {
    const { health: subject, warnings } = health();
    for (const version of [1n, 1n, 2n]) subject.skip("/k", version, "broken");
    expect(warnings()).toHaveLength(2);
    subject.keepSkipped(new Set());
    expect(subject.read().skipped).toEqual([]);
  });
});
