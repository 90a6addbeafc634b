// The etcd subnet manager against real etcd: acquisition in flannel's order, keeping, losing, reservations.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { EtcdClient } from "../../src/etcd/client.ts";
import { createEtcdClient } from "../../src/etcd/etcd3-client.ts";
import { createEtcdSubnetManager } from "../../src/ipam/etcd-subnet-manager.ts";
import type { EtcdSubnetManager, EtcdSubnetManagerOptions } from "../../src/ipam/etcd-subnet-manager.ts";
import type { Lease } from "../../src/ipam/lease.ts";
import { LeaseLostError } from "../../src/ipam/subnet-manager.ts";
import type { AcquireRequest } from "../../src/ipam/subnet-manager.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { parseIp } from "../../src/net/ip.ts";
import { startEtcd } from "../support/etcd.ts";
import type { TestEtcd } from "../support/etcd.ts";
import { memoryLogger } from "../support/memory-logger.ts";
import { waitFor } from "../support/wait.ts";

const PREFIX = "/coreos.com/network";
const SUBNETS = `${PREFIX}/subnets/`;
const MAC = "0a:1b:2c:3d:4e:5f";
const VXLAN_VALUE = `{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${MAC}"}}`;

let etcd: TestEtcd;
let raw: EtcdClient;
let stop: AbortController;
const managers: EtcdSubnetManager[] = [];

beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd.close());

beforeEach(async () => {
  stop = new AbortController();
  raw = createEtcdClient(etcd.connection);
  for (const { key } of (await raw.list(PREFIX)).kvs) await raw.delete(key);
});
afterEach(async () => {
  stop.abort();
  await Promise.all([raw, ...managers.splice(0)].map((owner) => owner.close()));
});

function node(options: Partial<EtcdSubnetManagerOptions> = {}, log = memoryLogger()) {
  const client = createEtcdClient(etcd.connection);
  const manager = createEtcdSubnetManager(
    { client, prefix: PREFIX, renewMarginMinutes: 60, ...options },
    { log },
  );
  managers.push(manager);
  return { manager, log };
}

function request(publicIp: string, more: Partial<AcquireRequest> = {}): AcquireRequest {
  const ip = parseIp(publicIp);
  const backendData = { VNI: 1, VtepMAC: MAC };
  return { publicIp: ip, attributes: () => ({ publicIp: ip, backendType: "vxlan", backendData }), ...more };
}

/** Starts a node and takes its subnet. */
async function acquire(publicIp: string, more: Partial<AcquireRequest> = {}): Promise<Lease> {
  return await node().manager.acquire(request(publicIp, more), stop.signal);
}

async function configure(config: object): Promise<void> {
  await raw.put(`${PREFIX}/config`, JSON.stringify(config));
}

async function stored(): Promise<Record<string, string>> {
  const { kvs } = await raw.list(SUBNETS);
  return Object.fromEntries(kvs.map(({ key, value }) => [key.slice(SUBNETS.length), value]));
}

/** Keeps a lease in the background. */
function keep(manager: EtcdSubnetManager, lease: Lease) {
  let outcome: unknown = "running";
  const done = manager.keepLease(lease, stop.signal).then(
    () => (outcome = "aborted"),
    (error: unknown) => (outcome = error),
  );
  return { outcome: () => outcome, done };
}

describe("config", () => {
  test("waits for it with flannel's words, then says what is wrong with it, then reads it", async () => {
    const { manager, log } = node();
    const config = manager.networkConfig(stop.signal);
    await waitFor("the warning", () => log.lines.length > 0);
    expect(log.lines[0]?.message).toContain(
      "flannel config not found in etcd store. Did you create your config using etcdv3 API?",
    );
    expect(manager.health()).toMatchObject({ connected: true, problem: log.lines[0]?.message });
    await configure({ Network: "10.5.0.0/33" });
    await waitFor("the problem", () => manager.health().problem?.includes("is not a usable network config"));
    await configure({ Network: "10.5.0.0/16" });
    expect(await config).toMatchObject({
      ipv4: { network: "10.5.0.0/16", subnetLength: 24 },
      backend: { type: "udp" },
    });
    expect(manager.health()).toEqual({ connected: true, skipped: [] });
  });

  test("an abort ends the waiting", async () => {
    const waiting = node().manager.networkConfig(stop.signal);
    stop.abort();
    await expect(waiting).rejects.toThrow("abort");
  });
});

