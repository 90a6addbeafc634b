// lab --policy FILE: who reaches whom before and after, with real connections, and why one of them is denied.
import { readFileSync } from "node:fs";
import path from "node:path";
import { parseDocuments } from "../src/cli/policy-parse.ts";
import type { Cluster } from "./cluster.ts";
import { DAEMON_COMMAND, SUBNET_FILE } from "./daemon-process.ts";
import type { LabNode, LabPod, PodExtra } from "./node.ts";
import { planPolicyPods, podArgs } from "./plan-policy.ts";
import type { PodRole } from "./plan-policy.ts";
import { renderTable } from "./render.ts";
import type { Paint } from "./render.ts";
import { waitUntil } from "./wait.ts";

export interface PolicyShow {
  /** For each pod that is made. */
  readonly podExtra: (name: string) => PodExtra;
  /**
   * Measures, applies the file, and measures again until packets do what the policies say.
   * @returns true if that came to be
   */
  run(
    cluster: Cluster,
    modules: { readonly print: (text: string) => void; readonly paint: Paint },
  ): Promise<boolean>;
}

const OBEY_TIMEOUT_MS = 30_000;
const TELL_SOURCE = path.join(import.meta.dirname, "tell-source.ts");

/** @throws system errors of reading the file */
export function preparePolicy(file: string, podsPerNode: number): PolicyShow {
  const text = readFileSync(file, "utf8");
  const plan = planPolicyPods(parseDocuments(text, file).flatMap(({ input }) => input ?? []));
  const roles = new Map<string, PodRole>();
  return {
    podExtra: (name) => {
      // By its place and not by who comes first, so that a lab looks the same each time.
      const [, node = "1", pod = "1"] = /^n(\d+)-p(\d+)$/.exec(name) ?? [];
      const index = (Number(node) - 1) * podsPerNode + Number(pod) - 1;
      const role = plan.roles[index % plan.roles.length] ?? { namespace: "default", labels: {} };
      roles.set(name, role);
      return { args: podArgs(name, role, plan) };
    },
    async run(cluster, { print, paint }) {
      const pods = cluster.pods();
      const [node] = cluster.nodes.values();
      if (node === undefined || pods.length < 2) throw new Error("--policy needs a node and two pods");
      await Promise.all(pods.map((pod) => serve(pod, plan.port)));
      const keys = new Map(
        pods.map((pod) => [pod, `${roles.get(pod.name)?.namespace ?? "default"}/${pod.name}`]),
      );
      const show = (measured: Reached): string => renderReached(pods, keys, measured, paint);
      print(`\nPods of the policies in ${file}, who connect to TCP port ${plan.port} of each other:\n`);
      print(renderTable(pods.map((pod) => [keys.get(pod) ?? "", pod.ip, formatLabels(roles.get(pod.name))])));
      print(`\nBefore:\n${show(await measure(pods, plan.port))}`);
      const objects = plan.namespaces.map((object) => `---\n${JSON.stringify(object)}\n`).join("");
      print(`\n${await apply(cluster, node, objects === "" ? text : `${objects}---\n${text}`)}`);
      const outcome = await untilObeyed(pods, keys, plan.port);
      print(`\nAfter:\n${show(outcome.measured)}`);
      const denied = pairs(pods).find(([from, to]) => !outcome.measured.has(`${from.name} ${to.name}`));
      if (denied !== undefined) print(`\n${await explain(denied, keys, plan.port)}`);
      const agreed = outcome.isObeyed;
      const sum = `${pairs(pods).length} connections tried, ${outcome.measured.size} made`;
      print(
        agreed ? paint.good(`${sum}: as the policies say\n`) : paint.bad(`${sum}: NOT as the policies say\n`),
      );
      return agreed;
    },
  };
}

/** "FROM TO" of each connection that was made. */
type Reached = ReadonlySet<string>;

function pairs(pods: readonly LabPod[]): readonly (readonly [LabPod, LabPod])[] {
  return pods.flatMap((from) => pods.filter((to) => to !== from).map((to) => [from, to] as const));
}

