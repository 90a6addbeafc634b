// Network policy at work with real packets: across nodes and on one, at the birth of pods, over restarts and against drift.
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../lab/cluster.ts";
import {
  CONFLIST_FILE,
  DAEMON_COMMAND,
  HEALTH_PORT,
  httpGet,
  SUBNET_FILE,
} from "../../lab/daemon-process.ts";
import type { MachineProcess } from "../../lab/machine.ts";
import type { LabNode, LabPod } from "../../lab/node.ts";
import { CniError } from "../../lab/runtime.ts";
import { showLogsOfFailures, startTestCluster } from "../support/cluster.ts";
import {
  addPod,
  countPacketsFrom,
  policyCommand,
  policyTraces,
  reaches,
  serve,
  waitUntilReaches,
} from "../support/policy-lab.ts";
import type { PodSpec } from "../support/policy-lab.ts";
import { startPings } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

/** Each of 32 pods; 32 of them are the thousand pods that a longer run takes. */
const BURSTS = Number(process.env["POLICY_BURSTS"] ?? 1);
const FLAGS = ["--network-policy", "--policy-add-wait=5", "--iptables-resync=1"];

let cluster: Cluster;
let n1: LabNode;
let n2: LabNode;
/** On n1. */
let server: LabPod;
/** The first two on n1, the others on n2. */
let friend: LabPod;
let stranger: LabPod;
let farFriend: LabPod;
let farStranger: LabPod;

showLogsOfFailures(() => cluster);
beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 2, pods: 0, daemonFlags: FLAGS });
  [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
  const [good, bad] = [{ role: "friend" }, { role: "stranger" }];
  [server, friend, stranger, farFriend, farStranger] = await Promise.all([
    addPod(n1, { name: "server", labels: { app: "server" } }),
    addPod(n1, { name: "friend", labels: good }),
    addPod(n1, { name: "stranger", labels: bad }),
    addPod(n2, { name: "far-friend", labels: { ...good, far: "yes" } }),
    addPod(n2, { name: "far-stranger", labels: bad }),
  ]);
  await serve(server);
});
afterAll(async () => {
  await cluster.close();
});

