// The firewall table on the real kernel, in both iptables modes and both families: text, drift, adoption, foreign rules.
import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { KernelTable } from "../../src/host/kernel-table.ts";
import type { Chain, FirewallRow, Jump } from "../../src/host/state.ts";
import { processesStarted } from "../../src/kernel/exec.ts";
import { createFirewallTable } from "../../src/kernel/iptables/firewall-table.ts";
import { detectIptablesVariant, listIptablesVariants } from "../../src/kernel/iptables/variant.ts";
import type { Family } from "../../src/net/ip.ts";
import { createNamespace } from "../support/netns.ts";
import type { TestNamespace } from "../support/netns.ts";
import { NOTHING_WRITTEN, reconcileFirewall } from "../support/reconcile-firewall.ts";
import { trafficRows } from "../support/traffic-rows.ts";

/** What other programs have on a node, around which ours must live. */
const FOREIGN = `*nat
:DOCKER - [0:0]
:KUBE-POSTROUTING - [0:0]
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
COMMIT
*filter
:DOCKER-USER - [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes \\"forward\\" rules" -j KUBE-FORWARD
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j RETURN
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`;

const CASES = (["nft", "legacy"] as const).flatMap((mode) =>
  ([4, 6] as const).map((family) => ({ mode, family })),
);

