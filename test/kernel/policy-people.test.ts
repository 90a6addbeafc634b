// What people are told of policy, against a real kernel: does it agree, what has it counted, which packets were denied.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createDeniedCounts } from "../../src/daemon/policy/denied-counts.ts";
import { startDeniedLog } from "../../src/daemon/policy/denied-log.ts";
import { createPolicyReadRoutes } from "../../src/daemon/policy/read-routes.ts";
import { createPolicyApplier } from "../../src/host/policy-applier.ts";
import type { PolicyApplier } from "../../src/host/policy-applier.ts";
import { spawnBytes } from "../../src/kernel/exec.ts";
import type { SpawnBytes } from "../../src/kernel/exec.ts";
import { createSetTable } from "../../src/kernel/ipset/set-table.ts";
import { createFirewallTable } from "../../src/kernel/iptables/firewall-table.ts";
import { detectIptablesVariant } from "../../src/kernel/iptables/variant.ts";
import { createPolicyGraph } from "../../src/policy/graph.ts";
import type { PolicyGraph } from "../../src/policy/graph.ts";
import type { ExplainReport } from "../../src/policy/explain-report.ts";
import type { InForceReport } from "../../src/policy/in-force-report.ts";
import { createInForceBook } from "../../src/policy/in-force-book.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../src/policy/settings.ts";
import type { PolicySettings } from "../../src/policy/settings.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { parseIp } from "../../src/net/ip.ts";
import { memoryLogger } from "../support/memory-logger.ts";
import { createNamespace } from "../support/netns.ts";
import type { TestNamespace } from "../support/netns.ts";
import { namespaceOf, podOf, policyOf } from "../support/policy-cluster.ts";
import { waitFor } from "../support/wait.ts";

const GROUP = 117;
const SETTINGS: PolicySettings = { ...DEFAULT_POLICY_SETTINGS, families: [4], logGroup: GROUP };
const POD = "10.244.1.5";
const OUTSIDE = "198.51.100.7";

let node: TestNamespace;
let pod: TestNamespace;
let outside: TestNamespace;
let graph: PolicyGraph;
let applier: PolicyApplier;
let ask: (path: string) => Promise<{ readonly status: number; readonly body: string }>;

/** A node with one pod on its bridge, and somebody outside behind its uplink. */
beforeAll(async () => {
  node = await createNamespace("pe-node");
  pod = await createNamespace("pe-pod");
  outside = await createNamespace("pe-out");
  const ip = (...args: readonly string[]) => node.exec("ip", args);
  await ip("link", "add", "cni0", "type", "bridge");
  await ip("link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", pod.name);
  await ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", outside.name);
  await ip("link", "set", "veth0", "master", "cni0");
  await ip("addr", "add", "10.244.1.1/24", "dev", "cni0");
  await ip("addr", "add", "198.51.100.1/24", "dev", "eth0");
  for (const dev of ["cni0", "veth0", "eth0"]) await ip("link", "set", dev, "up");
  await node.exec("sysctl", ["-qw", "net.ipv4.ip_forward=1"]);
  await addHost(pod, `${POD}/24`, "10.244.1.1");
  await addHost(outside, `${OUTSIDE}/24`, "198.51.100.1");
  await setUpPolicy();
});
afterAll(() => Promise.all([node, pod, outside].map((namespace) => namespace.remove())));

async function addHost({ exec }: TestNamespace, address: string, gateway: string): Promise<void> {
  await exec("ip", ["addr", "add", address, "dev", "eth0"]);
  await exec("ip", ["link", "set", "eth0", "up"]);
  await exec("ip", ["route", "add", "default", "via", gateway]);
}

