// Network policy of the real daemon with the fake API server: what CNI ADD hands over, and what the API says of the same pods.
import { afterEach, beforeEach, expect, test } from "vitest";
import { startFakeKube } from "../support/fake-kube/fake-kube.ts";
import type { FakeKube } from "../support/fake-kube/fake-kube.ts";
import { httpGet } from "../support/http.ts";
import type { HttpAnswer } from "../support/http.ts";
import { bareNode, nodeObject } from "../support/kube-nodes.ts";
import { startKubeNode } from "../support/kube-node.ts";
import type { KubeNode } from "../support/kube-node.ts";
import { waitFor } from "../support/wait.ts";

const NET_CONF = { Network: "10.244.0.0/16", Backend: { Type: "vxlan" } };
const IP = "10.244.7.5";

let fake: FakeKube;
let node: KubeNode;
beforeEach(async () => {
  fake = await startFakeKube();
  fake.put("nodes", bareNode("n7", "10.244.7.0/24"));
  fake.put("namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name: "a" } });
  fake.put("networkpolicies", {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { namespace: "a", name: "closed" },
    spec: { podSelector: { matchLabels: { app: "db" } }, policyTypes: ["Ingress", "Egress"] },
  });
  node = await startKubeNode(fake, { nodeName: "n7", netConf: NET_CONF, flags: ["--network-policy"] });
  await node.daemon.start();
});
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") process.stderr.write(node.daemon.log());
  await node.close();
  await fake.close();
});

function putPod(name: string, ips: readonly string[] = []): void {
  fake.put("pods", {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace: "a", name, uid: `uid-${name}`, labels: { app: "db" } },
    spec: { nodeName: "n7", containers: [] },
    status: { phase: "Running", podIPs: ips.map((ip) => ({ ip })) },
  });
}

function ask(method: string, path: string, body?: object): Promise<HttpAnswer> {
  const socketPath = node.machine.hostPath("/run/flannel/flanneld.sock");
  return httpGet({ socketPath }, path, method, body === undefined ? "" : JSON.stringify(body));
}

function attach(name: string, containerId: string, ip: string): Promise<HttpAnswer> {
  const pod = { namespace: "a", name, uid: `uid-${name}` };
  return ask("POST", "/v1/attachments", { containerId, ifName: "eth0", ...pod, ips: [ip] });
}

/** Sets that hold the address: of isolated pods in both directions, of known ones, and of those whose packets are counted. */
async function setsWith(ip: string): Promise<number> {
  const saved = await node.run("ipset save");
  return saved.split("\n").filter((line) => line.startsWith("add ") && line.split(" ")[2] === ip).length;
}

const ISOLATED_AND_KNOWN = 5;

test("ADD is answered when the pod, once the API shows it, is isolated and known", async () => {
  const waiting = attach("db", "c1", IP);
  await waitFor("the daemon to wait", async () => (await node.daemon.status()).policy?.waiting === 1);
  expect(await setsWith(IP)).toBe(0);
  putPod("db");
  // On a slow machine the first request may have been answered already: not yet. The plugin asks again, too.
  const first = await waiting;
  const answer = first.status === 503 ? await attach("db", "c1", IP) : first;
  expect(answer).toMatchObject({ status: 200, body: '{"inForce":true}\n' });
  expect(await setsWith(IP)).toBe(ISOLATED_AND_KNOWN);

  // A daemon that was killed knows the address, which the API does not show yet, before its first pass.
  await node.daemon.restart("SIGKILL");
  expect(await setsWith(IP)).toBe(ISOLATED_AND_KNOWN);
  expect((await node.daemon.status()).policy).toMatchObject({ enforced: true, attachments: 1, waiting: 0 });

  // DEL closes the address though the API still shows it; the next pod that gets it is another.
  putPod("db", [IP]);
  expect((await ask("DELETE", "/v1/attachments?containerId=c1&ifName=eth0")).status).toBe(200);
  expect(await setsWith(IP)).toBe(0);
  putPod("next");
  expect((await attach("next", "c2", IP)).status).toBe(200);
  expect(await setsWith(IP)).toBe(ISOLATED_AND_KNOWN);

  // What the API no longer has is closed, though nobody called DEL.
  fake.delete("pods", "next", "a");
  await waitFor("the pod to be forgotten", async () => (await setsWith(IP)) === 0);
  expect(await node.run("ls /run/flannel/attachments")).not.toContain("c2");
});

test("leases and policy read the Nodes of the cluster together: one list, one watch", async () => {
  fake.put("nodes", nodeObject("n8", { index: 8 }));
  await waitFor("the route", async () => (await node.run("ip route")).includes("10.244.8.0/24"));
  // It is in force only when it has heard of Nodes, too.
  expect((await node.daemon.status()).policy).toMatchObject({ enforced: true });
  const ofNodes = fake.requests.filter(({ path }) => path.startsWith("/api/v1/nodes?"));
  expect(ofNodes.map(({ verb }) => verb)).toEqual(["list", "watch"]);
});

test("wrong requests are refused in words, and GC ends what is not listed", async () => {
  const nameless = await ask("POST", "/v1/attachments", { containerId: "c", ifName: "eth0", ips: [IP] });
  expect(nameless).toMatchObject({ status: 422 });
  expect(nameless.body).toContain("K8S_POD_NAME");
  const wrong = { containerId: "../c", ifName: "e/0", namespace: "A", name: "x", ips: ["10.0.0"] };
  const refused = await ask("POST", "/v1/attachments", wrong);
  expect(refused.status).toBe(400);
  for (const field of ["containerId", "ifName", "namespace", "ips[0]"]) expect(refused.body).toContain(field);
  expect((await ask("POST", "/v1/attachments/gc", {})).body).toContain("valid: must be a list");
  expect((await ask("DELETE", "/v1/attachments")).status).toBe(400);
  expect((await ask("GET", "/v1/policy/readiness")).status).toBe(200);

  putPod("db");
  putPod("web");
  expect((await attach("db", "c1", IP)).status).toBe(200);
  expect((await attach("web", "c2", "10.244.7.6")).status).toBe(200);
  const collected = await ask("POST", "/v1/attachments/gc", {
    valid: [{ containerId: "c2", ifName: "eth0" }],
  });
  expect(collected.body).toBe('{"collected":1}\n');
  await waitFor("the address to be closed", async () => (await setsWith(IP)) === 0);
  expect(await setsWith("10.244.7.6")).toBe(ISOLATED_AND_KNOWN);
});

test("without the API a started daemon is not ready, and leaves the rules of the last one", async () => {
  putPod("db");
  expect((await attach("db", "c1", IP)).status).toBe(200);
  const rules = async (): Promise<string> =>
    (await node.run("iptables-save -t filter")).replaceAll(/^#.*|\[\d+:\d+\]/gm, "");
  const before = await rules();
  await node.daemon.stop("SIGKILL");
  await fake.faults.down();
  await node.daemon.start({ waitReady: false });
  await waitFor("an answer", async () => (await ask("GET", "/v1/policy/readiness")).status === 503);
  expect(await rules()).toBe(before);
  expect(await setsWith(IP)).toBe(ISOLATED_AND_KNOWN);
});
