// What an operator gets to see of policy on a running cluster: explain, matrix, status, metrics, and lines of denied packets.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import { DAEMON_COMMAND, HEALTH_PORT, httpGet, SUBNET_FILE } from "../../lab/daemon-process.ts";
import type { LabNode, LabPod } from "../../lab/node.ts";
import { showLogsOfFailures, startTestCluster } from "../support/cluster.ts";
import {
  addPod,
  policyCommand,
  reaches,
  serve,
  SERVER_PORT,
  waitUntilReaches,
} from "../support/policy-lab.ts";
import { parsePrometheusText } from "../support/prometheus-text.ts";
import { waitFor } from "../support/wait.ts";

const POLICY = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends-only, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}], ports: [{port: ${SERVER_PORT}}]}]
`;

let cluster: Cluster;
let node: LabNode;
let server: LabPod;
let friend: LabPod;
let stranger: LabPod;

showLogsOfFailures(() => cluster);
beforeAll(async () => {
  const daemonFlags = ["--network-policy", "--policy-log-group=118"];
  // With no more capabilities than the container in deploy/ gives.
  const bounded = ["setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--no-new-privs"];
  const daemonCommand = [...bounded, ...DAEMON_COMMAND];
  cluster = await startTestCluster({ nodes: 1, pods: 0, daemonFlags, daemonCommand });
  node = cluster.node("n1");
  server = await addPod(node, { name: "server", labels: { app: "server" } });
  friend = await addPod(node, { name: "friend", labels: { role: "friend" } });
  stranger = await addPod(node, { name: "stranger", labels: { role: "stranger" } });
  await serve(server);
  await policyCommand(cluster, "apply", POLICY);
  await waitUntilReaches(server.ip, new Map([[friend, true], [stranger, false]])); // prettier-ignore
});
afterAll(() => cluster.close());

/** `flanneld-ts policy ...` on the node. */
async function policy(
  ...args: readonly string[]
): Promise<{ readonly exitCode: number; readonly stdout: string }> {
  const [program = "", ...first] = DAEMON_COMMAND;
  const words = [...first, "policy", ...args, `--subnet-file=${SUBNET_FILE}`];
  return node.exec(program, words, { allowFailure: true });
}

test("policy explain says what packets meet, and that the kernel agrees", async () => {
  const denied = await policy("explain", "stranger", `server:${SERVER_PORT}`);
  expect(denied.stdout).toContain(`DENIED: pod default/stranger to pod default/server, TCP ${SERVER_PORT}`);
  expect(denied.stdout).toContain(
    `nearest rule: default/friends-only ingress[0] allows TCP ${SERVER_PORT} from pods role=friend of namespace default, ` +
      "but default/stranger is none of these (labels role=stranger)",
  );
  // A node that etcd knows has no name but its address.
  expect(denied.stdout).toContain(`Kernel of ${node.address}: agrees`);
  expect(denied.exitCode).toBe(1);
  const allowed = await policy("explain", "friend", `server:${SERVER_PORT}`);
  expect(allowed.stdout).toContain("ALLOWED");
  expect(allowed.exitCode).toBe(0);
});

test("policy matrix shows who reaches whom", async () => {
  const { exitCode, stdout } = await policy("matrix", "--port", String(SERVER_PORT));
  expect(exitCode).toBe(0);
  expect(stdout).toContain(`
  1 default/friend    . . .
  2 default/server    . . .
  3 default/stranger  . X .
`);
});

test("policy status shows the policy in force, and whose packets were denied", async () => {
  await reaches(stranger, server.ip);
  const { stdout } = await waitFor(
    "policy to be in force, and a denied packet to be counted",
    async () => {
      const said = await policy("status");
      return said.exitCode === 0 && said.stdout.includes("to default/server: ") ? said : undefined;
    },
    { timeoutMs: 60_000, intervalMs: 500 },
  );
  expect(stdout).toContain(`Network policy of ${node.address}: IN FORCE`);
  expect(stdout).toMatch(/^ {2}default\/friends-only +\S+ +\d+ \S+.* +ingress 1 +server$/m);
});

test("metrics name denied pods and tell how long events took, in a form that a strict reader takes", async () => {
  await reaches(stranger, server.ip);
  const scrape = async () => {
    const answer = await httpGet(node, HEALTH_PORT, "/metrics");
    const families = parsePrometheusText(answer?.body ?? "");
    return (name: string, series = name) => families.get(name)?.series.get(series);
  };
  const value = await waitFor(
    "a denied packet in the metrics",
    async () => {
      const read = await scrape();
      const denied =
        'flanneld_policy_denied_packets_total{namespace="default",pod="server",direction="ingress"}';
      return (read("flanneld_policy_denied_packets_total", denied) ?? 0) > 0 ? read : undefined;
    },
    { timeoutMs: 60_000, intervalMs: 500 },
  );
  expect(value("flanneld_ready")).toBe(1);
  expect(value("flanneld_leases")).toBe(1);
  expect(value("flanneld_policy_isolated_pods")).toBe(1);
  expect(value("flanneld_policy_problems")).toBe(0);
  const took = "flanneld_policy_event_to_kernel_seconds";
  expect(value(took, `${took}_count`)).toBeGreaterThan(0);
});

test("a denied packet makes a log line with pod, packet, policies and the nearest rule", async () => {
  const line = await waitFor(
    "the line",
    async () => {
      await reaches(stranger, server.ip);
      return node.daemon
        .log()
        .split("\n")
        .find((text) => text.includes("denied ingress of default/server"));
    },
    { timeoutMs: 60_000, intervalMs: 500 },
  );
  expect(line).toContain(
    `denied ingress of default/server: TCP ${SERVER_PORT} from ${stranger.ip} to ${server.ip}, isolated by default/friends-only`,
  );
});