async function setUpPolicy(): Promise<void> {
  const { exec } = node;
  const variant = await detectIptablesVariant({ families: [4] }, { exec });
  const firewall = createFirewallTable({ variant, families: [4], chainPrefix: SETTINGS.prefix }, { exec });
  graph = createPolicyGraph({ nodeName: "n1", settings: SETTINGS });
  const addresses = ["10.244.1.1", "198.51.100.1"].map(parseIp);
  const cluster = { name: "n1", addresses, podCidrs: [parseCidr("10.244.1.0/24")] };
  graph.apply({ type: "snapshot", kind: "nodes", objects: [cluster] });
  graph.apply({ type: "snapshot", kind: "namespaces", objects: [namespaceOf("shop")] });
  const db = podOf("shop/db", "1.5", { app: "db" }, { ips: [parseIp(POD)] });
  graph.apply({ type: "snapshot", kind: "pods", objects: [db] });
  const policy = policyOf(
    "shop/db",
    "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 198.51.100.0/24}}], ports: [{port: 5432, protocol: UDP}]}]}",
  );
  const book = createInForceBook();
  const event = { type: "snapshot", kind: "policies", objects: [policy] } as const;
  graph.apply(event);
  book.onEvent(event);
  applier = createPolicyApplier({ sets: createSetTable({ prefix: SETTINGS.prefix }, { exec }), firewall });
  const pass = book.beginPass();
  expect((await applier.apply(graph.compiled())).failed).toEqual([]);
  pass.done(1_000);
  const state = { source: { connected: true, skipped: [] }, repairs: 0, waiting: 0, problems: [] };
  const routes = createPolicyReadRoutes(
    () => ({
      settings: SETTINGS,
      graph,
      book,
      firewall,
      exec,
      denied: createDeniedCounts(SETTINGS, { exec }),
      state: () => state,
    }),
    { nextLookMs: 10 },
  );
  ask = async (path) => {
    const url = new URL(path, "http://daemon");
    const route = routes[url.pathname];
    if (route === undefined) throw new Error(`no route ${path}`);
    return route({ query: url.searchParams, body: "", signal: new AbortController().signal });
  };
}

async function explain(from: string, to: string): Promise<ExplainReport> {
  const { status, body } = await ask(`/v1/policy/explain?${new URLSearchParams({ from, to }).toString()}`);
  expect({ status, body }).toMatchObject({ status: 200 });
  return JSON.parse(body) as ExplainReport;
}

/** Each datagram is a connection of its own. */
async function send(from: TestNamespace, address: string, port: number): Promise<void> {
  await from.exec("bash", ["-c", `echo x > /dev/udp/${address}/${port}`]);
}

async function deniedToPod(): Promise<number> {
  const { kernel } = await explain(OUTSIDE, "shop/db:80/UDP");
  return kernel?.denied.find(({ direction }) => direction === "ingress")?.packets ?? -1;
}

beforeEach(async () => {
  applier.invalidate();
  expect((await applier.apply(graph.compiled())).failed).toEqual([]);
});

