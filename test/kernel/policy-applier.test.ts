// Compiled policy in the real kernel: what a change costs, what others undo, what is others' own, and taking it all away.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runCleanup } from "../../src/cli/cleanup.ts";
import { createPolicyApplier } from "../../src/host/policy-applier.ts";
import type { PolicyApplier } from "../../src/host/policy-applier.ts";
import { countRepairs } from "../../src/host/policy-report.ts";
import type { PolicyApplyReport } from "../../src/host/policy-report.ts";
import type { Exec } from "../../src/kernel/exec.ts";
import { createSetTable } from "../../src/kernel/ipset/set-table.ts";
import { createFirewallTable } from "../../src/kernel/iptables/firewall-table.ts";
import { listIptablesVariants } from "../../src/kernel/iptables/variant.ts";
import { removePolicy } from "../../src/kernel/remove-policy.ts";
import { parseCidr } from "../../src/net/cidr.ts";
import { compilePolicy } from "../../src/policy/compile.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../src/policy/settings.ts";
import type { Pod, Policy } from "../../src/policy/snapshot.ts";
import { createNamespace } from "../support/netns.ts";
import type { TestNamespace } from "../support/netns.ts";
import { podOf, policiesOf, snapshotOf } from "../support/policy-cluster.ts";
import { trafficRows } from "../support/traffic-rows.ts";

const SETTINGS = { ...DEFAULT_POLICY_SETTINGS, denyWith: "reject", logGroup: 5 } as const;
const POLICIES = policiesOf(`
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: x, name: web}, spec: {podSelector: {matchLabels: {app: a}},
  ingress: [{from: [{podSelector: {matchLabels: {app: far}}}], ports: [{port: 80}, {port: http}, {protocol: SCTP, port: 7, endPort: 9}]}]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: x, name: out}, spec: {podSelector: {matchLabels: {app: b}},
  policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}, {ipBlock: {cidr: "::/0"}}]}]}}
`);
const http = { ports: [{ name: "http", protocol: "TCP", port: 8080 }] } as const;
const [A, B, FAR] = [
  podOf("x/a", "1.11", { app: "a" }, http),
  podOf("x/b", "1.12", { app: "b" }),
  podOf("x/far", "2.13", { app: "far" }),
];
const A2 = podOf("x/a2", "1.21", { app: "a" }, http);