describe("acquire", () => {
  beforeEach(() => configure({ Network: "10.5.0.0/16", SubnetMin: "10.5.7.0", SubnetMax: "10.5.7.0" }));

  test("writes flannel's key and value byte for byte, with an etcd lease of 24 hours", async () => {
    const lease = await acquire("192.0.2.7");
    expect(lease).toMatchObject({ nodeName: "192.0.2.7", subnet: "10.5.7.0/24", publicIp: "192.0.2.7" });
    expect(await stored()).toEqual({ "10.5.7.0-24": VXLAN_VALUE });
    const { leaseId } = (await raw.get(`${SUBNETS}10.5.7.0-24`))!;
    expect((await raw.timeToLive(leaseId)).grantedTtl).toBe(86_400);
    expect(lease.expiresAt).toBeGreaterThan(Date.now() + 86_000_000);
  });

  test("dual stack: one key for both subnets", async () => {
    await configure({
      Network: "10.5.0.0/16",
      SubnetMin: "10.5.7.0",
      SubnetMax: "10.5.7.0",
      EnableIPv6: true,
      IPv6Network: "fd00:5::/48",
      IPv6SubnetMin: "fd00:5:0:7::",
      IPv6SubnetMax: "fd00:5:0:7::",
    });
    const attributes = () => ({
      publicIp: parseIp("192.0.2.7"),
      publicIp6: parseIp("2001:db8::7"),
      backendType: "host-gw",
    });
    const lease = await acquire("192.0.2.7", { attributes });
    expect(lease).toMatchObject({ subnet: "10.5.7.0/24", subnet6: "fd00:5:0:7::/64" });
    expect(await stored()).toEqual({
      "10.5.7.0-24&fd00:5:0:7::-64":
        '{"PublicIP":"192.0.2.7","PublicIPv6":"2001:db8::7","BackendType":"host-gw"}',
    });
  });

  test("finds its lease by public IP, hands it to the backend, and reuses the etcd lease", async () => {
    const first = await acquire("192.0.2.7");
    const before = (await raw.get(`${SUBNETS}10.5.7.0-24`))!;
    let existing: Lease | undefined;
    const again = await acquire("192.0.2.7", {
      attributes: (lease) => {
        existing = lease;
        return { publicIp: parseIp("192.0.2.7"), backendType: "host-gw" };
      },
    });
    expect(existing?.backendData).toEqual({ VNI: 1, VtepMAC: MAC });
    expect(again.subnet).toBe(first.subnet);
    const after = (await raw.get(`${SUBNETS}10.5.7.0-24`))!;
    expect(after.leaseId).toBe(before.leaseId);
    expect(after.value).toBe('{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"host-gw"}');
  });

  test("a lease that Go flannel wrote is taken over, case of the keys and all", async () => {
    const leaseId = await raw.grantLease(3600);
    await raw.put(`${SUBNETS}10.5.7.0-24`, '{"publicip":"192.0.2.7","Extra":1}', { leaseId });
    expect((await acquire("192.0.2.7")).subnet).toBe("10.5.7.0/24");
    expect(await stored()).toEqual({ "10.5.7.0-24": VXLAN_VALUE });
  });

  test("the previous subnet is taken if it is free and fits", async () => {
    await configure({ Network: "10.5.0.0/16" });
    const previous = { subnet: parseCidr("10.5.99.0/24") };
    expect((await acquire("192.0.2.1", { previous })).subnet).toBe("10.5.99.0/24");
    expect((await acquire("192.0.2.2", { previous })).subnet).not.toBe("10.5.99.0/24");
  });

  test("a previous subnet that does not fit the config is not taken", async () => {
    for (const [i, subnet] of ["10.6.99.0/24", "10.5.99.0/25", "10.5.0.0/24"].entries()) {
      await configure({ Network: "10.5.0.0/16" });
      const lease = await acquire(`192.0.2.${i}`, { previous: { subnet: parseCidr(subnet) } });
      expect(lease.subnet).toMatch(/^10\.5\.(?!99\.)\d+\.0\/24$/);
    }
  });

  test("after a change of the config the own lease that no longer fits makes way for a new one", async () => {
    await acquire("192.0.2.7");
    await configure({ Network: "10.6.0.0/16", SubnetMin: "10.6.3.0", SubnetMax: "10.6.3.0" });
    expect((await acquire("192.0.2.7")).subnet).toBe("10.6.3.0/24");
    expect(Object.keys(await stored())).toEqual(["10.6.3.0-24"]);
  });

  test("a broken value takes its subnet, a foreign key takes none", async () => {
    await configure({ Network: "10.5.0.0/16", SubnetMin: "10.5.7.0", SubnetMax: "10.5.8.0" });
    await raw.put(`${SUBNETS}10.5.7.0-24`, "not JSON");
    await raw.put(`${SUBNETS}hello`, "world");
    expect((await acquire("192.0.2.7")).subnet).toBe("10.5.8.0/24");
    expect((await stored())["10.5.7.0-24"]).toBe("not JSON");
  });

  test("20 nodes at once get 20 subnets, of 20", async () => {
    await configure({ Network: "10.5.0.0/16", SubnetMin: "10.5.1.0", SubnetMax: "10.5.20.0" });
    const nodes = Array.from({ length: 20 }, (_, i) => acquire(`192.0.2.${i + 1}`));
    const subnets = (await Promise.all(nodes)).map(({ subnet }) => subnet);
    expect(new Set(subnets).size).toBe(20);
    expect(Object.keys(await stored())).toHaveLength(20);
  });

  test("dual stack: nodes that start at once share neither their IPv4 nor their IPv6 subnet", async () => {
    await configure({
      Network: "10.5.0.0/16",
      SubnetMin: "10.5.1.0",
      SubnetMax: "10.5.8.0",
      EnableIPv6: true,
      IPv6Network: "fd00:5::/48",
      IPv6SubnetMin: "fd00:5:0:1::",
      IPv6SubnetMax: "fd00:5:0:8::",
    });
    const leases = await Promise.all(Array.from({ length: 8 }, (_, i) => acquire(`192.0.2.${i + 1}`)));
    expect(new Set(leases.map(({ subnet }) => subnet)).size).toBe(8);
    expect(new Set(leases.map(({ subnet6 }) => subnet6)).size).toBe(8);
  });

  test("a full network is said in health and log, and a freed subnet is taken at once", async () => {
    await acquire("192.0.2.1");
    const { manager, log } = node();
    const waiting = manager.acquire(request("192.0.2.2"), stop.signal);
    await waitFor("the problem", () => manager.health().problem);
    expect(manager.health()).toMatchObject({ connected: true });
    expect(manager.health().problem).toMatch(
      /^out of subnets: none of the 1 \/24 subnets .* \(1 leases, 0 reservations\)/,
    );
    expect(log.lines.map(({ level }) => level)).toContain("warn");
    await raw.delete(`${SUBNETS}10.5.7.0-24`);
    expect((await waiting).subnet).toBe("10.5.7.0/24");
    expect(manager.health().problem).toBeUndefined();
  });

  test("config of IPv6 alone: nodes that start together get a subnet each, and keep it", async () => {
    await configure({ EnableIPv4: false, EnableIPv6: true, IPv6Network: "fd00:5::/48" });
    const take = (n: number): Promise<Lease> => {
      const attributes = { publicIp6: parseIp(`2001:db8::${n}`), backendType: "vxlan" };
      const request = { publicIp6: attributes.publicIp6, attributes: () => attributes };
      return node().manager.acquire(request, stop.signal);
    };
    const nodes = [1, 2, 3, 4, 5];
    const leases = await Promise.all(nodes.map(take));
    expect(new Set(leases.map(({ subnet6 }) => subnet6)).size).toBe(nodes.length);
    const again = await Promise.all(nodes.map(take));
    expect(again.map(({ subnet6 }) => subnet6)).toEqual(leases.map(({ subnet6 }) => subnet6));
    const [first] = leases;
    expect(await stored()).toMatchObject({
      [`0.0.0.0-0&${first?.subnet6?.replace("/", "-")}`]:
        '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1","BackendType":"vxlan"}',
    });
  });
});