describe.each(CASES)("$mode, IPv$family", ({ mode, family }) => {
  let namespace: TestNamespace;
  let table: KernelTable<FirewallRow>;
  const program = `${family === 4 ? "iptables" : "ip6tables"}-${mode}`;
  const desired = trafficRows(family);

  beforeEach(async () => {
    namespace = await createNamespace("fts-fw");
    const variant = (await listIptablesVariants(namespace)).find((found) => found.mode === mode);
    if (variant === undefined) throw new Error(`${program} is not installed: apt-get install iptables`);
    table = createFirewallTable({ variant, families: [family] }, namespace);
  });
  afterEach(() => namespace.remove());

  const iptables = async (args: string): Promise<string> =>
    (
      await namespace.exec(
        program,
        [...args.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? ""),
      )
    ).stdout;

  const restore = async (input: string): Promise<void> => {
    await namespace.exec(`${program}-restore`, ["--noflush"], { input });
  };

  /** Everything in the kernel, without times and counters. */
  const save = async (): Promise<string> => {
    const { stdout } = await namespace.exec(`${program}-save`, []);
    return stdout.replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "[0:0]");
  };

  const golden = (): Promise<string> =>
    readFile(new URL(`../golden/iptables/list-ipv${family}.txt`, import.meta.url), "utf8");

  /** Lines of `iptables -S` about flannel: what flannel's end-to-end test compares. */
  const listed = async (): Promise<string> => {
    const lines = `${await iptables("-t nat -S")}${await iptables("-t filter -S")}`.split("\n");
    return lines.flatMap((line) => (line.includes("FLANNEL") ? `${line}\n` : [])).join("");
  };

  test("writes flannel's rules to the letter, and then nothing more", async () => {
    expect(await table.list()).toEqual([]);
    expect(await reconcileFirewall(table, desired)).toMatchObject({ created: 4, failed: [] });
    expect(await listed()).toBe(await golden());
    const before = processesStarted();
    expect(await reconcileFirewall(table, desired)).toMatchObject(NOTHING_WRITTEN);
    expect(processesStarted() - before).toBe(1);
  });

  test("adopts what Go flannel has left, without a write", async () => {
    for (const line of (await golden()).trim().split("\n")) {
      await iptables(`-t ${/FWD|FORWARD/.test(line) ? "filter" : "nat"} ${line}`);
    }
    expect(await reconcileFirewall(table, desired)).toMatchObject(NOTHING_WRITTEN);
  });

  const drifts: readonly { name: string; commands: readonly string[] }[] = [
    { name: "flushed chain", commands: ["-t nat -F FLANNEL-POSTRTG"] },
    { name: "deleted jump", commands: ['-D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD'] },
    {
      name: "duplicated jump",
      commands: [
        '-t nat -I POSTROUTING 1 -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
        '-t nat -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
      ],
    },
    {
      name: "reordered rules",
      commands: [
        '-t nat -D FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN',
        '-t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN',
      ],
    },
    { name: "foreign rule in our chain", commands: ["-I FLANNEL-FWD 1 -p tcp --dport 80 -j DROP"] },
    {
      name: "deleted chain",
      commands: [
        '-D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
        "-F FLANNEL-FWD",
        "-X FLANNEL-FWD",
      ],
    },
    { name: "second jump without the comment", commands: ["-t nat -A POSTROUTING -j FLANNEL-POSTRTG"] },
    {
      name: "chain and jump of ours that nobody wants",
      commands: ["-N FLANNEL-STRAY", "-A FLANNEL-STRAY -j DROP", "-A DOCKER-USER -j FLANNEL-STRAY"],
    },
  ];

  test.each(drifts)("puts back: $name; what is not ours stays as and where it is", async ({ commands }) => {
    await restore(FOREIGN);
    const foreign = await save();
    await reconcileFirewall(table, desired);
    const right = await save();
    for (const command of commands) await iptables(command);
    expect(await save()).not.toBe(right);
    expect((await reconcileFirewall(table, desired)).failed).toEqual([]);
    expect(await save()).toBe(right);
    expect(await reconcileFirewall(table, desired)).toMatchObject(NOTHING_WRITTEN);
    expect((await reconcileFirewall(table, [])).failed).toEqual([]);
    expect(await save()).toBe(foreign);
  });

  test("what is all flushed, as by a firewalld restart, comes back whole", async () => {
    await reconcileFirewall(table, desired);
    for (const name of ["nat", "filter"]) {
      await iptables(`-t ${name} -F`);
      await iptables(`-t ${name} -X`);
    }
    await reconcileFirewall(table, desired);
    expect(await listed()).toBe(await golden());
  });

  const chain = (name: string, ...rules: string[]): Chain => ({
    kind: "chain",
    family,
    table: "filter",
    name,
    rules: rules.map((rule) => rule.split(" ")),
  });

  test("a jump that is first stays first, also of a chain with thousands of rules", async () => {
    await restore(FOREIGN);
    await reconcileFirewall(table, desired);
    const host = (index: number): string =>
      family === 4 ? `10.1.${index >> 8}.${index & 255}` : `fd00::${index.toString(16)}`;
    const rules = Array.from({ length: 2000 }, (_, index) => `-s ${host(index)} -j RETURN`);
    const first: Jump = {
      kind: "jump",
      family,
      table: "filter",
      from: "FORWARD",
      position: "first",
      rule: ["-j", "FLANNEL-NP"],
    };
    const policy = [
      ...desired,
      chain("FLANNEL-NP", "-j FLANNEL-NP-1"),
      chain("FLANNEL-NP-1", ...rules),
      first,
    ];
    expect(await reconcileFirewall(table, policy)).toMatchObject({ created: 3, failed: [] });
    expect((await iptables("-S FORWARD 1")).trim()).toBe("-A FORWARD -j FLANNEL-NP");
    await iptables("-I FORWARD 1 -j ACCEPT");
    expect(await reconcileFirewall(table, policy)).toMatchObject({
      created: 0,
      replaced: 1,
      removed: 0,
      failed: [],
    });
    expect((await iptables("-S FORWARD 1")).trim()).toBe("-A FORWARD -j FLANNEL-NP");
    expect(await reconcileFirewall(table, policy)).toMatchObject(NOTHING_WRITTEN);
  });

  test("a row that the kernel refuses fails alone, by name", async () => {
    const rows = [
      chain("FLANNEL-A", "-j RETURN"),
      chain("FLANNEL-B", "-j RETURN", "-j MASQUERADE"),
      chain("FLANNEL-C", "-j NOSUCH"),
      chain("FLANNEL-D", "-m set --match-set fts-nosuch src -j RETURN"),
      chain("FLANNEL-E", "-j FLANNEL-A"),
      chain("FLANNEL-LOOP", "-j FLANNEL-LOOP"),
    ];
    const loop: Jump = {
      kind: "jump",
      family,
      table: "filter",
      from: "INPUT",
      position: "first",
      rule: ["-j", "FLANNEL-LOOP"],
    };
    const failures = await table.put([...rows, loop, ...desired]);
    expect(new Set(failures.map(({ key }) => key))).toEqual(
      new Set([
        ...["B", "C", "D"].map((name) => `ipv${family} filter chain FLANNEL-${name}`),
        `ipv${family} filter INPUT -j FLANNEL-LOOP`,
      ]),
    );
    for (const { reason } of failures) expect(reason).not.toMatch(/Try `|Error occurred|^ip6?tables/);
    expect(failures.find(({ key }) => key.endsWith("-D"))?.reason).toContain("fts-nosuch");
    expect((await table.list()).map((row) => (row.kind === "chain" ? row.name : row.from)).sort()).toEqual([
      "FLANNEL-A",
      "FLANNEL-E",
      "FLANNEL-FWD",
      "FLANNEL-LOOP",
      "FLANNEL-POSTRTG",
      "FORWARD",
      "POSTROUTING",
    ]);
  });

  test("rules in any spelling are recognised when listed", async () => {
    const setFamily = family === 4 ? "inet" : "inet6";
    await namespace.exec("ipset", ["create", "fts-set", "hash:ip", "family", setFamily]);
    const [host, net] = family === 4 ? ["10.1.2.3", "10.0.0.0/8"] : ["FD00:0:0::1", "fd00::/8"];
    const rules = [
      `-m comment --comment x -d ${host} -s ${net} -j ACCEPT`,
      `! -s ${net} -i veth+ -o cni0 -j DROP`,
      `-p tcp --dport 80:80 -m comment --comment x -j ACCEPT`,
      `-p udp -m udp --sport 1024: -m mark --mark 16384/16384 -j ACCEPT`,
      `-p tcp -m comment --comment x --dport 80 --syn -j ACCEPT`,
      `-p 132 -m sctp --dport 7 -j ACCEPT`,
      `-p tcp -m multiport --dports 80,443,8000:8080 -j ACCEPT`,
      `-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT`,
      `-m mark ! --mark 0x10000/0x10000 -j RETURN`,
      `-m set --match-set fts-set src -m set ! --match-set fts-set dst -j MARK --set-mark 0x10000/0x10000`,
      `-j MARK --or-mark 0x8000`,
      `-j MARK --and-mark 0xffff7fff`,
      `-m physdev --physdev-is-bridged --physdev-out veth1 -j RETURN`,
      `-m addrtype --dst-type LOCAL -j RETURN`,
      `-p tcp -j REJECT --reject-with tcp-reset`,
      "-j REJECT",
      family === 4 ? "-p icmp --icmp-type 8 -j ACCEPT" : "-p icmpv6 --icmpv6-type 128 -j ACCEPT",
      `-g FLANNEL-T2`,
    ];
    const rows = [chain("FLANNEL-T1", ...rules), chain("FLANNEL-T2")];
    expect(await reconcileFirewall(table, rows)).toMatchObject({ created: 2, failed: [] });
    const [actual] = await table.list();
    expect(actual?.kind === "chain" && actual.rules.length).toBe(rules.length);
    expect(await reconcileFirewall(table, rows)).toMatchObject(NOTHING_WRITTEN);
  });

  test("untrusted text comes back letter by letter", async () => {
    const texts = [
      `a "b" 'c' \\d\\`,
      "-A in the middle -j",
      "größe 日本",
      "#x",
      "!x",
      "$(id) `id` ;|&",
      "x".repeat(250),
    ];
    const rows: Chain[] = [
      {
        ...chain("FLANNEL-T"),
        rules: texts.map((text) => ["-m", "comment", "--comment", `x${text}`, "-j", "RETURN"]),
      },
    ];
    expect(await reconcileFirewall(table, rows)).toMatchObject({ created: 1, failed: [] });
    expect(await reconcileFirewall(table, rows)).toMatchObject(NOTHING_WRITTEN);
  });
});

test("the mode is that of the rules which are there, and rules in both are worth a warning", async () => {
  const namespace = await createNamespace("fts-fw");
  const families: readonly Family[] = [4, 6];
  try {
    expect((await detectIptablesVariant({ families }, namespace)).mode).toBe("nft");
    await namespace.exec("iptables-legacy", ["-A", "FORWARD", "-j", "ACCEPT"]);
    expect(await detectIptablesVariant({ families }, namespace)).toMatchObject({ mode: "legacy" });
    await namespace.exec("ip6tables-nft", ["-t", "mangle", "-N", "KUBE-KUBELET-CANARY"]);
    const variant = await detectIptablesVariant({ families }, namespace);
    expect(variant.mode).toBe("nft");
    expect(variant.warning).toContain("1 in legacy");
  } finally {
    await namespace.remove();
  }
});

test("a table that somebody changed with nft is left alone, with the cure in the reason", async () => {
  const namespace = await createNamespace("fts-fw");
  try {
    const input =
      "add table ip filter\n" +
      "add chain ip filter FORWARD { type filter hook forward priority 0; }\n" +
      "add rule ip filter FORWARD ct state vmap { established : accept }\n";
    await namespace.exec("nft", ["-f", "-"], { input });
    const variant = await detectIptablesVariant({ families: [4] }, namespace);
    const table = createFirewallTable({ variant, families: [4] }, namespace);
    const { failed, created } = await reconcileFirewall(table, trafficRows(4));
    expect(created).toBe(2);
    expect(failed.map(({ reason }) => reason)).toEqual(
      Array(2).fill(expect.stringContaining("nft list table ip filter")),
    );
    expect((await namespace.exec("nft", ["list", "table", "ip", "filter"])).stdout).not.toContain("FLANNEL");
  } finally {
    await namespace.remove();
  }
});