describe.each(["nft", "legacy"] as const)("iptables-%s", (mode) => {
  let namespace: TestNamespace;
  let applier: PolicyApplier;
  let processes: string[];

  beforeEach(async () => {
    namespace = await createNamespace("st-applier");
    processes = [];
    const exec: Exec = (command, args, options) => {
      processes.push(command);
      return namespace.exec(command, args, options);
    };
    const variant = (await listIptablesVariants(namespace)).find((found) => found.mode === mode);
    if (variant === undefined) throw new Error(`iptables-${mode} is not installed: apt-get install iptables`);
    await addOthers();
    // Flannel's own rules accept all pods' traffic.
    const traffic = createFirewallTable({ variant, families: [4, 6] }, namespace);
    expect(await traffic.put([...trafficRows(4), ...trafficRows(6)])).toEqual([]);
    applier = createPolicyApplier({
      sets: createSetTable({ prefix: SETTINGS.prefix }, { exec }),
      firewall: createFirewallTable({ variant, families: [4, 6], chainPrefix: SETTINGS.prefix }, { exec }),
    });
  });
  afterEach(() => namespace.remove());

  const iptables = (line: string) => namespace.exec(`iptables-${mode}`, line.split(" "));
  const ipset = (line: string) => namespace.exec("ipset", line.split(" "));

  /** As kube-proxy and Docker have them. */
  async function addOthers(): Promise<void> {
    await ipset("create KUBE-CLUSTER-IP hash:ip,port");
    await ipset("add KUBE-CLUSTER-IP 10.96.0.1,tcp:443");
    for (const line of [
      "-N KUBE-FORWARD",
      "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
      "-A FORWARD -j KUBE-FORWARD",
      "-N DOCKER-USER",
      "-A DOCKER-USER -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN",
      "-I FORWARD 1 -j DOCKER-USER",
      "-A INPUT -i lo -j ACCEPT",
    ])
      await iptables(line);
  }

  let firewall: ReturnType<typeof compilePolicy>["firewall"] | undefined;
  beforeEach(() => {
    firewall = undefined;
  });
  /** Rules that stay the same are the same array, as the graph gives them. */
  async function apply(
    pods: readonly Pod[],
    policies: readonly Policy[] = POLICIES,
  ): Promise<PolicyApplyReport> {
    const compiled = compilePolicy(snapshotOf({ pods, policies }), SETTINGS);
    if (JSON.stringify(compiled.firewall) !== JSON.stringify(firewall)) firewall = compiled.firewall;
    processes.length = 0;
    return applier.apply({ ...compiled, firewall: firewall ?? [] });
  }

  async function dump(): Promise<string> {
    const texts = await Promise.all([
      namespace.exec(`iptables-${mode}-save`, []),
      namespace.exec(`ip6tables-${mode}-save`, []),
      namespace.exec("ipset", ["save"]),
    ]);
    const rules = texts
      .slice(0, 2)
      .map(({ stdout }) => stdout.replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, ""));
    // Order of chains and sets says nothing; order of rules in a chain does.
    const chains = rules.map((text) =>
      text.split("\n").filter((line) => !line.startsWith(":FTSP-")).map((line, at) => [/^-A (FTSP-\S+)/.exec(line)?.[1] ?? "", at, line] as const)
        .toSorted(([a, i], [b, j]) => (a < b ? -1 : a > b ? 1 : i - j)).map(([, , line]) => line),
    ); // prettier-ignore
    const sets =
      texts[2]?.stdout
        .replaceAll(/ (initval|hashsize|bucketsize) \S+/g, "")
        .split("\n")
        .toSorted() ?? [];
    return [...chains.flat(), ...sets].join("\n");
  }

  const chainOf = (text: string, chain: string): readonly string[] =>
    text.split("\n").filter((line) => line.startsWith(`-A ${chain} `));

  test("what is written is what is listed, before everybody's rules, and others' rules are as they were", async () => {
    const before = await dump();
    expect(await apply([A, B, FAR])).toMatchObject({ failed: [], listed: true });
    const after = await dump();
    expect(after.split("\n").filter((line) => !line.includes("FTSP-"))).toEqual(before.split("\n"));
    for (const chain of ["FORWARD", "INPUT"])
      for (const [first] of [chainOf(after, chain), chainOf(after, chain).slice(chain === "FORWARD" ? 4 : 2)])
        expect(first).toContain(`-j FTSP-${chain}`);
    applier.invalidate();
    const report = await apply([A, B, FAR]);
    expect(report).toMatchObject({ failed: [], listed: true });
    expect(countRepairs(report.repaired)).toBe(0);
    expect(processes.filter((name) => !name.endsWith("save") && name !== "ipset")).toEqual([]);
    expect(await dump()).toBe(after);
  });

  test("a pod that joins, is relabelled or leaves is one ipset process; nothing new is none", async () => {
    await apply([A, B, FAR]);
    for (const pods of [
      [A, A2, B, FAR],
      [A, { ...A2, labels: { app: "b" } }, B, FAR],
      [A, B, FAR],
      [A, B],
    ]) {
      expect(await apply(pods)).toMatchObject({ failed: [] });
      expect(processes).toEqual(["ipset"]);
      await apply(pods);
      expect(processes).toEqual([]);
    }
  });

  test("a policy that comes or goes leaves nothing behind", async () => {
    const without = POLICIES.slice(0, 1);
    await apply([A, B, FAR], without);
    const before = await dump();
    expect(await apply([A, B, FAR])).toMatchObject({ failed: [] });
    expect(await dump()).not.toBe(before);
    expect(await apply([A, B, FAR], without)).toMatchObject({ failed: [] });
    const restores = [`ip6tables-${mode}-restore`, `iptables-${mode}-restore`];
    expect(processes.toSorted()).toEqual([...restores, "ipset", "ipset"].toSorted());
    expect(await dump()).toBe(before);
  });

  test("counts of denied packets survive changes of members and of policies", async () => {
    await apply([A, B, FAR]);
    await ipset("-exist add FTSP-4-denied-in 10.244.1.11 packets 17 bytes 1020");
    await apply([A, A2, B, FAR]);
    await apply([A, B, FAR], POLICIES.slice(0, 1));
    applier.invalidate();
    await apply([A, B, FAR]);
    expect((await ipset("save FTSP-4-denied-in")).stdout).toContain(
      "add FTSP-4-denied-in 10.244.1.11 packets 17 bytes 1020",
    );
  });

  const known = async (): Promise<string> =>
    /create (FTSP-4k-\S+)/.exec((await ipset("save")).stdout)?.[1] ?? "";
  const INTERFERENCES: readonly (readonly [string, () => Promise<unknown>])[] = [
    ["iptables -F", () => iptables("-F")],
    ["our chains flushed and deleted", async () => {
      await iptables("-D FORWARD 1");
      await iptables("-F FTSP-FORWARD");
      await iptables("-X FTSP-FORWARD");
    }],
    ["the jump behind another rule", () => iptables("-I FORWARD 1 -s 10.244.0.0/16 -j ACCEPT")],
    ["the jump twice", () => iptables("-A FORWARD -j FTSP-FORWARD")],
    ["a rule in our chain", () => iptables("-I FTSP-POLICY 1 -j ACCEPT")],
    ["a chain of our name", () => iptables("-N FTSP-E-strange")],
    ["ipset flush", () => ipset("flush")],
    ["a member that is gone", async () => ipset(`del ${await known()} 10.244.1.11`)],
    ["a member too many", async () => ipset(`add ${await known()} 10.244.1.99`)],
    ["a chain of our name that others use", async () => {
      await iptables("-N FTSP-E-used");
      await iptables("-A KUBE-FORWARD -j FTSP-E-used");
    }],
    ["a set of our name", () => ipset("create FTSP-strange list:set")],
    ["iptables -F and ipset destroy", async () => {
      await iptables("-F");
      await namespace.exec(`ip6tables-${mode}`, ["-F"]);
      await ipset("destroy");
    }],
  ]; // prettier-ignore

  test("what others undo is found, counted and put back", async () => {
    await apply([A, B, FAR]);
    const ours = (text: string) => text.split("\n").filter((line) => line.includes("FTSP-"));
    const before = ours(await dump());
    for (const [name, interfere] of INTERFERENCES) {
      await interfere();
      applier.invalidate();
      const report = await apply([A, B, FAR]);
      expect(report.failed, name).toEqual([]);
      expect(countRepairs(report.repaired), name).toBeGreaterThan(0);
      const after = await dump();
      expect(ours(after), name).toEqual(before);
      for (const chain of ["FORWARD", "INPUT"])
        expect(chainOf(after, chain)[0], name).toContain(`-j FTSP-${chain}`);
      applier.invalidate();
      expect(countRepairs((await apply([A, B, FAR])).repaired), name).toBe(0);
    }
  });

  test("removal takes all of ours and nothing else, from both modes, and again does no harm", async () => {
    const before = await dump();
    const variants = await listIptablesVariants(namespace);
    const other = variants.find((variant) => variant.mode !== mode);
    if (other === undefined) throw new Error("only one mode of iptables is installed");
    await apply([A, B, FAR]);
    // An earlier daemon used the other mode.
    const earlier = createFirewallTable(
      { variant: other, families: [4, 6], chainPrefix: SETTINGS.prefix },
      namespace,
    );
    expect(await earlier.put(firewall ?? [])).toEqual([]);

    const removal = await removePolicy({ variants, prefix: SETTINGS.prefix }, namespace);
    expect(removal).toMatchObject({ failed: [], firewallRows: 2 * (firewall?.length ?? 0) });
    expect(removal.sets).toBeGreaterThan(5);
    expect(await dump()).toBe(before);
    expect(await earlier.list()).toEqual([]);
    expect(await removePolicy({ variants, prefix: SETTINGS.prefix }, namespace)).toEqual({
      failed: [],
      firewallRows: 0,
      sets: 0,
    });
    applier.invalidate();
    expect(await apply([A, B, FAR])).toMatchObject({ failed: [] });
  });

  test("cleanup takes policy away with all the rest, unless it cleans up after another daemon of this host", async () => {
    await apply([A, B, FAR]);
    const cleanup = async (instance: string): Promise<string> => {
      let output = "";
      const sink = { write: (text: string) => void (output += text) };
      const statusSocket = "/run/flannel/st-nobody/flanneld.sock";
      const network = instance === "" ? undefined : parseCidr("10.99.0.0/16");
      const options = { network, instance, statusSocket, files: [] };
      await runCleanup(options, { exec: namespace.exec, stdout: sink, stderr: sink });
      return output;
    };
    const before = await dump();
    expect(await cleanup("blue")).not.toContain("policy");
    expect(await dump()).toBe(before);
    expect(await cleanup("")).toMatch(
      /removed \d+ iptables chains and jumps of network policy\nremoved \d+ ipsets of network policy\n/,
    );
    expect(await dump()).not.toMatch(/FTSP-|FLANNEL-/);
    expect(await dump()).toMatch(/DOCKER-USER[\s\S]*KUBE-CLUSTER-IP/);
  });
});
