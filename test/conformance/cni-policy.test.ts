// The executable and network policy: what it tells the daemon and when, and what it makes of each answer and of none.
import { createServer } from "node:http";
import type { Server } from "node:http";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { exec } from "../../src/kernel/exec.ts";
import { CniNode } from "../support/cni.ts";
import type { Json } from "../support/cni.ts";

interface Asked {
  readonly method: string;
  readonly url: string;
  readonly body: string;
  /** Addresses that are given out at that moment. */
  readonly reserved: readonly string[];
}

type Answer = readonly [status: number, body: string] | "silence";

let node: CniNode;
let server: Server;
let asked: Asked[];
/** One per request; the last one also answers all further ones. */
let answers: Answer[];

beforeEach(async () => {
  node = await CniNode.create();
  asked = [];
  answers = [[200, "{}"]];
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      const { method = "", url = "" } = request;
      asked.push({ method, url, body, reserved: node.reservedAddresses() });
      const answer = (answers.length > 1 ? answers.shift() : answers[0]) ?? "silence";
      if (answer !== "silence") response.writeHead(answer[0]).end(answer[1]);
    });
  });
  await listen();
});
afterEach(async () => {
  await close();
  await node.remove();
});

const listen = (): Promise<void> =>
  new Promise((resolve) => void server.listen(path.join(node.directory, "flanneld.sock"), resolve));
const close = (): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

function conf(policy: Json = {}): Json {
  return node.conf({ cniVersion: "1.1.0", networkPolicy: { waitSeconds: 1, ...policy } });
}

const ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=web;K8S_POD_UID=u1;POD_LABELS=app:web";

async function linksInHost(): Promise<string> {
  const { stdout } = await exec("ip", ["-n", node.namespace.name, "-br", "link"]);
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("veth"))
    .join();
}

describe("ADD", () => {
  test("tells the pod, its addresses and labels, and waits while the daemon says: not yet", async () => {
    answers = [
      [503, '{"problem":"not yet"}'],
      [200, '{"inForce":true}'],
    ];
    const pod = await node.addPod();
    const result = await node.succeed(conf({ waitSeconds: 30 }), { netns: pod.path, cniArgs: ARGS });
    expect(asked.map(({ method, url }) => `${method} ${url}`)).toEqual(
      Array.from({ length: 2 }, () => "POST /v1/attachments"),
    );
    const address = result.ips?.[0]?.address.replace(/\/\d+$/, "");
    expect(JSON.parse(asked[0]?.body ?? "")).toMatchObject({
      network: "cni-flannel",
      containerId: "container-1",
      ifName: "eth0",
      namespace: "a",
      name: "web",
      uid: "u1",
      ips: [address],
      hostIfName: expect.stringMatching(/^veth/) as string,
      labels: { app: "web" },
    });
  });

  test.each<[string, Answer, RegExp]>([
    ["says: not yet", [503, '{"problem":"waiting for pods"}'], /not in force: waiting for pods/],
    ["refuses", [422, '{"problem":"which pod?"}'], /not in force: which pod\?/],
    ["does not know of policy", [404, "no such path"], /runs without --network-policy/],
    ["hangs", "silence", /flanneld does not answer on .*flanneld.sock \(no answer within/],
  ])("fails with 103 and leaves nothing when the daemon %s", async (_, answer, reason) => {
    answers = [answer];
    const pod = await node.addPod();
    const { exitCode, json } = await node.call(conf(), { netns: pod.path, cniArgs: ARGS });
    expect({ exitCode, code: json?.code }).toEqual({ exitCode: 1, code: 103 });
    expect(json?.msg).toMatch(reason);
    expect(asked.at(-1)?.method).toBe("DELETE");
    expect(node.reservedAddresses()).toEqual([]);
    expect(node.stateFiles()).toEqual([]);
    expect(await linksInHost()).toBe("");
  });

  test("goes on when the daemon is away, if the configuration says so, and notes it", async () => {
    await close();
    const pod = await node.addPod();
    const { exitCode, stderr } = await node.call(conf({ onFailure: "proceed" }), { netns: pod.path });
    expect(exitCode).toBe(0);
    expect(stderr).toContain("going on as the configuration says: its traffic is closed until the policy is");
    await listen();
  });
});

test("DEL closes the address before it is given back, and succeeds when the daemon is away", async () => {
  const pod = await node.addPod();
  await node.succeed(conf(), { netns: pod.path, cniArgs: ARGS });
  await node.succeed(conf(), { verb: "DEL", netns: pod.path });
  expect(asked.at(-1)).toMatchObject({
    method: "DELETE",
    url: "/v1/attachments?containerId=container-1&ifName=eth0",
    reserved: [expect.stringMatching(/^10\.1\.17\./) as string],
  });
  expect(node.reservedAddresses()).toEqual([]);
  await close();
  const { exitCode, stderr } = await node.call(conf(), { verb: "DEL", netns: pod.path });
  expect(exitCode).toBe(0);
  expect(stderr).toContain("cannot tell flanneld that the pod is gone");
  await listen();
});

test("GC tells which attachments there are, STATUS asks whether policy is enforced", async () => {
  const valid = [{ containerID: "c9", ifname: "eth0" }];
  await node.succeed({ ...conf(), "cni.dev/valid-attachments": valid }, { verb: "GC" });
  const told = asked.find(({ url }) => url === "/v1/attachments/gc");
  expect(JSON.parse(told?.body ?? "")).toEqual({
    network: "cni-flannel",
    valid: [{ containerId: "c9", ifName: "eth0" }],
  });
  await node.succeed(conf(), { verb: "STATUS" });
  answers = [[503, '{"problem":"br_netfilter is not loaded"}']];
  const { json } = await node.call(conf(), { verb: "STATUS" });
  expect(json).toMatchObject({
    code: 50,
    msg: "network policy is not enforced: br_netfilter is not loaded",
  });
  expect((await node.call(conf({ onFailure: "proceed" }), { verb: "STATUS" })).exitCode).toBe(0);
});

test("without networkPolicy in the configuration nobody is asked", async () => {
  const pod = await node.addPod();
  await node.succeed(node.conf(), { netns: pod.path, cniArgs: ARGS });
  await node.succeed(node.conf(), { verb: "DEL", netns: pod.path });
  expect(asked).toEqual([]);
});
