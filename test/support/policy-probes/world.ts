// Nine pods in three namespaces on a real cluster with policy at work: apply objects, and probe all pairs with real packets.
import path from "node:path";
import { parseAllDocuments } from "yaml";
import type { Cluster } from "../../../lab/cluster.ts";
import type { LabNode } from "../../../lab/node.ts";
import { getOverSocket } from "../../../src/cli/status-client.ts";
import type { EtcdWrite } from "../../../src/etcd/client.ts";
import type { Exec } from "../../../src/kernel/exec.ts";
import { parseCidr } from "../../../src/net/cidr.ts";
import { parseIp } from "../../../src/net/ip.ts";
import { formatPolicyKey } from "../../../src/policy/etcd-keys.ts";
import type { InForceReport } from "../../../src/policy/in-force-report.ts";
import { objectKey } from "../../../src/policy/snapshot.ts";
import type { ClusterNode, Labels, NamedPort, Pod, PolicySnapshot } from "../../../src/policy/snapshot.ts";
import { namespaceOf, policiesOf } from "../policy-cluster.ts";
import { podArgs } from "../policy-lab.ts";
import { waitFor } from "../wait.ts";
import { startLineProcess } from "./line-process.ts";
import type { LineProcess } from "./line-process.ts";
import type { Probe, ProbeAnswer } from "./probe.ts";

export const PORTS = [80, 81] as const;
/** Upstream's names: each pod serves both ports by each protocol, under a name. */
const PORT_NAMES: readonly NamedPort[] = PORTS.flatMap((port) =>
  (["TCP", "UDP", "SCTP"] as const).map((protocol) => ({
    name: `serve-${port}-${protocol.toLowerCase()}`,
    protocol,
    port,
  })),
);
const NAMESPACES = ["x", "y", "z"];
const NAMES = ["a", "b", "c"];
/** The namespace whose policies tell that all before them are in force; a pod of it is on each node. */
const MARKER = "marker";
const STATUS_SOCKET = "/run/flannel/flanneld.sock";
const script = (name: string): string => path.join(import.meta.dirname, name);

/** What one scenario has beyond the nine pods and their labels `pod: NAME`, in namespaces labelled `ns: NAME`. */
export interface Objects {
  /** YAML documents of NetworkPolicies; `{{x/a}}` is the address of a pod, `{{x/a:24}}` its subnet. */
  readonly policies: string;
  /** Labels beyond, by `namespace/name`. */
  readonly podLabels?: Readonly<Record<string, Labels>>;
  /** Labels beyond, by name. */
  readonly namespaceLabels?: Readonly<Record<string, Labels>>;
}

export interface World {
  readonly pods: readonly Pod[];
  /** Replaces the objects of before, and waits until every node obeys. */
  apply(objects: Objects): Promise<PolicySnapshot>;
  /** Asks from every pod at once. By `namespace/name` of who asks. */
  ask(probes: ReadonlyMap<string, readonly Probe[]>): Promise<ReadonlyMap<string, readonly ProbeAnswer[]>>;
}

/** @param nodes the pods are spread over these */
export async function createWorld(cluster: Cluster, nodes: readonly LabNode[]): Promise<World> {
  const [first] = nodes;
  if (first === undefined) throw new Error("a world needs a node");
  for (const node of nodes) await answerAtOnce(node.exec);
  const keys = NAMESPACES.flatMap((namespace) => NAMES.map((name) => ({ namespace, name })));
  const made = await Promise.all(
    keys.map((key, i) => makePod(nodes[i % nodes.length] ?? first, key, labelsOf(key.name))),
  );
  await Promise.all(nodes.map((node) => node.addPod(`${MARKER}-${node.name}`, markerArgs(node))));
  const writer = await startLineProcess(first.spawn, script("etcd-writer.ts"), [cluster.etcd.endpoints]);
  const pods = made.map(({ pod }) => pod);
  const agents = new Map(made.map(({ pod, agent }) => [objectKey(pod), agent]));
  const policyNodes = nodes.map(nodeOf);
  let generation = 0;
  let written: readonly string[] = [];
  return {
    pods,
    async apply(objects) {
      generation += 1;
      const snapshot = snapshotOf(first.address, policyNodes, pods, objects);
      const puts = writesOf(cluster.etcd.prefix, pods, objects, generation);
      const kept = new Set(puts.map(({ key }) => key));
      const gone = written.filter((key) => !kept.has(key)).map((key) => ({ type: "delete" as const, key }));
      // The marker comes last.
      await writer.ask([...gone, ...puts]);
      written = [...kept];
      await Promise.all(nodes.map((node) => waitUntilInForce(node, generation)));
      return snapshot;
    },
    async ask(probes) {
      const answers = Array.from(probes, async ([key, list]) => {
        const agent = agents.get(key);
        if (agent === undefined) throw new Error(`no pod ${key}`);
        return [key, await agent.ask<ProbeAnswer[]>({ probes: list })] as const;
      });
      return new Map(await Promise.all(answers));
    },
  };
}

/** What is refused, and SCTP that arrives, is answered by ICMP, which a kernel holds back after a few. */
async function answerAtOnce(exec: Exec): Promise<void> {
  await exec("sysctl", ["-q", "-w", "net.ipv4.icmp_ratelimit=0"]);
}

