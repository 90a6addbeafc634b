// A large cluster with policies as people write them, the same for the same numbers: what policy benchmarks are run on.
import { parseCidr } from "../src/net/cidr.ts";
import { parseIp } from "../src/net/ip.ts";
import { NAMESPACE_NAME_LABEL } from "../src/policy/snapshot.ts";
import type {
  ClusterNode, Labels, Namespace, Pod, Policy, PolicyPeer, PolicyPort, PolicyRule, PolicySnapshot, Selector,
} from "../src/policy/snapshot.ts"; // prettier-ignore

export interface ClusterSize {
  readonly pods: number;
  readonly policies: number;
  readonly namespaces: number;
  /** Pods on the node whose rules are compiled, spread over the namespaces. */
  readonly localPods: number;
  /** Other nodes, which share the other pods. */
  readonly otherNodes: number;
}

/** Issue 4, point 15. 110 is kubelet's limit of pods on a node. */
export const LARGE_CLUSTER: ClusterSize = {
  pods: 10_000,
  policies: 1_000,
  namespaces: 100,
  localPods: 110,
  otherNodes: 99,
};

export const LOCAL_NODE = "node-0";
const APPS = ["web", "api", "db", "cache", "worker"] as const;
const TEAMS = 10;

/** A cluster of the size: two families, five apps in each namespace. */
export function largeCluster(size: ClusterSize = LARGE_CLUSTER): PolicySnapshot {
  const nodes = Array.from({ length: size.otherNodes + 1 }, (_, n) => nodeOf(n));
  return {
    nodeName: LOCAL_NODE,
    nodes,
    namespaces: Array.from({ length: size.namespaces }, (_, n) => namespaceOf(n)),
    pods: Array.from({ length: size.pods }, (_, n) => clusterPod(n, size)),
    policies: Array.from({ length: size.policies }, (_, n) => clusterPolicy(n, size)),
  };
}

function nodeOf(n: number): ClusterNode {
  const podCidrs = [`10.${100 + (n >> 8)}.${n & 255}.0/24`, `fd00:10:${n.toString(16)}::/64`].map(parseCidr);
  const addresses = [`192.168.${n >> 8}.${n & 255}`, `10.${100 + (n >> 8)}.${n & 255}.1`].map(parseIp);
  return { name: `node-${n}`, addresses, podCidrs };
}

function namespaceOf(n: number): Namespace {
  const name = `namespace-${n}`;
  const env = ["production", "staging", "test"][n % 3] ?? "";
  return { name, labels: { [NAMESPACE_NAME_LABEL]: name, team: `team-${n % TEAMS}`, env } };
}

/** The n-th pod: the first `localPods` are on the node itself. More than the size has are newcomers. */
export function clusterPod(n: number, size: ClusterSize = LARGE_CLUSTER, more: Partial<Pod> = {}): Pod {
  const isLocal = n < size.localPods;
  const node = isLocal ? 0 : 1 + ((n - size.localPods) % size.otherNodes);
  const host = 2 + (isLocal ? n : Math.floor((n - size.localPods) / size.otherNodes));
  const namespace = n % size.namespaces;
  const app = APPS[(n + Math.floor(n / size.namespaces)) % APPS.length] ?? "web";
  return {
    namespace: `namespace-${namespace}`,
    name: `${app}-${((n * 2_654_435_761) % 2 ** 32).toString(16)}-${n}`,
    uid: `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`,
    nodeName: `node-${node}`,
    labels: podLabels(app, namespace),
    ips: [
      `10.${100 + (node >> 8)}.${node & 255}.${host}`,
      `fd00:10:${node.toString(16)}::${host.toString(16)}`,
    ].map(parseIp),
    hostNetwork: false,
    finished: false,
    terminating: false,
    createdAtMs: 1_763_000_000_000 + n * 1_000,
    ports: [
      { name: "http", protocol: "TCP", port: 8_080 + (n % 3) },
      { name: "metrics", protocol: "TCP", port: 9_100 },
    ],
    ...more,
  };
}