describe("explain and the kernel", () => {
  test("agree on what is allowed and on what is denied", async () => {
    const allowed = await explain(OUTSIDE, "shop/db:5432/UDP");
    expect(allowed).toMatchObject({ verdict: "allowed", kernel: { state: "agrees", differences: [] } });
    expect(allowed.kernel?.checked).toBeGreaterThan(10);
    const denied = await explain("shop/db", `${OUTSIDE}:53/UDP`);
    expect(denied).toMatchObject({ verdict: "denied", kernel: { state: "agrees" } });
    expect(denied.kernel?.facts).toEqual([
      expect.stringMatching(/^egress of shop\/db \(10\.244\.1\.5\): chain FTSP-E-/),
    ]);
  });

  test("count denied packets of the pod, and only those", async () => {
    const before = await deniedToPod();
    for (const port of [80, 81, 82, 5432]) await send(outside, POD, port);
    await waitFor("three denied packets", async () => (await deniedToPod()) >= before + 3, {
      timeoutMs: 30_000,
    });
    expect(await deniedToPod()).toBe(before + 3);
    const { body } = await ask("/v1/policy");
    const { denied, policies } = JSON.parse(body) as InForceReport;
    expect(denied).toContainEqual({ pod: "shop/db", direction: "ingress", packets: before + 3 });
    expect(policies).toMatchObject([
      { policy: "shop/db", since: new Date(1_000).toISOString(), pods: ["shop/db"] },
    ]);
  });

  const breakages: readonly (readonly [string, readonly string[], RegExp])[] = [
    ["the jump was flushed", ["iptables", "-F", "FORWARD"], /FORWARD .IPv4. that leads to FTSP-FORWARD is missing: no policy/],
    ["somebody accepts first", ["iptables", "-I", "FORWARD", "-j", "ACCEPT"], /FTSP-FORWARD is not the first one/],
    ["a chain was emptied", ["iptables", "-F", "FTSP-POLICY"], /chain FTSP-POLICY .IPv4. has other rules/],
    ["the known pods were flushed", ["ipset", "flush", "KNOWN"], /10\.244\.1\.5 is not in set FTSP-4k-\S+ .the pods of this node that are known/],
    ["the isolated pods were flushed", ["ipset", "flush", "POD"], /10\.244\.1\.5 is not in set FTSP-4i-\S+ .pods isolated in ingress/],
    ["a peer was taken away", ["ipset", "flush", "PEER"], /198\.51\.100\.7 is not in set FTSP-4p-\S+ .peers of a rule/],
  ]; // prettier-ignore
  test.for(breakages)(
    "disagree when %s, and agree after the next pass",
    async ([, [command = "", ...args], words]) => {
      const begin = { KNOWN: "FTSP-4k-", POD: "FTSP-4i-", PEER: "FTSP-4p-" };
      const named = args.map((word) => {
        const prefix = Object.hasOwn(begin, word) ? begin[word as keyof typeof begin] : undefined;
        return prefix === undefined
          ? word
          : (graph.compiled().sets.find(({ name }) => name.startsWith(prefix))?.name ?? word);
      });
      await node.exec(command, named);
      const { kernel } = await explain(OUTSIDE, "shop/db:5432/UDP");
      expect(kernel?.state).toBe("disagrees");
      expect(kernel?.differences.join("\n")).toMatch(words);
      expect(kernel?.cure).toContain("puts back");
      if (args[0] === "-I") await node.exec("iptables", ["-D", "FORWARD", "-j", "ACCEPT"]);
      applier.invalidate();
      await applier.apply(graph.compiled());
      expect((await explain(OUTSIDE, "shop/db:5432/UDP")).kernel).toMatchObject({
        state: "agrees",
        differences: [],
      });
    },
  );
});

test("the log names pod, packet and policy of each denied packet, also after tcpdump was killed", async () => {
  const log = memoryLogger();
  const stop = new AbortController();
  const pids: (number | undefined)[] = [];
  const spawnInNode: SpawnBytes = (command, args, handlers) => {
    const child = spawnBytes("nsenter", [`--net=/run/netns/${node.name}`, "--", command, ...args], handlers);
    pids.push(child.pid);
    return child;
  };
  const options = { group: GROUP, settings: SETTINGS, snapshot: () => graph.snapshot(), signal: stop.signal };
  const watch = startDeniedLog(options, { addon: undefined, spawnBytes: spawnInNode, log });
  const linesTo = (port: number) => log.lines.filter(({ fields }) => fields["port"] === port);
  const sendUntilLogged = (from: TestNamespace, address: string, port: number) =>
    waitFor(
      `a line about port ${port}`,
      async () => {
        await send(from, address, port);
        return linesTo(port)[0];
      },
      { timeoutMs: 30_000, intervalMs: 200 },
    );
  try {
    expect(await sendUntilLogged(outside, POD, 8080)).toMatchObject({
      level: "info",
      message: `denied ingress of shop/db: UDP 8080 from ${OUTSIDE} to ${POD}, isolated by shop/db`,
      fields: {
        pod: "shop/db",
        direction: "ingress",
        src: OUTSIDE,
        dst: POD,
        protocol: "UDP",
        policies: ["shop/db"],
      },
    });
    expect(await sendUntilLogged(pod, OUTSIDE, 53)).toMatchObject({
      message: `denied egress of shop/db: UDP 53 from ${POD} to ${OUTSIDE}, isolated by shop/db`,
    });
    const [first] = pids;
    if (first === undefined) throw new Error("no child was started");
    process.kill(first, "SIGKILL");
    await sendUntilLogged(outside, POD, 8081);
    expect(pids).toHaveLength(2);
    await waitFor("the problem to be gone", () => watch.problem() === undefined, { timeoutMs: 30_000 });
    expect(log.lines.some(({ message }) => message.includes("it is started again"))).toBe(true);
  } finally {
    stop.abort();
    await watch.ended;
  }
});

