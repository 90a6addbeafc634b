// Runs inside a machine: writes leases to etcd, or times from a lease's Put to the route in this kernel. Prints JSON.
// Usage: leases-inside.ts put ENDPOINT FIRST COUNT | leases-inside.ts time ENDPOINT FIRST COUNT
import { createEtcdClient } from "../src/etcd/etcd3-client.ts";
import type { EtcdClient } from "../src/etcd/client.ts";
import { formatLeaseKey, formatLeaseValue } from "../src/ipam/etcd-lease-codec.ts";
import { spawnLines } from "../src/kernel/exec.ts";
import { peer } from "./many-leases.ts";

const PREFIX = "/coreos.com/network";
const LEASE_SECONDS = 3600;
const PARALLEL_PUTS = 50;
/** Longer than the daemon's minimum between passes: each sample is an event on its own, as nodes join one at a time. */
const PAUSE_MS = 150;
const DEADLINE_MS = 10_000;

async function putLeases(client: EtcdClient, first: number, count: number): Promise<void> {
  const leaseId = await client.grantLease(LEASE_SECONDS);
  for (let done = 0; done < count; done += PARALLEL_PUTS) {
    const some = Array.from({ length: Math.min(PARALLEL_PUTS, count - done) }, (_, i) =>
      peer(first + done + i),
    );
    await Promise.all(
      some.map((lease) => client.put(formatLeaseKey(PREFIX, lease), formatLeaseValue(lease), { leaseId })),
    );
  }
}

/** Milliseconds from the call of Put until the kernel announces the route. */
async function timeRoutes(client: EtcdClient, first: number, count: number): Promise<readonly number[]> {
  const stop = new AbortController();
  const waiting = new Map<string, () => void>();
  const monitor = spawnLines("ip", ["-o", "monitor", "route"], {
    signal: stop.signal,
    onLine: (line) => {
      if (!line.startsWith("Deleted")) waiting.get(line.split(" ")[0] ?? "")?.();
    },
    onErrorLine: () => {},
  });
  const samples: number[] = [];
  for (let i = 0; i < count; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    const lease = peer(first + i);
    const startedAt = performance.now();
    const seen = new Promise<void>((resolve, reject) => {
      waiting.set(lease.subnet, resolve);
      setTimeout(
        () => reject(new Error(`no route to ${lease.subnet} after ${DEADLINE_MS} ms`)),
        DEADLINE_MS,
      ).unref();
    });
    await client.put(formatLeaseKey(PREFIX, lease), formatLeaseValue(lease));
    await seen;
    samples.push(performance.now() - startedAt);
  }
  stop.abort();
  await monitor.ended;
  return samples;
}

const [task, endpoint = "", first, count] = process.argv.slice(2);
const client = createEtcdClient({ endpoints: [endpoint] });
if (task === "put") await putLeases(client, Number(first), Number(count));
else process.stdout.write(JSON.stringify(await timeRoutes(client, Number(first), Number(count))));
await client.close();