function formatLabels(role: PodRole | undefined): string {
  const labels = Object.entries(role?.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return labels.length === 0 ? "no labels" : labels.join(",");
}

async function serve(pod: LabPod, port: number): Promise<void> {
  const server = await pod.spawn(process.execPath, [TELL_SOURCE, pod.ip, String(port)], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await new Promise<void>((resolve, reject) => {
    server.child.stdout?.once("data", () => resolve());
    void server.ended.then(() => reject(new Error(`${pod.name}: its server on port ${port} ended`)));
  });
}

/** One shell per pod tries all others side by side, a second each. */
async function measure(pods: readonly LabPod[], port: number): Promise<Reached> {
  const script =
    'port=$1; shift; for to; do (timeout 1 bash -c "exec 3<>/dev/tcp/${to#*=}/$port && cat <&3 >/dev/null" 2>/dev/null && echo "${to%%=*}") & done; wait';
  const rows = pods.map(async (from) => {
    const others = pods.filter((to) => to !== from).map(({ name, ip }) => `${name}=${ip}`);
    const { stdout } = await from.exec("bash", ["-c", script, "measure", String(port), ...others]);
    return stdout.split("\n").filter(Boolean).map((to) => `${from.name} ${to}`); // prettier-ignore
  });
  return new Set((await Promise.all(rows)).flat());
}

function renderReached(
  pods: readonly LabPod[],
  keys: ReadonlyMap<LabPod, string>,
  reached: Reached,
  paint: Paint,
): string {
  const cell = (from: LabPod, to: LabPod) => {
    if (from === to) return { text: "-", paint: paint.faint };
    const isReached = reached.has(`${from.name} ${to.name}`);
    return isReached ? { text: "open", paint: paint.good } : { text: "DENIED", paint: paint.bad };
  };
  return renderTable([
    ["", ...pods.map(({ name }) => ({ text: name, paint: paint.faint }))],
    ...pods.map((from) => [keys.get(from) ?? from.name, ...pods.map((to) => cell(from, to))]),
  ]);
}

/** @param isAnswer exit codes that come with an answer */
async function command(
  node: LabNode,
  args: readonly string[],
  { input = "", isAnswer = (code: number): boolean => code === 0 } = {},
): Promise<string> {
  const [program = "", ...first] = DAEMON_COMMAND;
  const { exitCode, stdout, stderr } = await node.exec(program, [...first, ...args], {
    input,
    allowFailure: true,
  });
  if (!isAnswer(exitCode)) throw new Error(`${args.slice(0, 2).join(" ")}:\n${(stderr || stdout).trimEnd()}`);
  return stdout;
}

function apply({ etcd }: Cluster, node: LabNode, yaml: string): Promise<string> {
  return command(node, ["policy", "apply", "-f", "-", ...etcd.daemonFlags], { input: yaml });
}

/** Measures until it is what every node's daemon expects of the policies that it has been told of. */
async function untilObeyed(
  pods: readonly LabPod[],
  keys: ReadonlyMap<LabPod, string>,
  port: number,
): Promise<{ readonly measured: Reached; readonly isObeyed: boolean }> {
  let measured: Reached = new Set();
  try {
    await waitUntil(
      "packets to do what the policies say",
      async () => {
        const wanted = await Promise.all(
          [...new Set(pods.map(({ node }) => node))].map((node) => expected(node, pods, keys, port)),
        );
        measured = await measure(pods, port);
        const text = [...measured].toSorted().join();
        return wanted.every((each) => [...each].toSorted().join() === text);
      },
      { timeoutMs: OBEY_TIMEOUT_MS, intervalMs: 200 },
    );
    return { measured, isObeyed: true };
  } catch {
    return { measured, isObeyed: false };
  }
}

/** As `policy matrix` says it. */
async function expected(
  node: LabNode,
  pods: readonly LabPod[],
  keys: ReadonlyMap<LabPod, string>,
  port: number,
): Promise<Reached> {
  const args = ["policy", "matrix", `--port=${port}`, "-o", "json", `--subnet-file=${SUBNET_FILE}`];
  const report = JSON.parse(await command(node, args)) as {
    readonly pods: readonly string[];
    readonly cells: readonly (readonly string[])[];
  };
  const at = (pod: LabPod): number => report.pods.indexOf(keys.get(pod) ?? "");
  return new Set(
    pairs(pods)
      .filter(([from, to]) => report.cells[at(from)]?.[at(to)] === "allowed")
      .map(([from, to]) => `${from.name} ${to.name}`),
  );
}

async function explain(
  [from, to]: readonly [LabPod, LabPod],
  keys: ReadonlyMap<LabPod, string>,
  port: number,
): Promise<string> {
  const question = [keys.get(from) ?? "", `${keys.get(to)}:${port}`];
  const args = ["policy", "explain", ...question, `--subnet-file=${SUBNET_FILE}`];
  // 1: denied, which is what is to be explained; 3: the kernel disagrees, which must be seen.
  const text = await command(to.node, args, { isAnswer: (code) => code !== 2 });
  return `Why? flanneld-ts policy explain ${question.join(" ")}\n${text}`;
}
