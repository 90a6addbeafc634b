// What a lab prints of a cluster: its nodes, its matrix, and hints where cells fail.
import type { Cluster } from "./cluster.ts";
import { listKeys } from "./etcd.ts";
import type { LabNode } from "./node.ts";
import type { Matrix } from "./plan-matrix.ts";
import { renderFailures, renderMatrix, renderNodes } from "./render.ts";
import type { NodeRow, Paint } from "./render.ts";

/** Nodes whose status, routes and log are shown when cells fail. */
const MAX_HINTS = 2;

export async function describeNodes(cluster: Cluster, paint: Paint): Promise<string> {
  const backends = await backendsByPublicIp(cluster);
  const rows = [...cluster.nodes.values()].map((node): NodeRow => {
    const env = node.subnetEnv();
    return {
      name: node.name,
      publicIp: node.address,
      subnet: env["FLANNEL_SUBNET"] ?? "none",
      backend: backends.get(node.address) ?? "none",
      mtu: env["FLANNEL_MTU"] ?? "none",
      pods: [...node.pods.values()].map(({ name, ip }) => `${name}=${ip}`),
    };
  });
  return renderNodes(rows, paint);
}

/** As the leases in etcd have it, which is what the other nodes act upon. */
async function backendsByPublicIp(cluster: Cluster): Promise<Map<string, string>> {
  const leases = [...(await listKeys(cluster.etcd))].filter(([key]) => key.includes("/subnets/"));
  return new Map(
    leases.map(([, value]) => {
      const lease = JSON.parse(value) as { readonly PublicIP: string; readonly BackendType?: string };
      return [lease.PublicIP, lease.BackendType ?? "udp or alloc"];
    }),
  );
}

/** Measures and prints the matrix. @returns true if every cell is right */
export async function reportMatrix(
  cluster: Cluster,
  print: (text: string) => void,
  paint: Paint,
  columns: number,
): Promise<boolean> {
  const matrix = await cluster.matrix();
  print(renderMatrix(matrix, paint, columns));
  const good = matrix.cells.filter(({ ok }) => ok).length;
  if (matrix.ok) {
    print(paint.good(`${good} of ${matrix.cells.length} cells are right`));
    print(": pings of the pod's full MTU, unfragmented; outside has no route to a pod and sees its node\n");
    return true;
  }
  print(paint.bad(`${matrix.cells.length - good} of ${matrix.cells.length} cells FAILED:\n`));
  print(renderFailures(matrix));
  for (const node of suspects(cluster, matrix).slice(0, MAX_HINTS)) print(await describeNode(node));
  return false;
}

/** Nodes by the number of failed cells that they take part in. */
function suspects(cluster: Cluster, matrix: Matrix): LabNode[] {
  const podNodes = new Map(cluster.pods().map((pod) => [pod.name, pod.node]));
  const counts = new Map<LabNode, number>();
  for (const { from, to } of matrix.cells.filter(({ ok }) => !ok)) {
    for (const node of [podNodes.get(from), podNodes.get(to) ?? cluster.nodes.get(to)]) {
      if (node !== undefined) counts.set(node, (counts.get(node) ?? 0) + 1);
    }
  }
  return [...counts].toSorted(([, a], [, b]) => b - a).map(([node]) => node);
}

/** The daemon's own view, the kernel's routes, and the end of the daemon's log. */
export async function describeNode(node: LabNode): Promise<string> {
  const status = await node.daemon.command("status").catch((error: unknown) => (error as Error).message);
  const { stdout: routes } = await node.exec("ip", ["route"], { allowFailure: true });
  const log = node.daemon.log().trimEnd().split("\n").slice(-5).join("\n");
  const part = (title: string, text: string): string =>
    `  ${title}:\n${text.trimEnd().replaceAll(/^/gm, "    ")}\n`;
  const state = node.daemon.isRunning() ? "" : " (NOT RUNNING)";
  return (
    `\n${node.name}${state}\n` +
    part("status", status) +
    part("ip route", routes) +
    part(`end of ${node.daemon.logFile}`, log)
  );
}
