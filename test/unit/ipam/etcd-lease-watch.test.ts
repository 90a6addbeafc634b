// The watch of all leases over a store that loses its data.
import { once } from "node:events";
import { expect, test } from "vitest";
import { CompactedError } from "../../../src/etcd/client.ts";
import type { EtcdClient, KeyValue } from "../../../src/etcd/client.ts";
import { EtcdHealth } from "../../../src/ipam/etcd-health.ts";
import { watchLeases } from "../../../src/ipam/etcd-lease-watch.ts";
import type { LeaseWatchContext } from "../../../src/ipam/etcd-lease-watch.ts";
import type { LeaseEvent } from "../../../src/ipam/lease.ts";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";
import { createFakeEtcd } from "../../support/fake-etcd-client.ts";

function leaseAt(subnet: string, modRevision: bigint): KeyValue {
  const value = '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"host-gw"}';
  return { key: `/net/subnets/${subnet}-24`, value, createRevision: modRevision, modRevision, leaseId: "7" };
}

/** Gives these lists in turn; each watch ends with the list's revision lost, the last one waits. */
function storeOf(...lists: readonly (readonly [bigint, readonly KeyValue[]])[]) {
  let listed = 0;
  const client: EtcdClient = {
    ...createFakeEtcd(),
    list: () => {
      const [revision, kvs] = lists[Math.min(listed, lists.length - 1)]!;
      listed += 1;
      return Promise.resolve({ kvs, revision });
    },
    async *watch(_prefix, _from, { signal }) {
      if (listed < lists.length) throw new CompactedError("gone");
      if (!signal.aborted) await once(signal, "abort");
      yield [];
    },
  };
  return { client, listed: () => listed };
}

/** The snapshots that are delivered until there are `count`. */
async function follow(client: EtcdClient, count: number): Promise<readonly string[]> {
  const stop = new AbortController();
  const snapshots: string[] = [];
  const context: LeaseWatchContext = {
    client,
    prefix: "/net",
    leaseTtlSeconds: 60,
    log: SILENT_LOGGER,
    health: new EtcdHealth(SILENT_LOGGER, Date.now),
    now: Date.now,
    random: () => 0,
    config: () => undefined,
    rewoundGraceMs: 10,
  };
  const onEvent = (event: LeaseEvent): void => {
    if (event.type !== "snapshot") return;
    snapshots.push(event.leases.map(({ subnet }) => subnet).join(" "));
    if (snapshots.length === count) stop.abort();
  };
  await watchLeases(context, onEvent, stop.signal);
  return snapshots;
}

const [a, b] = ["10.5.7.0", "10.5.8.0"];

test("an etcd that has lost its data: peers are kept until their daemons had time to put their leases back", async () => {
  const { client, listed } = storeOf(
    [9n, [leaseAt(a, 9n), leaseAt(b, 8n)]],
    [2n, []],
    [4n, [leaseAt(b, 4n)]],
  );
  expect(await follow(client, 2)).toEqual([`${a}/24 ${b}/24`, `${b}/24`]);
  expect(listed()).toBe(3);
});

test("a compaction alone is no loss: the list counts at once", async () => {
  const { client } = storeOf([9n, [leaseAt(a, 9n), leaseAt(b, 8n)]], [12n, [leaseAt(b, 8n)]]);
  expect(await follow(client, 2)).toEqual([`${a}/24 ${b}/24`, `${b}/24`]);
});
