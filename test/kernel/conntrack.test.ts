// A policy that becomes stricter ends just the connections that it denies now: real TCP through real rules.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PolicyApplier } from "../../src/host/policy-applier.ts";
import { createConntrackTable } from "../../src/kernel/conntrack.ts";
import type { ConntrackTable } from "../../src/kernel/conntrack.ts";
import type { Exec } from "../../src/kernel/exec.ts";
import { spawnLines } from "../../src/kernel/exec.ts";
import { parseIp } from "../../src/net/ip.ts";
import { compilePolicy } from "../../src/policy/compile.ts";
import { createEvaluator } from "../../src/policy/evaluate.ts";
import { createFlowJudge } from "../../src/policy/recheck.ts";
import type { Policy, PolicySnapshot } from "../../src/policy/snapshot.ts";
import type { TestNamespace } from "../support/netns.ts";
import { podOf, policyOf, snapshotOf } from "../support/policy-cluster.ts";
import { createPolicyNode, NODE_SETTINGS, startApplier } from "../support/policy-node.ts";
import type { PolicyNode } from "../support/policy-node.ts";
import { waitFor } from "../support/wait.ts";

const PATIENT = { timeoutMs: 60_000 };
const PODS = [podOf("x/client", "1.11", { app: "client" }), podOf("x/server", "1.12", { app: "server" })];
const ONLY = (ports: string) =>
  policyOf("x/p", `{podSelector: {matchLabels: {app: server}}, ingress: [{ports: [${ports}]}]}`);

let world: PolicyNode;
let applier: PolicyApplier;
let conntrack: ConntrackTable;
let children: ChildProcess[];
let processes: string[];

beforeEach(async () => {
  children = [];
  processes = [];
  world = await createPolicyNode("st-ct", ["10.244.1.11", "10.244.1.12"]);
  const { name } = world.node;
  const exec: Exec = (command, args, options) => {
    processes.push(command);
    return world.node.exec(command, args, options);
  };
  applier = await startApplier(exec, "nft");
  conntrack = createConntrackTable({
    exec,
    spawnLines: (command, args, handlers) =>
      spawnLines("nsenter", [`--net=/run/netns/${name}`, "--", command, ...args], handlers),
  });
});
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await world.remove();
});

async function apply(...policies: readonly Policy[]): Promise<PolicySnapshot> {
  const snapshot = snapshotOf({ pods: PODS, policies });
  expect((await applier.apply(compilePolicy(snapshot, NODE_SETTINGS))).failed).toEqual([]);
  return snapshot;
}

function start(pod: TestNamespace | undefined, script: string): { child: ChildProcess; lines: string[] } {
  const args = [`--net=/run/netns/${pod?.name ?? ""}`, "--", process.execPath, "-e", script];
  const child = spawn("nsenter", args, { stdio: ["pipe", "pipe", "inherit"] });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  children.push(child);
  return { child, lines };
}

/** Sends what it is told, and tells what comes back. */
const CLIENT = (port: number) => `
  const socket = require("node:net").connect(${port}, "10.244.1.12");
  socket.setEncoding("utf8").on("data", (text) => console.log(text)).on("error", () => console.log("broken"));
  process.stdin.on("data", (text) => socket.write(text));`;
const SERVER = (port: number) => `
  require("node:net").createServer((socket) => socket.pipe(socket).on("error", () => {})).listen(${port}, () => console.log("ready"));`;

async function connect(port: number): Promise<{ ask(text: string): void; heard(text: string): boolean }> {
  const server = start(world.pods[1], SERVER(port));
  await waitFor("the server", () => server.lines.length > 0, PATIENT);
  const client = start(world.pods[0], CLIENT(port));
  const connection = {
    ask: (text: string) => void client.child.stdin?.write(text),
    heard: (text: string) => client.lines.join("").includes(text),
  };
  connection.ask("hello");
  await waitFor("an echo", () => connection.heard("hello"), PATIENT);
  return connection;
}