test.for([
  ["its last privilege is missing", ["setpriv", "--bounding-set=-all,+net_admin,+net_raw"], "add it to CapabilityBoundingSet= of the unit"],
  ["somebody else reads the group", [], "another program reads NFLOG group 119; choose another --policy-log-group"],
] as const)("where %s, the log names the cure", async ([why, wrapper, cure]) => {
  const stop = new AbortController();
  const spawnWith =
    (before: readonly string[]): SpawnBytes =>
    (command, args, handlers) =>
      spawnBytes("nsenter", [`--net=/run/netns/${node.name}`, "--", ...before, command, ...args], handlers);
  const log = memoryLogger();
  const options = { group: 119, settings: SETTINGS, snapshot: () => graph.snapshot(), signal: stop.signal };
  const watches = [startDeniedLog(options, { addon: undefined, spawnBytes: spawnWith(wrapper), log })];
  if (wrapper.length === 0) watches.push(startDeniedLog(options, { addon: undefined, spawnBytes: spawnWith([]), log }));
  try {
    const problem = await waitFor(why, () => watches.map((watch) => watch.problem()).find((text) => text?.includes(cure)), {
      timeoutMs: 30_000,
    });
    expect(problem).toMatch(/^denied packets are not logged: /);
    expect(log.lines.some(({ level, message }) => level === "warn" && message === problem)).toBe(true);
  } finally {
    stop.abort();
    await Promise.all(watches.map(({ ended }) => ended));
  }
}); // prettier-ignore

/** What deploy/ gives the daemon: the container (CAP_NET_ADMIN, CAP_NET_RAW), and in these two the unit. */
const DEPLOYED = ["setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--no-new-privs"];
const NFLOG_INSIDE = join(import.meta.dirname, "../support/nflog-inside.ts");

test("a socket of our own reads denied packets with the capabilities of deploy/, and says when the group is taken", async () => {
  const start = () => {
    const args = [...DEPLOYED, process.execPath, NFLOG_INSIDE, String(GROUP)];
    const child = spawn("nsenter", [`--net=/run/netns/${node.name}`, "--", ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const lines: string[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
    const ended = once(child, "close");
    return { child, lines, ended };
  };
  const patient = { timeoutMs: 30_000, intervalMs: 200 };
  const first = start();
  const second: ReturnType<typeof start>[] = [];
  const readBy = (reader: ReturnType<typeof start>, port: number) => async (): Promise<boolean> => {
    await send(outside, POD, port);
    return reader.lines.some((line) => line.includes(`"port":${port}}`));
  };
  try {
    await waitFor("a denied packet", readBy(first, 8090), patient);
    expect(JSON.parse(first.lines[0] ?? "")).toMatchObject({ src: OUTSIDE, dst: POD });
    second.push(start());
    await waitFor("the other reader's problem", () => second[0]?.lines[0], patient);
    expect(second[0]?.lines[0]).toContain(`another program reads NFLOG group ${GROUP}`);
    // Asked to end, it ends, and lets go of the group.
    first.child.kill("SIGTERM");
    expect(await first.ended).toEqual([0, null]);
    expect(first.lines.at(-1)).toBe('{"ended":true}');
    await waitFor("the other reader to have its turn", readBy(second[0]!, 8091), patient);
  } finally {
    for (const { child } of [first, ...second]) child.kill("SIGKILL");
  }
});
