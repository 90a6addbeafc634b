// Runs inside a machine: policy of a large cluster from events to the kernel, and what packets pay for it. Prints JSON.
// Usage: policy-inside.ts events | policy-inside.ts packets REQUESTS_PROGRAM
import { createPolicyApplier } from "../src/host/policy-applier.ts";
import { exec, spawnLines } from "../src/kernel/exec.ts";
import { createSetTable } from "../src/kernel/ipset/set-table.ts";
import { createFirewallTable } from "../src/kernel/iptables/firewall-table.ts";
import { detectIptablesVariant } from "../src/kernel/iptables/variant.ts";
import { parseIp } from "../src/net/ip.ts";
import { createPolicyGraph } from "../src/policy/graph.ts";
import { DEFAULT_POLICY_SETTINGS } from "../src/policy/settings.ts";
import { objectKey } from "../src/policy/snapshot.ts";
import type { PolicySnapshot, Pod, Policy } from "../src/policy/snapshot.ts";
import { POLICY_KINDS } from "../src/policy/source.ts";
import type { PolicyEvent } from "../src/policy/source.ts";
import { clusterPod, clusterPolicy, largeCluster, LARGE_CLUSTER } from "./policy-cluster.ts";
import { cpuMs, median, residentMb } from "./stats.ts";

const POD_EVENTS = 200;
const POLICY_EVENTS = 100;
const SAMPLE_SECONDS = 1;
const ROUNDS = 5;
export const SIZES = [10, 1_000, 5_000] as const;
const SERVER = "10.244.1.2";
const CLIENT = "10.244.1.3";

async function createParts(nodeName: string, families: readonly (4 | 6)[]) {
  const variant = await detectIptablesVariant({ families }, { exec });
  const settings = { ...DEFAULT_POLICY_SETTINGS, families };
  const { prefix } = settings;
  const firewall = createFirewallTable({ variant, families, chainPrefix: prefix }, { exec });
  const applier = createPolicyApplier({ sets: createSetTable({ prefix }, { exec }), firewall });
  const graph = createPolicyGraph({ nodeName, settings });
  /** From an event to the kernel, as the daemon's loop does it. Milliseconds. */
  const pass = async (events: readonly PolicyEvent[]): Promise<number> => {
    const startedAt = performance.now();
    for (const event of events) graph.apply(event);
    const { failed } = await applier.apply(graph.compiled());
    if (failed[0] !== undefined) throw new Error(`${failed[0].key}: ${failed[0].reason}`);
    return performance.now() - startedAt;
  };
  return { graph, pass };
}

function snapshotEvents(snapshot: PolicySnapshot): readonly PolicyEvent[] {
  return POLICY_KINDS.map((kind) => ({ type: "snapshot", kind, objects: snapshot[kind] }) as PolicyEvent);
}

const putPod = (object: Pod): PolicyEvent => ({ type: "put", kind: "pods", object });
const putPolicy = (object: Policy): PolicyEvent => ({ type: "put", kind: "policies", object });

async function measureEvents(): Promise<unknown> {
  const cluster = largeCluster();
  const { graph, pass } = await createParts(cluster.nodeName, [4, 6]);
  const cpuBefore = cpuMs();
  const firstMs = await pass(snapshotEvents(cluster));
  const firstCpuMs = cpuMs() - cpuBefore;
  const podMs: number[] = [];
  const policyMs: number[] = [];
  for (let i = 0; i < POD_EVENTS; i += 1) {
    const pod = clusterPod(LARGE_CLUSTER.pods + (i >> 1));
    // One joins, and leaves.
    podMs.push(
      await pass([i % 2 === 0 ? putPod(pod) : { type: "removed", kind: "pods", key: objectKey(pod) }]),
    );
  }
  for (let i = 0; i < POLICY_EVENTS; i += 1) {
    const policy = clusterPolicy(LARGE_CLUSTER.policies + (i >> 1));
    const removed: PolicyEvent = { type: "removed", kind: "policies", key: objectKey(policy) };
    policyMs.push(await pass([i % 2 === 0 ? putPolicy(policy) : removed]));
  }
  const { sets, firewall } = graph.compiled();
  const members = sets.reduce((sum, set) => sum + set.members.length, 0);
  const rss = residentMb(process.pid);
  return { firstMs, firstCpuMs, podMs, policyMs, rows: firewall.length, sets: sets.length, members, rss };
}