describe("reservations: keys without an etcd lease", () => {
  beforeEach(async () => {
    await configure({ Network: "10.5.0.0/16" });
    await raw.put(`${SUBNETS}10.5.42.0-24`, '{"PublicIP":"192.0.2.7"}');
  });

  test("are picked up by public IP and stay without a lease, also when they are kept and updated", async () => {
    const { manager } = node({ leaseTtlSeconds: 2 });
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    expect(lease.subnet).toBe("10.5.42.0/24");
    expect(lease.expiresAt).toBeUndefined();
    const { done } = keep(manager, lease);
    await manager.updateLease({ ...lease, backendType: "host-gw", backendData: undefined });
    const kv = (await raw.get(`${SUBNETS}10.5.42.0-24`))!;
    expect(kv.leaseId).toBe("0");
    expect(kv.value).toBe('{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"host-gw"}');
    stop.abort();
    await done;
  });

  test("are nobody else's", async () => {
    await configure({ Network: "10.5.0.0/16", SubnetMin: "10.5.42.0", SubnetMax: "10.5.43.0" });
    expect((await acquire("192.0.2.1")).subnet).toBe("10.5.43.0/24");
  });

  test("that no longer fit the config are left to the administrator", async () => {
    await configure({ Network: "10.6.0.0/16" });
    expect((await acquire("192.0.2.7")).subnet).toMatch(/^10\.6\./);
    expect(Object.keys(await stored())).toContain("10.5.42.0-24");
  });
});

