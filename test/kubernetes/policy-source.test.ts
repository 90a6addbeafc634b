// The policy source against a real kube-apiserver, with just the rights that our manifest gives.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll } from "vitest";
import { parseAllDocuments } from "yaml";
import { createKubeClient } from "../../src/kube/api-client.ts";
import { createKubePolicySource } from "../../src/policy/kube-policy-source.ts";
import type { PolicyKind } from "../../src/policy/source.ts";
import { createKubeCaller } from "../support/kube-caller.ts";
import type { KubeAnswer, KubeCaller } from "../support/kube-caller.ts";
import { QUICK } from "../support/kube-mirror.ts";
import { policySourceCompliance } from "../support/policy-source-compliance.ts";
import type { Manifest, PolicyStoreDriver } from "../support/policy-source-compliance.ts";
import { startRealApiServer } from "../support/real-kube/apiserver.ts";
import type { RealApiServer } from "../support/real-kube/apiserver.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import type { TcpProxy } from "../support/tcp-proxy.ts";
import { waitFor } from "../support/wait.ts";

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const OWN_NAMESPACES = /^(default|kube-.*)$/;
const PATIENCE = { timeoutMs: 50_000 };

let server: RealApiServer;
let proxy: TcpProxy;
let admin: KubeCaller;

beforeAll(async () => {
  server = await startRealApiServer({ tokens: { "flannel-token": "flannel" } });
  const ca = readFileSync(server.certificates.ca);
  admin = createKubeCaller({ url: server.url, ca, token: server.adminToken });
  proxy = await startTcpProxy(Number(new URL(server.url).port));
  const role = parseAllDocuments(readFileSync("deploy/kube-flannel.yml", "utf8"))
    .map((document) => document.toJS() as { kind: string; rules?: object })
    .find(({ kind }) => kind === "ClusterRole");
  await must("POST", `${RBAC}/clusterroles`, { metadata: { name: "flannel" }, rules: role?.rules });
  await must("POST", `${RBAC}/clusterrolebindings`, {
    metadata: { name: "flannel" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "flannel" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "flannel" }],
  });
});
afterAll(async () => {
  await proxy?.close();
  await server?.close();
});

async function must(method: string, url: string, body?: unknown): Promise<KubeAnswer> {
  const answer = await admin(method, url, { body });
  if (answer.status >= 300) throw new Error(`${method} ${url}: ${answer.text}`);
  return answer;
}

const COLLECTIONS: Readonly<Record<PolicyKind, string>> = {
  namespaces: "/api/v1/namespaces",
  nodes: "/api/v1/nodes",
  pods: "/api/v1/pods",
  policies: "/apis/networking.k8s.io/v1/networkpolicies",
};

function collectionOf(kind: PolicyKind, namespace: string | undefined): string {
  const url = COLLECTIONS[kind];
  if (namespace === undefined) return url;
  return url.replace(/\/([a-z]+)$/, `/namespaces/${namespace}/$1`);
}

/** What the server has in the cache that lists are answered from is as new as this. */
async function untilCached(kind: PolicyKind, version: string): Promise<void> {
  await waitFor(
    "the server's cache",
    async () => {
      const { body } = await admin("GET", `${COLLECTIONS[kind]}?resourceVersion=0`);
      return Number(body?.metadata?.resourceVersion) >= Number(version);
    },
    PATIENCE,
  );
}

async function put(kind: PolicyKind, object: Manifest): Promise<void> {
  const { name, namespace } = object.metadata;
  const url = `${collectionOf(kind, namespace)}/${name}`;
  const before = await admin("GET", url);
  const { status, ...rest } = object;
  let answer: KubeAnswer;
  if (before.status === 404) answer = await must("POST", collectionOf(kind, namespace), rest);
  else if (kind === "pods") {
    // Of a pod little but its labels may be changed.
    const { body } = before;
    answer = await must("PUT", url, {
      ...body,
      metadata: { ...body.metadata, labels: object.metadata.labels },
    });
  } else {
    const { resourceVersion } = before.body.metadata as { resourceVersion: string };
    answer = await must("PUT", url, { ...rest, metadata: { ...object.metadata, resourceVersion } });
  }
  if (status !== undefined) {
    const { body } = answer;
    answer = await must("PUT", `${url}/status`, {
      ...body,
      status: { ...body.status, ...(status as object) },
    });
  }
  await untilCached(kind, answer.body.metadata.resourceVersion as string);
}

async function remove(kind: PolicyKind, name: string, namespace?: string): Promise<void> {
  if (kind === "namespaces") return removeNamespace(name);
  await must("DELETE", `${collectionOf(kind, namespace)}/${name}`, { gracePeriodSeconds: 0 });
}

/** What the namespace controller does. */
async function removeNamespace(name: string): Promise<void> {
  await must("DELETE", `/api/v1/namespaces/${name}`);
  for (const kind of ["policies", "pods"] as const) {
    const { body } = await must("GET", collectionOf(kind, name));
    for (const { metadata } of body.items as readonly Manifest[]) await remove(kind, metadata.name, name);
  }
  const { body } = await must("GET", `/api/v1/namespaces/${name}`);
  await must("PUT", `/api/v1/namespaces/${name}/finalize`, { ...body, spec: { finalizers: [] } });
}

async function clear(): Promise<void> {
  const { body } = await must("GET", COLLECTIONS.namespaces);
  for (const { metadata } of body.items as readonly Manifest[])
    if (!OWN_NAMESPACES.test(metadata.name)) await removeNamespace(metadata.name);
  const nodes = await must("GET", COLLECTIONS.nodes);
  for (const { metadata } of nodes.body.items as readonly Manifest[]) await remove("nodes", metadata.name);
  for (const kind of ["nodes", "namespaces", "pods", "policies"] as const) {
    await waitFor(
      `no ${kind}`,
      async () => {
        const cached = await admin("GET", `${COLLECTIONS[kind]}?resourceVersion=0`);
        const items = cached.body.items as readonly Manifest[];
        return items.every(({ metadata }) => kind === "namespaces" && OWN_NAMESPACES.test(metadata.name));
      },
      PATIENCE,
    );
  }
}

async function openReal(): Promise<PolicyStoreDriver> {
  await clear();
  const ca = readFileSync(server.certificates.ca, "utf8");
  const client = createKubeClient({
    baseUrl: `https://127.0.0.1:${proxy.port}`,
    source: "a test",
    credentials: () => Promise.resolve({ ca, token: "flannel-token" }),
  });
  return {
    createSource: () => createKubePolicySource({ client, timing: QUICK }),
    put,
    remove,
    whileAway: async (changes, { loseHistory = false } = {}) => {
      proxy.stall();
      proxy.cut();
      await changes();
      if (loseHistory) await server.restart();
      proxy.resume();
      proxy.cut();
    },
    cut: () => proxy.cut(),
    down: () => server.kill(),
    up: () => server.start(),
    close: () => Promise.resolve(client.close()),
  };
}

policySourceCompliance("a real kube-apiserver", openReal, { validates: true });