/** Equal for the pods of one deployment, but an object each, as a watch delivers them. */
export function podLabels(app: string, namespace: number): Labels {
  return {
    "app.kubernetes.io/name": app,
    "app.kubernetes.io/instance": `${app}-${namespace}`,
    "app.kubernetes.io/managed-by": "Helm",
    "pod-template-hash": (namespace * 40_503 + app.length).toString(16).padStart(10, "0"),
    tier: app === "web" ? "frontend" : "backend",
  };
}

const label = (key: string, value: string): Selector => [{ key, operator: "In", values: [value] }];
const appSelector = (n: number): Selector => label("app.kubernetes.io/name", APPS[n % APPS.length] ?? "web");
const port = (number: number): PolicyPort => ({ kind: "numbers", protocol: "TCP", from: number, to: number });

/** The n-th policy: of each kind in turn, in each namespace in turn. More than the size has are new ones. */
export function clusterPolicy(n: number, size: ClusterSize = LARGE_CLUSTER): Policy {
  const namespace = n % size.namespaces;
  const kind = KINDS[Math.floor(n / size.namespaces) % KINDS.length] ?? denyAll;
  return { namespace: `namespace-${namespace}`, name: `policy-${n}`, generation: 1, ...kind(n) };
}

type Kind = (n: number) => Pick<Policy, "podSelector" | "types" | "ingress" | "egress">;

const ingress = (podSelector: Selector, ...rules: readonly PolicyRule[]) =>
  ({ podSelector, types: ["ingress"], ingress: rules, egress: [] }) as const;
const egress = (podSelector: Selector, ...rules: readonly PolicyRule[]) =>
  ({ podSelector, types: ["egress"], ingress: [], egress: rules }) as const;
const pods = (selector: Selector, namespaces?: Selector): PolicyPeer => ({
  kind: "pods",
  pods: selector,
  ...(namespaces && { namespaces }),
});

const denyAll: Kind = () => ingress([]);
const fromApp =
  (target: number, source: number, number: number): Kind =>
  () =>
    ingress(appSelector(target), { peers: [pods(appSelector(source))], ports: [port(number)] });
const fromTeam: Kind = (n) =>
  ingress(appSelector(1), {
    peers: [pods([], label("team", `team-${(n + 1) % TEAMS}`))],
    ports: [port(443)],
  });
const fromMonitoring: Kind = () =>
  ingress([], {
    peers: [pods(appSelector(4), [])],
    ports: [{ kind: "named", protocol: "TCP", name: "metrics" }],
  });
const fromEverywhere: Kind = () =>
  ingress(appSelector(0), { peers: [pods([], [])], ports: [port(80), port(443)] });
const toDns: Kind = () =>
  egress([], {
    peers: [pods(appSelector(3), label(NAMESPACE_NAME_LABEL, "namespace-0"))],
    ports: [{ kind: "numbers", protocol: "UDP", from: 53, to: 53 }],
  });
const toWorld: Kind = (n) =>
  egress(appSelector(4), {
    peers: [
      { kind: "block", cidr: parseCidr("0.0.0.0/0"), except: [parseCidr("10.0.0.0/8"), parseCidr(`172.16.${n & 255}.0/24`)] },
      { kind: "block", cidr: parseCidr("::/0"), except: [parseCidr("fd00::/8")] },
    ],
  }); // prettier-ignore
const toServers: Kind = () =>
  egress(label("tier", "frontend"), {
    peers: [pods([{ key: "tier", operator: "NotIn", values: ["frontend"] }])],
    ports: [{ kind: "named", protocol: "TCP", name: "http" }],
  });

const KINDS: readonly Kind[] = [
  denyAll,
  fromApp(1, 0, 8_080),
  fromApp(2, 1, 5_432),
  fromApp(3, 1, 6_379),
  fromTeam,
  fromMonitoring,
  fromEverywhere,
  toDns,
  toWorld,
  toServers,
];
