// Runs inside a machine: programs peers from nothing and one at a time, beside the bare batches. Prints JSON.
import { createAbsentTable } from "../src/host/absent-table.ts";
import { createBackend } from "../src/backends/registry.ts";
import { createHostApplier } from "../src/host/apply.ts";
import type { HostState } from "../src/host/state.ts";
import { EMPTY_HOST_STATE } from "../src/host/state.ts";
import { ownershipOf } from "../src/host/ownership.ts";
import type { Lease } from "../src/ipam/lease.ts";
import type { KernelTables } from "../src/host/kernel-table.ts";
import { exec } from "../src/kernel/exec.ts";
import { createNetTables } from "../src/kernel/tables.ts";
import { parseCidr } from "../src/net/cidr.ts";
import { parseIp } from "../src/net/ip.ts";
import { parseMac } from "../src/net/mac.ts";
import { CONFIG, NETWORK_TEXT, peer, peers } from "./many-leases.ts";
import { cpuMs } from "./stats.ts";

const ROUNDS = 5;
const SINGLE_ROUNDS = 40;

const backend = createBackend(CONFIG);
const ownership = ownershipOf([parseCidr(NETWORK_TEXT)], backend.devices);
// The firewall does not grow with the peers and is left out on both sides.
const tables: KernelTables = {
  ...createNetTables({ ownership, exec }),
  firewall: createAbsentTable("firewall"),
};

// One object each, as in a daemon: what is remembered of a peer holds for one node and one configuration.
const SELF: Lease = { ...peer(0), subnet: parseCidr("10.1.1.0/24"), publicIp: parseIp("192.0.2.1") };
const UPLINK = { name: "eth0", index: 2, mtu: 1500, addresses: { 4: parseIp("192.0.2.1") }, routes: [] };
const NODE = {
  uplink: UPLINK,
  publicIps: { 4: parseIp("192.0.2.1") },
  macs: { 4: parseMac("0a:ff:00:00:00:01") },
};

function planFor(leases: readonly Lease[]): HostState {
  return backend.plan({ self: SELF, peers: leases, node: NODE, config: CONFIG }).state;
}

interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
}

async function measure(work: () => Promise<unknown>): Promise<Cost> {
  const [wall, cpu] = [performance.now(), cpuMs()];
  await work();
  return { wallMs: performance.now() - wall, cpuMs: cpuMs() - cpu };
}

async function clearHost(): Promise<void> {
  await createHostApplier(tables).apply(EMPTY_HOST_STATE);
  await createHostApplier(tables).apply(planFor([]));
}

/** A daemon that knows nothing of the host: plan, list, compare, write. */
async function programOurs(leases: readonly Lease[]): Promise<void> {
  const { tables: reports } = await createHostApplier(tables).apply(planFor(leases));
  const failed = reports.flatMap((report) => report.failed);
  if (failed.length > 0) throw new Error(`refused: ${JSON.stringify(failed[0])}`);
}

/** The least that a shell script could do: text that is ready, three batches. */
function bareBatches(leases: readonly Lease[]): () => Promise<void> {
  const { neighbors, fdb, routes } = planFor(leases);
  const text = (lines: readonly string[]): string => `${lines.join("\n")}\n`;
  const neighborText = text(
    neighbors.map(({ ip, mac, dev }) => `neigh replace ${ip} lladdr ${mac} dev ${dev} nud permanent`),
  );
  const fdbText = text(
    fdb.map(({ mac, dev, remote }) => `fdb replace ${mac} dev ${dev} dst ${remote} self permanent`),
  );
  const routeText = text(
    routes.map(({ dst, via, dev }) => `route replace ${dst} via ${via} dev ${dev} onlink proto 250`),
  );
  return async () => {
    await exec("ip", ["-batch", "-"], { input: neighborText });
    await exec("bridge", ["-batch", "-"], { input: fdbText });
    await exec("ip", ["-batch", "-"], { input: routeText });
  };
}

async function fromNothing(count: number): Promise<{ count: number; ours: Cost[]; bare: Cost[] }> {
  const leases = peers(count);
  const bare = bareBatches(leases);
  const result = { count, ours: [] as Cost[], bare: [] as Cost[] };
  for (let round = 0; round < ROUNDS; round += 1) {
    await clearHost();
    result.ours.push(await measure(() => programOurs(leases)));
    await clearHost();
    result.bare.push(await measure(bare));
  }
  return result;
}

async function oneMore(count: number): Promise<{ count: number; add: Cost[]; remove: Cost[] }> {
  const applier = createHostApplier(tables);
  const before = peers(count);
  const after = [...before, peer(count + 1)];
  await applier.apply(planFor(before));
  const result = { count, add: [] as Cost[], remove: [] as Cost[] };
  for (let round = 0; round < SINGLE_ROUNDS; round += 1) {
    result.add.push(await measure(() => applier.apply(planFor(after))));
    result.remove.push(await measure(() => applier.apply(planFor(before))));
  }
  return result;
}

const report = {
  fromNothing: [await fromNothing(1000), await fromNothing(5000)],
  oneMore: await oneMore(5000),
};
process.stdout.write(JSON.stringify(report));
