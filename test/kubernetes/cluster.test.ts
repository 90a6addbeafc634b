// The real cluster that the other tests stand on: nodes join, wait for a network, and get one by hand.
import { mkdirSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startRealCluster } from "../support/real-kube/cluster.ts";
import type { RealCluster } from "../support/real-kube/cluster.ts";
import { BUSYBOX_IMAGE } from "../support/real-kube/image.ts";
import { waitFor } from "../support/wait.ts";

let cluster: RealCluster;

beforeAll(async () => {
  cluster = await startRealCluster({ nodes: 2, kubeProxy: true });
});

afterAll(async () => await cluster?.close());

interface NodeList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly spec: { readonly podCIDR: string };
    readonly status: { readonly conditions: readonly { type: string; status: string; message: string }[] };
  }[];
}

test("nodes register, get a podCIDR and are not ready without a network", async () => {
  const { items } = await cluster.get<NodeList>("nodes");
  expect(items.map(({ metadata }) => metadata.name).toSorted()).toEqual(["n1", "n2"]);
  expect(new Set(items.map(({ spec }) => spec.podCIDR)).size).toBe(2);
  for (const { spec, status } of items) {
    expect(spec.podCIDR).toMatch(/^10\.244\.\d+\.0\/24$/);
    const ready = status.conditions.find(({ type }) => type === "Ready");
    expect(ready).toMatchObject({ status: "False", message: expect.stringContaining("cni") as string });
  }
});

test("with a bridge conflist written by hand they are ready, and a pod runs on each", async () => {
  const { items } = await cluster.get<NodeList>("nodes");
  for (const { metadata, spec } of items) {
    const confDir = cluster.node(metadata.name).machine.hostPath("/etc/cni/net.d");
    mkdirSync(confDir, { recursive: true });
    writeFileSync(`${confDir}/10-bridge.conflist`, JSON.stringify(bridgeConflist(spec.podCIDR)));
  }
  await waitFor("both nodes to be ready", async () => (await cluster.readyNodes()).length === 2, {
    timeoutMs: 60_000,
    intervalMs: 200,
  });
  for (const name of ["n1", "n2"]) await cluster.apply(JSON.stringify(podOn(name)));
  await cluster.kubectl("wait", "--for=condition=Ready", "pod/on-n1", "pod/on-n2", "--timeout=60s");
  const said = await cluster.kubectl("exec", "on-n2", "--", "cat", "/proc/self/comm");
  expect(said).toBe("cat\n");
});

test("kube-proxy brings nodes to the API server's Service", async () => {
  for (const node of cluster.nodes.values()) {
    await node.exec("/bin/busybox", ["nc", "-w", "5", "10.96.0.1", "443"], { input: "" });
  }
});

test("a node that is added joins, and one that is removed is gone", async () => {
  const { name } = await cluster.addNode();
  expect(name).toBe("n3");
  await cluster.removeNode("n3");
  expect((await cluster.get<NodeList>("nodes")).items).toHaveLength(2);
});

test("the API server comes back after a SIGKILL with everything it knew", async () => {
  await cluster.controlPlane.apiServer.stop("SIGKILL");
  await cluster.controlPlane.apiServer.start();
  expect(await cluster.kubectl("get", "pods", "-o", "name")).toBe("pod/on-n1\npod/on-n2\n");
});

function bridgeConflist(subnet: string): unknown {
  const ipam = { type: "host-local", ranges: [[{ subnet }]], routes: [{ dst: "0.0.0.0/0" }] };
  return {
    cniVersion: "0.4.0",
    name: "br",
    plugins: [{ type: "bridge", bridge: "cni0", isGateway: true, ipam }],
  };
}

function podOn(nodeName: string): unknown {
  const container = { name: "main", image: BUSYBOX_IMAGE, imagePullPolicy: "Never" };
  // A pod by hand on one node, whatever taints it has.
  const spec = { nodeName, containers: [container], terminationGracePeriodSeconds: 0 };
  return { apiVersion: "v1", kind: "Pod", metadata: { name: `on-${nodeName}` }, spec };
}