function labelsOf(name: string): Labels {
  return { pod: name };
}

async function makePod(
  node: LabNode,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  labels: Labels,
): Promise<{ readonly pod: Pod; readonly agent: LineProcess }> {
  const lab = await node.addPod(`${namespace}-${name}`, { args: podArgs({ namespace, name, labels }) });
  await answerAtOnce(lab.exec);
  const agent = await startLineProcess((...spawn) => lab.spawn(...spawn), script("agent.ts"), [
    lab.ip,
    ...PORTS.map(String),
  ]);
  const pod: Pod = {
    namespace,
    name,
    uid: `${namespace}-${name}`,
    nodeName: node.address,
    labels,
    ips: [parseIp(lab.ip)],
    hostNetwork: false,
    finished: false,
    terminating: false,
    ports: PORT_NAMES,
  };
  return { pod, agent };
}

function markerArgs(node: LabNode) {
  return { args: podArgs({ namespace: MARKER, name: `${MARKER}-${node.name}` }) };
}

/** As its daemon registers it: the uplink's address, and base and first address of its subnet. */
function nodeOf(node: LabNode): ClusterNode {
  const subnet = node.subnetEnv()["FLANNEL_SUBNET"] ?? "";
  const base = subnet.replace(/1\/\d+$/, "0");
  const length = subnet.split("/")[1] ?? "";
  return {
    name: node.address,
    addresses: [node.address, base, subnet.replace(/\/\d+$/, "")].map(parseIp),
    podCidrs: [parseCidr(`${base}/${length}`)],
  };
}

function fillIn(text: string, pods: readonly Pod[]): string {
  return text.replace(/\{\{(\w+\/\w+)(?::(\d+))?\}\}/g, (_, key: string, length?: string) => {
    const ip = pods.find((pod) => objectKey(pod) === key)?.ips[0];
    if (ip === undefined) throw new Error(`no pod ${key}`);
    return length === undefined ? ip : `${ip}/${length}`;
  });
}

function snapshotOf(
  nodeName: string,
  nodes: readonly ClusterNode[],
  pods: readonly Pod[],
  { policies, podLabels = {}, namespaceLabels = {} }: Objects,
): PolicySnapshot {
  return {
    nodeName,
    nodes,
    namespaces: NAMESPACES.map((name) => namespaceOf(name, { ns: name, ...namespaceLabels[name] })),
    pods: pods.map((pod) => ({ ...pod, labels: { ...pod.labels, ...podLabels[objectKey(pod)] } })),
    policies: policies.trim() === "" ? [] : policiesOf(fillIn(policies, pods)),
  };
}

type Put = Extract<EtcdWrite, { readonly type: "put" }>;

function writesOf(
  prefix: string,
  pods: readonly Pod[],
  objects: Objects,
  generation: number,
): readonly Put[] {
  const { policies, podLabels = {}, namespaceLabels = {} } = objects;
  const put = (key: Parameters<typeof formatPolicyKey>[1], value: unknown): Put => ({
    type: "put",
    key: formatPolicyKey(prefix, key),
    value: JSON.stringify(value),
  });
  const documents = policies.trim() === "" ? [] : parseAllDocuments(fillIn(policies, pods));
  const marker = `generation-${generation}`;
  return [
    ...NAMESPACES.map((name) => {
      const labels = { ns: name, ...namespaceLabels[name] };
      return put(
        { kind: "namespaces", name },
        { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } },
      );
    }),
    ...pods.map((pod) => {
      const { namespace, name } = pod;
      const labels = { ...pod.labels, ...podLabels[objectKey(pod)] };
      const ports = pod.ports.map(({ name: portName, protocol, port }) => ({
        name: portName,
        protocol,
        containerPort: port,
      }));
      const spec = { containers: [{ name: "agent", image: "none", ports }] };
      return put(
        { kind: "pods", namespace, name },
        { apiVersion: "v1", kind: "Pod", metadata: { namespace, name, labels }, spec },
      );
    }),
    ...documents.map((document) => {
      const policy = document.toJS() as { metadata: { namespace: string; name: string } };
      return put({ kind: "policies", ...pickNames(policy.metadata) }, policy);
    }),
    put(
      { kind: "policies", namespace: MARKER, name: marker },
      {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { namespace: MARKER, name: marker },
        spec: { podSelector: {}, policyTypes: ["Ingress"] },
      },
    ),
  ];
}

function pickNames({ namespace, name }: { readonly namespace: string; readonly name: string }) {
  return { namespace, name };
}

async function waitUntilInForce(node: LabNode, generation: number): Promise<void> {
  const marker = `${MARKER}/generation-${generation}`;
  await waitFor(`${marker} to be in force on ${node.name}`, async () => {
    const { status, body } = await getOverSocket(node.machine.hostPath(STATUS_SOCKET), "/v1/policy");
    if (status !== 200) throw new Error(body);
    const { policies } = JSON.parse(body) as InForceReport;
    return policies.some(({ policy, since }) => policy === marker && since !== undefined);
  });
}
