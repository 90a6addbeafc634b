// The subnet manager and the mirror against a real kube-apiserver, with no more rights than flannel's manifest gives.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { createKubeSubnetManager } from "../../src/ipam/kube-subnet-manager.ts";
import type { Lease, LeaseBook } from "../../src/ipam/lease.ts";
import { applyLeaseEvent } from "../../src/ipam/lease.ts";
import { createKubeClient } from "../../src/kube/api-client.ts";
import type { KubeClient } from "../../src/kube/api-client.ts";
import { createEventWriter } from "../../src/kube/events.ts";
import { parseIp } from "../../src/net/ip.ts";
import { createKubeCaller } from "../support/kube-caller.ts";
import type { KubeCaller } from "../support/kube-caller.ts";
import { QUICK } from "../support/kube-mirror.ts";
import { bareNode, nodeObject } from "../support/kube-nodes.ts";
import { memoryLogger } from "../support/memory-logger.ts";
import { startRealApiServer } from "../support/real-kube/apiserver.ts";
import type { RealApiServer } from "../support/real-kube/apiserver.ts";
import { waitFor } from "../support/wait.ts";

const PREFIX = "flannel.alpha.coreos.com";

let server: RealApiServer;
let admin: KubeCaller;
let directory: string;
beforeAll(async () => {
  server = await startRealApiServer({
    tokens: { "flannel-token": "flannel", "events-token": "events" },
  });
  admin = createKubeCaller({
    url: server.url,
    ca: readFileSync(server.certificates.ca),
    token: server.adminToken,
  });
  directory = mkdtempSync(path.join(tmpdir(), "fts-real-kube-"));
  writeFileSync(
    path.join(directory, "net-conf.json"),
    '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}',
  );
  // The rules of flannel's own manifest.
  await grant("flannel", [
    { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
    { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
    { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
  ]);
  await grant("events", [{ apiGroups: [""], resources: ["events"], verbs: ["create", "patch"] }]);
});
afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function must(method: string, url: string, body?: unknown): Promise<void> {
  const answer = await admin(method, url, { body });
  if (answer.status >= 300) throw new Error(`${method} ${url}: ${answer.text}`);
}

async function grant(user: string, rules: readonly object[]): Promise<void> {
  const rbac = "/apis/rbac.authorization.k8s.io/v1";
  await must("POST", `${rbac}/clusterroles`, { metadata: { name: user }, rules });
  await must("POST", `${rbac}/clusterrolebindings`, {
    metadata: { name: user },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: user },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: user }],
  });
}

function clientFor(token: string): KubeClient {
  const ca = readFileSync(server.certificates.ca, "utf8");
  const client = createKubeClient({
    baseUrl: server.url,
    source: "a test",
    credentials: () => Promise.resolve({ ca, token }),
  });
  cleanups.push(() => client.close());
  return client;
}

test("publishes, mirrors, follows, and catches up with a server that was killed", async () => {
  await must("POST", "/api/v1/nodes", bareNode("me"));
  await must("POST", "/api/v1/nodes", nodeObject("peer1", { index: 1 }));
  const log = memoryLogger();
  const manager = createKubeSubnetManager(
    {
      client: clientFor("flannel-token"),
      identity: { nodeName: "me" },
      annotationPrefix: PREFIX,
      netConfigPath: path.join(directory, "net-conf.json"),
      setNodeNetworkUnavailable: true,
      timing: { ...QUICK, maxBackoffMs: 500 },
    },
    { log },
  );
  const stop = new AbortController();
  cleanups.push(async () => {
    stop.abort();
    await manager.close();
  });
  const acquiring = manager.acquire(
    {
      publicIp: parseIp("192.0.2.9"),
      attributes: () => ({
        publicIp: parseIp("192.0.2.9"),
        backendType: "vxlan",
        backendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:09" },
      }),
    },
    stop.signal,
  );
  await waitFor("the reason", () => manager.health().problem?.includes("pod cidr not assigned"));
  await must("PUT", "/api/v1/nodes/me", bareNode("me", "10.244.9.0/24"));
  const lease: Lease = await acquiring;
  expect(lease.subnet).toBe("10.244.9.0/24");

  let book: LeaseBook = new Map();
  void manager.watchLeases((event) => void (book = applyLeaseEvent(book, event)), stop.signal);
  void manager.keepLease(lease, stop.signal);
  manager.markReady();
  const me = async () => (await admin("GET", "/api/v1/nodes/me")).text;
  await waitFor("annotations and condition", async () => {
    const text = await me();
    return text.includes("FlannelIsUp") && text.includes("0a:00:00:00:00:09");
  });
  await waitFor("the peer", () => book.has("10.244.1.0/24"));

  await server.kill();
  await waitFor("the problem", () => !manager.health().connected);
  await server.start();
  await must("POST", "/api/v1/nodes", nodeObject("peer2", { index: 2 }));
  await must("DELETE", "/api/v1/nodes/peer1");
  await waitFor("the change", () => book.has("10.244.2.0/24") && !book.has("10.244.1.0/24"), {
    timeoutMs: 30_000,
  });
  await waitFor("all well", () => manager.health().connected && manager.health().problem === undefined);
  expect([...book.keys()].toSorted()).toEqual(["10.244.2.0/24", "10.244.9.0/24"]);
});

test("an Event that kubectl describe finds; without the right, one warning", async () => {
  const stop = new AbortController();
  const log = memoryLogger();
  const event = { type: "Warning", reason: "Trouble", message: "what and why" } as const;
  const options = { nodeName: "me" };
  let now = Date.now();
  const allowed = createEventWriter(
    options,
    { client: clientFor("events-token"), log, now: () => now },
    stop.signal,
  );
  allowed.write(event);
  await allowed.idle();
  now += 11 * 60_000;
  allowed.write(event);
  await allowed.idle();
  const query = "fieldSelector=involvedObject.kind%3DNode,involvedObject.name%3Dme,involvedObject.uid%3Dme";
  const { body } = await admin("GET", `/api/v1/events?${query}`);
  expect((body as { items: readonly object[] }).items).toMatchObject([{ reason: "Trouble", count: 2 }]);
  expect(log.lines).toEqual([]);

  const refused = createEventWriter(options, { client: clientFor("flannel-token"), log }, stop.signal);
  refused.write(event);
  await refused.idle();
  expect(log.lines.map(({ level }) => level)).toEqual(["warn"]);
  expect(JSON.stringify(log.lines[0]?.fields["cure"])).toContain("events");
});
