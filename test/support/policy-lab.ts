// Clusters with network policy for end-to-end tests: labelled pods, policies from YAML, and who can reach whom.
import path from "node:path";
import type { Cluster } from "../../lab/cluster.ts";
import { DAEMON_COMMAND } from "../../lab/daemon-process.ts";
import type { LabNode, LabPod } from "../../lab/node.ts";
import { waitFor } from "./wait.ts";

const TELL_SOURCE = path.join(import.meta.dirname, "../../lab/tell-source.ts");
export const SERVER_PORT = 8000;

export interface PodSpec {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly beforeAdd?: () => Promise<void>;
}

/** CNI_ARGS as a runtime without Kubernetes gives them for a pod with labels. */
export function podArgs({ name, namespace = "default", labels = {} }: PodSpec): readonly [string, string][] {
  return [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", namespace],
    ["K8S_POD_NAME", name],
    ["POD_LABELS", Object.entries(labels).map(([key, value]) => `${key}:${value}`).join(",")],
  ]; // prettier-ignore
}

export function addPod(node: LabNode, spec: PodSpec): Promise<LabPod> {
  const { name, beforeAdd } = spec;
  return node.addPod(name, { args: podArgs(spec), ...(beforeAdd && { beforeAdd }) });
}

/** `flanneld-ts policy VERB`, with the objects on standard input. */
export async function policyCommand(
  cluster: Cluster,
  verb: "apply" | "delete",
  yaml: string,
): Promise<string> {
  const [node] = cluster.nodes.values();
  if (node === undefined) throw new Error("the cluster has no node");
  const [program = "", ...first] = DAEMON_COMMAND;
  const args = [...first, "policy", verb, "-f", "-", ...cluster.etcd.daemonFlags];
  return (await node.exec(program, args, { input: yaml, env: cluster.etcd.daemonEnv })).stdout;
}

/** Starts a TCP server in the pod; it ends with the machine. */
export async function serve(pod: LabPod, port = SERVER_PORT): Promise<void> {
  const server = await pod.spawn(process.execPath, [TELL_SOURCE, pod.ip, String(port)], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await new Promise<void>((resolve, reject) => {
    server.child.stdout?.once("data", () => resolve());
    void server.ended.then(() => reject(new Error(`the server in ${pod.name} ended`)));
  });
}

/** One TCP connection with an answer. */
export async function reaches(from: Pick<LabPod, "exec">, ip: string, port = SERVER_PORT): Promise<boolean> {
  const script = "exec 3<>/dev/tcp/$1/$2 && cat <&3";
  const args = ["1", "bash", "-c", script, "reach", ip, String(port)];
  return (await from.exec("timeout", args, { allowFailure: true })).stdout !== "";
}

/** Waits until exactly these pods reach the address. */
export async function waitUntilReaches(
  ip: string,
  wanted: ReadonlyMap<Pick<LabPod, "exec" | "name">, boolean>,
): Promise<void> {
  await waitFor(`${[...wanted].map(([pod, yes]) => `${pod.name} ${yes ? "to reach" : "not to reach"}`).join(", ")} ${ip}`, async () => {
    const found = await Promise.all([...wanted].map(async ([pod, yes]) => (await reaches(pod, ip)) === yes));
    return found.every(Boolean);
  }); // prettier-ignore
}

/** Counts packets that reach the pod, by their source. */
export async function countPacketsFrom(
  pod: LabPod,
  sources: readonly string[],
  match: readonly string[],
): Promise<() => Promise<readonly number[]>> {
  for (const source of sources) await pod.exec("iptables", ["-A", "INPUT", "-s", source, ...match]);
  return async () => {
    const { stdout } = await pod.exec("iptables-save", ["-c", "-t", "filter"]);
    return sources.map((source) => {
      const line = stdout.split("\n").find((text) => text.includes(`-A INPUT -s ${source}`));
      return Number(/^\[(\d+):/.exec(line ?? "")?.[1] ?? Number.NaN);
    });
  };
}

/** Everything of ours in a node's kernel that has to do with policy. */
export async function policyTraces(node: LabNode): Promise<string> {
  const script = "iptables-save; ip6tables-save; ipset save";
  const { stdout } = await node.exec("sh", ["-c", script]);
  return stdout
    .split("\n")
    .filter((line) => line.includes("FTSP"))
    .join("\n");
}