describe("keepLease", () => {
  const SHORT = { leaseTtlSeconds: 2 };
  beforeEach(() => configure({ Network: "10.5.0.0/16" }));

  test("renews long before the expiry, on the same etcd lease, without writing", async () => {
    const { manager } = node(SHORT);
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    const [before] = (await raw.list(SUBNETS)).kvs;
    keep(manager, lease);
    await waitFor("three TTLs", () => manager.ownLease()!.expiresAt! > lease.expiresAt! + 4_000);
    const [after] = (await raw.list(SUBNETS)).kvs;
    expect(after).toEqual(before);
  });

  test("writes the same value again now and then, for Go peers that dropped us", async () => {
    const { manager } = node({ rewriteIntervalMs: 300, leaseTtlSeconds: 1 });
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    const [before] = (await raw.list(SUBNETS)).kvs;
    keep(manager, lease);
    const after = await waitFor("a write", async () =>
      (await raw.list(SUBNETS)).kvs.find((kv) => kv.modRevision > before!.modRevision),
    );
    expect(after).toMatchObject({ value: before!.value, leaseId: before!.leaseId });
  });

  test("a deleted key is put back at once, with a lease", async () => {
    const { manager, log } = node();
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    const { outcome } = keep(manager, lease);
    const [before] = (await raw.list(SUBNETS)).kvs;
    await waitFor("the keeper to look", () => manager.health().connected);
    await raw.delete(before!.key);
    const after = await waitFor("the key", () => raw.get(before!.key), { timeoutMs: 30_000 });
    expect(after.value).toBe(before!.value);
    expect(after.leaseId).not.toBe("0");
    expect(outcome()).toBe("running");
    expect(log.lines.some(({ message }) => message.includes("took the same subnet again"))).toBe(true);
  });

  test("a lease that was revoked under us", async () => {
    const { manager } = node();
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    keep(manager, lease);
    const [before] = (await raw.list(SUBNETS)).kvs;
    await raw.revokeLease(before!.leaseId);
    const after = await waitFor("the key", () => raw.get(before!.key), { timeoutMs: 30_000 });
    expect(after.leaseId).not.toBe(before!.leaseId);
  });

  test("ends with LeaseLostError that names the owner when somebody else has the subnet", async () => {
    const { manager } = node();
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    const [kv] = (await raw.list(SUBNETS)).kvs;
    await raw.delete(kv!.key);
    await raw.put(kv!.key, kv!.value.replace("192.0.2.7", "192.0.2.99"));
    const { outcome } = keep(manager, lease);
    await waitFor("the end", () => outcome() !== "running");
    expect(outcome()).toBeInstanceOf(LeaseLostError);
    expect((outcome() as Error).message).toContain(`${lease.subnet} belongs to 192.0.2.99 now`);
  });

  test("also when an overlapping subnet was given away meanwhile", async () => {
    const { manager } = node();
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    const [kv] = (await raw.list(SUBNETS)).kvs;
    await raw.put(kv!.key.replace(/-24$/, "-25"), kv!.value.replace("192.0.2.7", "192.0.2.99"));
    await raw.delete(kv!.key);
    const { outcome } = keep(manager, lease);
    await waitFor("the end", () => outcome() !== "running");
    expect(outcome()).toBeInstanceOf(LeaseLostError);
  });

  test("etcd away for longer than the lease: says so, and takes the same subnet again", async () => {
    const { manager } = node(SHORT);
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    const { outcome } = keep(manager, lease);
    const [kv] = (await raw.list(SUBNETS)).kvs;
    await etcd.members[0]!.stop();
    await waitFor("the problem", () => manager.health().problem?.includes("cannot be renewed"));
    expect(manager.health().connected).toBe(false);
    await etcd.members[0]!.start();
    await raw.revokeLease(kv!.leaseId);
    await waitFor("the key", () => raw.get(kv!.key), { timeoutMs: 30_000 });
    await waitFor("health", () => manager.health().connected, { timeoutMs: 30_000 });
    expect(outcome()).toBe("running");
    expect(manager.health().problem).toBeUndefined();
  });

  test("a value that somebody broke is written right again, once, and the operator is told", async () => {
    const { manager, log } = node();
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    keep(manager, lease);
    const [kv] = (await raw.list(SUBNETS)).kvs;
    await raw.put(kv!.key, "oops", { leaseId: kv!.leaseId });
    await waitFor("the value", async () => (await raw.get(kv!.key))?.value === kv!.value);
    const other = kv!.value.replace(MAC, "0a:00:00:00:00:01");
    await raw.put(kv!.key, other, { leaseId: kv!.leaseId });
    await manager.updateLease(manager.ownLease()!);
    expect(log.lines.filter(({ message }) => message.includes("same public IP"))).toHaveLength(1);
  });

  test("updateLease is one write under the same key and etcd lease", async () => {
    const { manager } = node();
    const lease = await manager.acquire(request("192.0.2.7"), stop.signal);
    const { outcome } = keep(manager, lease);
    const [before] = (await raw.list(SUBNETS)).kvs;
    await manager.updateLease({ ...lease, publicIp: parseIp("192.0.2.70"), nodeName: "192.0.2.70" });
    const { kvs } = await raw.list(SUBNETS);
    expect(kvs).toHaveLength(1);
    expect(kvs[0]).toMatchObject({ key: before!.key, leaseId: before!.leaseId });
    expect(kvs[0]!.value).toBe(before!.value.replace("192.0.2.7", "192.0.2.70"));
    expect(manager.ownLease()).toMatchObject({ publicIp: "192.0.2.70" });
    expect(outcome()).toBe("running");
  });
});