/** A bridge with two pods, as the CNI plugin leaves them. */
async function makePods(): Promise<void> {
  const lines = [
    "link add cni0 type bridge",
    "addr add 10.244.1.1/24 dev cni0",
    "link set cni0 up",
    ...[SERVER, CLIENT].flatMap((ip, i) => [
      `netns add pod${i}`,
      `link add veth${i} type veth peer name eth0 netns pod${i}`,
      `link set veth${i} master cni0 up`,
      `-n pod${i} addr add ${ip}/24 dev eth0`,
      `-n pod${i} link set eth0 up`,
      `-n pod${i} link set lo up`,
    ]),
  ];
  for (const line of lines) await exec("ip", line.split(" "));
  const switches = ["net.bridge.bridge-nf-call-iptables=1", "net.ipv4.ip_forward=1"];
  await exec("sysctl", ["-q", "-w", ...switches]);
}

function localPod(name: string, ip: string): Pod {
  return clusterPod(0, LARGE_CLUSTER, {
    name,
    namespace: "bench",
    nodeName: "node",
    ips: [parseIp(ip)],
    labels: { name },
  });
}

/** `size` policies about the server, each with a peer of its own among `size` pods; the last lets the client in. */
function guardedServer(size: number): PolicySnapshot {
  const peers = Array.from({ length: size }, (_, i) =>
    clusterPod(i, LARGE_CLUSTER, {
      name: `peer-${i}`,
      namespace: "bench",
      nodeName: "other",
      ips: [parseIp(`10.245.${i >> 8}.${i & 255}`)],
      labels: { name: `peer-${i}` },
    }),
  );
  const policies = Array.from({ length: size }, (_, i): Policy => {
    const name = i === size - 1 ? "client" : `peer-${i}`;
    const equals = (value: string) => [{ key: "name", operator: "In" as const, values: [value] }];
    const peer = { kind: "pods" as const, pods: equals(name) };
    const number = { kind: "numbers" as const, protocol: "TCP" as const };
    return {
      namespace: "bench",
      name: `policy-${i}`,
      podSelector: equals("server"),
      types: ["ingress", "egress"],
      ingress: [
        { peers: [peer], ports: i === size - 1 ? [] : [{ ...number, from: 1_000 + i, to: 1_000 + i }] },
        { peers: [peer] },
      ],
      egress: [{ peers: [peer] }],
    };
  });
  return {
    nodeName: "node",
    nodes: [],
    namespaces: [{ name: "bench", labels: {} }],
    pods: [localPod("server", SERVER), localPod("client", CLIENT), ...peers],
    policies,
  };
}

async function measurePackets(program: string): Promise<unknown> {
  await makePods();
  const stop = new AbortController();
  const ready = Promise.withResolvers<void>();
  const server = spawnLines("ip", ["netns", "exec", "pod0", program, "serve", SERVER, "8080"], {
    signal: stop.signal,
    onLine: () => ready.resolve(),
    onErrorLine: (line) => ready.reject(new Error(line)),
  });
  await ready.promise;
  const { pass } = await createParts("node", [4]);
  const rate = async (protocol: string): Promise<number> => {
    const args = ["netns", "exec", "pod1", program, protocol, SERVER, "8080", String(SAMPLE_SECONDS)];
    return Number((await exec("ip", args)).stdout);
  };
  const without = guardedServer(1);
  const open = { ...without, policies: [] };
  const result = SIZES.map((size) => ({ size, tcp: [] as number[], udp: [] as number[] }));
  // Side by side in each round: the machine is not the same from one second to the next.
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const { size, tcp, udp } of result) {
      await pass(snapshotEvents(open));
      const [openTcp, openUdp] = [await rate("tcp"), await rate("udp")];
      await pass(snapshotEvents(guardedServer(size)));
      tcp.push((await rate("tcp")) / openTcp);
      udp.push((await rate("udp")) / openUdp);
    }
  }
  stop.abort();
  await server.ended;
  return result.map(({ size, tcp, udp }) => ({ size, tcp: median(tcp), udp: median(udp) }));
}

const [task, program = ""] = process.argv.slice(2);
process.stdout.write(JSON.stringify(await (task === "events" ? measureEvents() : measurePackets(program))));