/** The server is for friends; namespace `closed` may not send at all. */
const POLICIES = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends-only, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing-out, namespace: closed}
spec: {podSelector: {}, policyTypes: [Egress]}
`;

/** In the set of known pods, or in any other. */
async function isKnown(pod: LabPod): Promise<boolean> {
  return (await n1.exec("ipset", ["save"])).stdout.includes(`${pod.ip}\n`);
}

async function expectPolicyInForce(): Promise<void> {
  await waitUntilReaches(
    server.ip,
    new Map([
      [friend, true],
      [farFriend, true],
      [stranger, false],
      [farStranger, false],
    ]),
  );
}

test("a policy closes a pod to all but those that it names, on its own node and from others", async () => {
  for (const pod of [friend, stranger, farFriend, farStranger])
    expect(await reaches(pod, server.ip), pod.name).toBe(true);
  await policyCommand(cluster, "apply", POLICIES);
  await expectPolicyInForce();
  expect((await n1.daemon.status()).policy).toMatchObject({
    enforced: true,
    problems: [],
    policies: 2,
    attachments: 3,
    waiting: 0,
    isolatedPods: 1,
  });
});

test("a policy that becomes stricter ends the connections that it denies, and no others", async () => {
  const [ended, kept] = await Promise.all([startPings(friend, server.ip), startPings(farFriend, server.ip)]);
  const count = await countPacketsFrom(server, [friend.ip], ["-p", "icmp", "--icmp-type", "echo-request"]);
  await policyCommand(cluster, "apply", POLICIES.replace("{role: friend}", "{role: friend, far: 'yes'}"));
  await waitFor("the friend's pings to end", async () => {
    const before = await count();
    await kept.waitForMore();
    return (await count())[0] === before[0];
  });
  await ended.process.stop("SIGKILL");
  expect(await kept.stop()).toEqual([]);
  await policyCommand(cluster, "apply", POLICIES);
  await expectPolicyInForce();
});

describe("a new pod", () => {
  /** From before the pod's interface exists on, its namespace tries without rest to reach the server. */
  async function addHammering(spec: PodSpec): Promise<{ readonly pod: LabPod; stop(): Promise<unknown> }> {
    let hammer: MachineProcess | undefined;
    const beforeAdd = async (): Promise<void> => {
      // Without a process per packet, so that 33 of these leave the machine to the others.
      const loop = `exec 9<> <(:); while :; do echo x 2>/dev/null >/dev/udp/${server.ip}/9; read -t 0.005 -u 9; done`;
      const args = ["netns", "exec", spec.name, "bash", "-c", loop];
      hammer = await n1.spawn("ip", args, { stdio: ["ignore", "ignore", "ignore"] });
    };
    const pod = await addPod(n1, { ...spec, beforeAdd });
    return { pod, stop: async () => hammer?.stop("SIGKILL") };
  }

  test("sends nothing that policy denies, before ADD returns and after, also in a burst", async () => {
    const count = await countPacketsFrom(
      server,
      [server.ip.replace(/\d+$/, "0/24")],
      ["-p", "udp", "--dport", "9"],
    );
    const addBurst = (round: number) =>
      Promise.all(
        Array.from({ length: 32 }, (_, i) =>
          addHammering({ name: `burst-${round}-${i}`, namespace: "closed" }),
        ),
      );
    for (let round = 1; round < BURSTS; round += 1) {
      const some = await addBurst(round);
      expect(await count()).toEqual([0]);
      await Promise.all(some.map((each) => each.stop()));
      await Promise.all(some.map(({ pod }) => n1.removePod(pod.name)));
    }
    const burst = await addBurst(0);
    expect(await count()).toEqual([0]);
    // The count sees what it should see.
    const control = await addHammering({ name: "control", labels: { role: "friend" } });
    await waitFor("packets of a pod that may", async () => ((await count())[0] ?? 0) > 0);
    await Promise.all([...burst, control].map((each) => each.stop()));
    // DEL closes an address before it is given back.
    const [gone] = burst;
    if (gone === undefined) throw new Error("no burst");
    expect(await isKnown(gone.pod)).toBe(true);
    await n1.removePod(gone.pod.name);
    expect(await isKnown(gone.pod)).toBe(false);
  });

  test("is refused, and leaves nothing, while the daemon is away; the rules stay", async () => {
    const before = await policyTraces(n1);
    const interfaces = async (): Promise<string> => (await n1.exec("ip", ["-br", "link"])).stdout;
    const linksBefore = await interfaces();
    await n1.daemon.stop("SIGKILL");
    const refusal = await addPod(n1, { name: "early" }).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(CniError);
    expect(refusal).toMatchObject({
      code: 103,
      message: expect.stringMatching(
        /network policy is not in force: flanneld does not answer on .*flanneld.sock/,
      ),
    });
    expect(await interfaces()).toBe(linksBefore);
    expect(await policyTraces(n1)).toBe(before);
    await expectPolicyInForce();
    // ADD waits for a daemon that is just being restarted.
    const waiting = addPod(n1, { name: "early" });
    await n1.daemon.start();
    await waiting;
    await n1.removePod("early");
  });
});

test("a pod that goes while the daemon is away is forgotten, and so is one that goes without DEL", async () => {
  const [first, second] = [await addPod(n1, { name: "first" }), await addPod(n1, { name: "second" })];
  expect([await isKnown(first), await isKnown(second)]).toEqual([true, true]);
  await n1.daemon.stop("SIGKILL");
  await n1.removePod("first");
  await n1.daemon.start();
  await waitFor("the first pod to be forgotten", async () => !(await isKnown(first)));
  await n1.exec("ip", ["netns", "exec", "second", "ip", "link", "del", "eth0"]);
  await waitFor("the second pod to be forgotten", async () => !(await isKnown(second)));
  await n1.removePod("second");
});

test("a daemon that is killed and started again opens nothing and breaks nothing", async () => {
  const count = await countPacketsFrom(
    server,
    [stranger.ip, farStranger.ip],
    ["-p", "icmp", "--icmp-type", "echo-request"],
  );
  const denied = await Promise.all(
    [stranger, farStranger].map((pod) =>
      pod.spawn("ping", ["-n", "-q", "-i", "0.01", server.ip], { stdio: ["ignore", "ignore", "ignore"] }),
    ),
  );
  const allowed = await Promise.all([friend, farFriend].map((pod) => startPings(pod, server.ip)));
  const { attachments } = (await n1.daemon.status()).policy ?? {};
  for (let round = 0; round < 2; round += 1) {
    await n1.daemon.stop("SIGKILL");
    await Promise.all(allowed.map((stream) => stream.waitForMore()));
    await n1.daemon.start();
    await Promise.all(allowed.map((stream) => stream.waitForMore()));
  }
  expect(await Promise.all(allowed.map((stream) => stream.stop()))).toEqual([[], []]);
  await Promise.all(denied.map((each) => each.stop()));
  expect(await count()).toEqual([0, 0]);
  expect((await n1.daemon.status()).policy).toMatchObject({
    enforced: true,
    attachments,
    repairsTotal: 0,
  });
});

test.each([
  ["a flushed firewall", "iptables -F && iptables -X; true", /put back rules or sets/],
  ["an accept that somebody puts ahead of us", "iptables -I FORWARD -j ACCEPT", /put back rules or sets/],
  ["emptied sets", "ipset flush", /put back rules or sets/],
  [
    "the bridge's switch, turned off",
    "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables",
    /put back net\/bridge\/bridge-nf-call-iptables/,
  ],
])("%s is put back, counted and told", async (_, damage, told) => {
  const before = (await n1.daemon.status()).policy?.repairsTotal ?? 0;
  const logBefore = n1.daemon.log().length;
  await n1.exec("sh", ["-c", damage]);
  await waitFor("the repair", async () => ((await n1.daemon.status()).policy?.repairsTotal ?? 0) > before);
  await expectPolicyInForce();
  expect(n1.daemon.log().slice(logBefore)).toMatch(told);
});

test("pods at a bridge that policy does not watch: not ready, ADD is refused, and each says the cure", async () => {
  await n1.daemon.stop();
  await n1.daemon.start({ flags: ["--policy-pod-interface=cbr9"], waitReady: false });
  const cure = /attach by cni0.*--policy-pod-interface=cbr9 --policy-pod-interface=cni0/;
  const { problems, enforced } = await waitFor("the problem", async () => {
    const { policy } = await n1.daemon.status().catch(() => ({ policy: undefined }));
    return policy?.problems.some((text) => cure.test(text)) ? policy : undefined;
  });
  expect({ enforced, problems }).toEqual({ enforced: false, problems: [expect.stringMatching(cure)] });
  await waitFor("/readyz to say so", async () =>
    cure.test((await httpGet(n1.machine, HEALTH_PORT, "/readyz"))?.body ?? ""),
  );
  expect(n1.daemon.log()).toMatch(cure);
  const refusal = await addPod(n1, { name: "unwatched" }).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: 103, message: expect.stringMatching(cure) });
  await n1.daemon.restart();
  expect((await n1.daemon.status()).policy).toMatchObject({ enforced: true, problems: [] });
});

test("a CNI configuration that hands no pod over is named with its cure, and no more when it has gone", async () => {
  const old = n1.machine.hostPath("/etc/cni/net.d/05-old.conflist");
  const problems = async () => (await n1.daemon.status()).policy?.problems ?? [];
  writeFileSync(old, JSON.stringify({ name: "cbr0", plugins: [{ type: "flannel" }] }));
  await waitFor("the problem", async () => (await problems())[0]?.includes("05-old.conflist"));
  expect((await problems())[0]).toContain('add "networkPolicy": {}');
  expect((await n1.daemon.status()).ready).toBe(true);
  rmSync(old);
  await waitFor("no problem", async () => (await problems()).length === 0);
});

test("without --network-policy, and after cleanup, nothing of it is left", async () => {
  const attachments = n1.machine.hostPath("/run/flannel/attachments");
  expect(existsSync(attachments)).toBe(true);
  await n1.daemon.stop();
  await n1.daemon.start({ flags: ["--network-policy=false"] });
  expect(await policyTraces(n1)).toBe("");
  expect(existsSync(attachments)).toBe(false);
  await waitUntilReaches(server.ip, new Map([[stranger, true]]));

  await n2.daemon.stop();
  expect(await policyTraces(n2)).not.toBe("");
  const [program = "", ...first] = DAEMON_COMMAND;
  const flags = [`--subnet-file=${SUBNET_FILE}`, `--cni-conf-file=${CONFLIST_FILE}`];
  const { stdout, stderr } = await n2.exec(program, [...first, "cleanup", ...flags]);
  expect({ stderr, traces: await policyTraces(n2) }).toEqual({ stderr: "", traces: "" });
  expect(stdout).toMatch(/removed \d+ iptables chains and jumps of network policy/);
  expect(existsSync(n2.machine.hostPath("/run/flannel/attachments"))).toBe(false);
});