test("a tightening cuts the connection that it denies, and the others go on", async () => {
  await apply(ONLY("{port: 80}, {port: 81}"));
  const [cut, kept] = [await connect(80), await connect(81)];
  const snapshot = await apply(ONLY("{port: 81}"));

  // The rules alone let established connections go on.
  cut.ask("still there");
  await waitFor("an echo under the old policy", () => cut.heard("still there"), PATIENT);

  const localIps = new Set(PODS.flatMap(({ ips }) => ips));
  const judge = createFlowJudge({ evaluate: createEvaluator(snapshot, NODE_SETTINGS), localIps });
  const all = await conntrack.find(localIps, () => true);
  const found = await conntrack.find(localIps, judge);
  expect(found.problem).toBeUndefined();
  expect(found.flows).toMatchObject([{ protocol: 6, reply: { src: "10.244.1.12", srcPort: 80 } }]);
  expect(all.flows.length).toBeGreaterThan(found.flows.length);
  expect(await conntrack.end(found.flows)).toEqual({ ended: 1 });

  cut.ask("after");
  kept.ask("after");
  await waitFor("an echo on the other port", () => kept.heard("after"), PATIENT);
  // What was sent at the same time is dropped, and counted at the server.
  await waitFor(
    "the count of denied packets",
    async () => {
      const { stdout } = await world.node.exec("ipset", ["save", "FTSP-4-denied-in"]);
      return /add FTSP-4-denied-in 10\.244\.1\.12 packets [1-9]/.test(stdout);
    },
    PATIENT,
  );
  expect(cut.heard("after")).toBe(false);
  expect((await conntrack.find(localIps, judge)).flows).toEqual([]);
  expect(await conntrack.end(found.flows), "what is gone is no problem").toEqual({ ended: 0 });
}, 240_000);

test("flows of each protocol and family can be named and ended", async () => {
  const [tcp, ping] = ["--sport 4000 --dport 80", "--icmp-type 8 --icmp-code 0 --icmp-id 7"];
  const flows = [
    `-p tcp -s 10.244.1.11 -d 10.244.1.12 ${tcp} --state ESTABLISHED`,
    `-p udp -s 10.244.1.11 -d 10.244.1.12 ${tcp}`,
    `-p icmp -s 10.244.1.11 -d 10.244.1.12 ${ping}`,
    `-p tcp -s fd00::11 -d fd00::12 ${tcp} --state ESTABLISHED`,
    `-p udp -s fd00::11 -d fd00::12 ${tcp}`,
    `-p icmpv6 -s fd00::11 -d fd00::12 ${ping.replace("type 8", "type 128").replaceAll("--icmp-", "--icmpv6-")}`,
  ];
  for (const flow of flows) await world.node.exec("conntrack", ["-I", ...flow.split(" "), "-t", "600"]);
  const clients = new Set([parseIp("10.244.1.11"), parseIp("fd00::11")]);
  const found = await conntrack.find(clients, () => true);
  expect(found.flows).toHaveLength(flows.length);
  expect(await conntrack.end(found.flows)).toEqual({ ended: flows.length });
});

test("a thousand flows to one port are ended by one process, and nobody else's", async () => {
  const flow = (host: number, port: number) =>
    `-I -p tcp -s 10.244.1.${host} -d 10.244.1.12 --sport ${port} --dport 80 --state ESTABLISHED -t 600`;
  const lines = Array.from({ length: 1000 }, (_, i) => flow(11, 10_000 + i)).concat(flow(99, 10_000));
  const directory = mkdtempSync(join(tmpdir(), "st-ct-"));
  writeFileSync(join(directory, "flows"), lines.map((line) => `${line}\n`).join(""));
  await world.node.exec("conntrack", ["-R", join(directory, "flows")]);
  rmSync(directory, { recursive: true });
  const client = new Set(PODS[0]?.ips);
  const { flows } = await conntrack.find(client, () => true);
  expect(flows).toHaveLength(1000);
  processes = [];
  expect(await conntrack.end(flows)).toEqual({ ended: 1000 });
  expect(processes).toEqual(["conntrack"]);
  const left = await conntrack.find(new Set(PODS[1]?.ips), () => true);
  expect(left.flows).toMatchObject([{ original: { src: "10.244.1.99" } }]);
});
