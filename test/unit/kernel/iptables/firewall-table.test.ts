// The firewall table against an iptables in memory: how many tools run, what they are told, and what happens on refusal.
import { beforeEach, describe, expect, test } from "vitest";
import type { KernelTable } from "../../../../src/host/kernel-table.ts";
import type { Chain, FirewallRow, Jump } from "../../../../src/host/state.ts";
import { createFirewallTable } from "../../../../src/kernel/iptables/firewall-table.ts";
import type { IptablesVariant } from "../../../../src/kernel/iptables/variant.ts";
import { createFakeIptables } from "../../../support/fake-iptables.ts";
import type { FakeIptables } from "../../../support/fake-iptables.ts";
import { NOTHING_WRITTEN, reconcileFirewall } from "../../../support/reconcile-firewall.ts";
import { BOTH_FAMILIES, trafficRows } from "../../../support/traffic-rows.ts";

const VARIANT: IptablesVariant = {
  mode: "nft",
  version: "1.8.9",
  binaries: {
    4: { save: "iptables-nft-save", restore: "iptables-nft-restore" },
    6: { save: "ip6tables-nft-save", restore: "ip6tables-nft-restore" },
  },
  wait: true,
  randomFully: true,
};
const MASQUERADE_JUMP = '-m comment --comment "flanneld masq" -j FLANNEL-POSTRTG';
const FORWARD_JUMP = '-m comment --comment "flanneld forward" -j FLANNEL-FWD';

let fake: FakeIptables;
let table: KernelTable<FirewallRow>;

beforeEach(() => {
  fake = createFakeIptables();
  table = createFirewallTable({ variant: VARIANT, families: [4, 6] }, fake);
});

function chain(name: string, ...rules: string[]): Chain {
  return { kind: "chain", family: 4, table: "filter", name, rules: rules.map((rule) => rule.split(" ")) };
}

function jump(from: string, rule: string, position: Jump["position"] = "append"): Jump {
  return { kind: "jump", family: 4, table: "filter", from, position, rule: rule.split(" ") };
}

function load(...lines: string[]): void {
  fake.load("iptables-nft-restore", `*filter\n${lines.join("\n")}\nCOMMIT\n`);
}

describe("a pass", () => {
  test("lists with one save per family and writes with one restore per family", async () => {
    expect(await reconcileFirewall(table, BOTH_FAMILIES)).toMatchObject({ created: 8, failed: [] });
    expect(fake.calls.filter((call) => call.endsWith("-restore"))).toEqual([
      "iptables-nft-restore",
      "ip6tables-nft-restore",
    ]);
    fake.calls.length = 0;
    expect(await reconcileFirewall(table, BOTH_FAMILIES)).toMatchObject(NOTHING_WRITTEN);
    expect(fake.calls).toEqual(["iptables-nft-save", "ip6tables-nft-save"]);
  });

  test("chains alone are written without looking: a policy change on a node with many rules is one process", async () => {
    await table.put([chain("FLANNEL-A", "-j RETURN"), chain("FLANNEL-B", "-j FLANNEL-A")]);
    expect(fake.calls).toEqual(["iptables-nft-restore"]);
  });

  test("leaves the rules of others in their order", async () => {
    load(
      ":KUBE-FORWARD - [0:0]",
      "-A FORWARD -j KUBE-FORWARD",
      "-A FORWARD -j DROP",
      "-A KUBE-FORWARD -j ACCEPT",
    );
    await reconcileFirewall(table, BOTH_FAMILIES);
    expect(fake.rules("iptables-nft filter FORWARD")).toEqual(["-j KUBE-FORWARD", "-j DROP", FORWARD_JUMP]);
    await reconcileFirewall(table, []);
    expect(fake.rules("iptables-nft filter FORWARD")).toEqual(["-j KUBE-FORWARD", "-j DROP"]);
    expect(fake.rules("iptables-nft filter KUBE-FORWARD")).toEqual(["-j ACCEPT"]);
  });

  test("removes what is ours and unexplained: jumps of earlier versions, chains of a feature switched off", async () => {
    load(
      ":FLANNEL-OLD - [0:0]",
      "-A FORWARD -j FLANNEL-OLD",
      "-A FORWARD -j FLANNEL-OLD",
      "-A FLANNEL-OLD -j DROP",
    );
    expect(await reconcileFirewall(table, trafficRows(4))).toMatchObject({
      created: 4,
      removed: 2,
      failed: [],
    });
    expect(fake.rules("iptables-nft filter FLANNEL-OLD")).toBeUndefined();
    expect(fake.rules("iptables-nft filter FORWARD")).toEqual([FORWARD_JUMP]);
  });
});

describe("positions", () => {
  const desired = [chain("FLANNEL-NP", "-j RETURN"), jump("FORWARD", "-j FLANNEL-NP", "first")];

  test("first goes ahead of everything, also of our own appended jump", async () => {
    await reconcileFirewall(table, trafficRows(4));
    await reconcileFirewall(table, [...trafficRows(4), ...desired]);
    expect(fake.rules("iptables-nft filter FORWARD")).toEqual(["-j FLANNEL-NP", FORWARD_JUMP]);
    load("-I FORWARD 1 -j ACCEPT");
    expect(await reconcileFirewall(table, [...trafficRows(4), ...desired])).toMatchObject({
      replaced: 1,
      failed: [],
    });
    expect(fake.rules("iptables-nft filter FORWARD")).toEqual(["-j FLANNEL-NP", "-j ACCEPT", FORWARD_JUMP]);
    expect(await reconcileFirewall(table, [...trafficRows(4), ...desired])).toMatchObject(NOTHING_WRITTEN);
  });

  test("append is right wherever others have put theirs since", async () => {
    await reconcileFirewall(table, trafficRows(4));
    load("-I FORWARD 1 -j ACCEPT", "-A FORWARD -j DROP");
    expect(await reconcileFirewall(table, trafficRows(4))).toMatchObject(NOTHING_WRITTEN);
  });

  test("copies are deleted and one is added, in one transaction", async () => {
    await reconcileFirewall(table, trafficRows(4));
    fake.load(
      "iptables-nft-restore",
      `*nat\n-A POSTROUTING ${MASQUERADE_JUMP}\n-A POSTROUTING -j RETURN\nCOMMIT\n`,
    );
    fake.restores.length = 0;
    expect(await reconcileFirewall(table, trafficRows(4))).toMatchObject({ replaced: 1, failed: [] });
    expect(fake.restores).toEqual([
      `*nat\n-D POSTROUTING ${MASQUERADE_JUMP}\n-D POSTROUTING ${MASQUERADE_JUMP}\n-A POSTROUTING ${MASQUERADE_JUMP}\nCOMMIT\n`,
    ]);
    expect(fake.rules("iptables-nft nat POSTROUTING")).toEqual(["-j RETURN", MASQUERADE_JUMP]);
  });

  test("two rows cannot both be first in one chain", async () => {
    const failures = await table.put([...desired, jump("FORWARD", "-s 10.0.0.0/8 -j FLANNEL-NP", "first")]);
    expect(failures.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/^only one rule can be first in FORWARD/),
    ]);
    expect(fake.rules("iptables-nft filter FORWARD")).toEqual(["-j FLANNEL-NP"]);
  });
});

describe("a refused row", () => {
  const chains = Array.from({ length: 20 }, (_, index) =>
    chain(`FLANNEL-${index}`, `-s 10.0.0.${index}/32 -j ACCEPT`),
  );
  const bad = (rule: readonly string[]): string | undefined =>
    rule.some((token) => token === "10.0.0.7/32" || token === "10.0.0.13/32")
      ? "Couldn't load match `x'"
      : undefined;

  test("fails alone, with the tool's words and its rule; the others get in", async () => {
    fake.refuseRule = bad;
    expect(await table.put(chains)).toEqual([
      {
        key: "ipv4 filter chain FLANNEL-7",
        reason: "Couldn't load match `x' (-A FLANNEL-7 -s 10.0.0.7/32 -j ACCEPT)",
      },
      {
        key: "ipv4 filter chain FLANNEL-13",
        reason: "Couldn't load match `x' (-A FLANNEL-13 -s 10.0.0.13/32 -j ACCEPT)",
      },
    ]);
    expect(await table.list()).toHaveLength(18);
  });

  test("is found by halves when the tool does not say which one it is, as legacy does not", async () => {
    fake.refuseRule = bad;
    const exec = fake.exec;
    const silent = { ...fake, exec: silenced(exec) };
    const failures = await createFirewallTable({ variant: VARIANT, families: [4] }, silent).put(chains);
    expect(failures.map(({ key }) => key)).toEqual([
      "ipv4 filter chain FLANNEL-7",
      "ipv4 filter chain FLANNEL-13",
    ]);
    expect(failures[0]?.reason).toBe("refused by the kernel, which gives no reason in legacy mode");
    expect(await table.list()).toHaveLength(18);
    expect(fake.calls.length).toBeLessThan(25);
  });

  test("takes the jump to it along, if it is not there from before", async () => {
    fake.refuseRule = (rule) => (rule.includes("MARK") ? "no MARK here" : undefined);
    const rows = [
      jump("FORWARD", "-j FLANNEL-A"),
      chain("FLANNEL-A", "-j MARK"),
      chain("FLANNEL-B", "-j RETURN"),
    ];
    const failures = await table.put(rows);
    expect(failures.map(({ reason }) => reason)).toEqual([
      "no MARK here (-A FLANNEL-A -j MARK)",
      "Chain 'FLANNEL-A' does not exist",
    ]);
    expect((await table.list()).map((row) => table.key(row))).toEqual(["ipv4 filter chain FLANNEL-B"]);
  });

  test("that cannot be expressed never reaches the tool", async () => {
    const evil: Chain = {
      ...chain("FLANNEL-A"),
      rules: [["-m", "comment", "--comment", 'x" -j ACCEPT\n-F FORWARD', "-j", "DROP"]],
    };
    const failures = await table.put([
      evil,
      { ...chain("FLANNEL A"), rules: [] },
      chain("DOCKER", "-j DROP"),
    ]);
    expect(failures.map(({ reason }) => reason)).toEqual([
      expect.stringContaining("control character"),
      expect.stringContaining('"FLANNEL A" cannot be a chain\'s name'),
      expect.stringContaining("DOCKER is not ours"),
    ]);
    expect(fake.restores).toEqual([]);
  });

  test("a rule in a foreign chain that would not be recognised as ours is refused", async () => {
    const [failure] = await table.put([jump("FORWARD", "-j ACCEPT")]);
    expect(failure?.reason).toContain("must lead to a chain of ours");
  });
});

describe("faults", () => {
  test("a held lock fails every row once, with no search for a culprit", async () => {
    const busy = { exitCode: 4, stdout: "", stderr: "Another app is currently holding the xtables lock.\n" };
    fake.interceptions.push(() => busy);
    const failures = await table.put([chain("FLANNEL-A", "-j RETURN"), chain("FLANNEL-B", "-j RETURN")]);
    expect(failures.map(({ reason }) => reason)).toEqual(Array(2).fill(busy.stderr.trim()));
    expect(fake.calls).toHaveLength(1);
  });

  test("somebody deletes a copy between look and write: it is looked at again", async () => {
    await table.put(trafficRows(4));
    load(`-A FORWARD ${FORWARD_JUMP}`);
    fake.interceptions.push(
      () => undefined,
      () => {
        load(`-D FORWARD ${FORWARD_JUMP}`);
        return undefined;
      },
    );
    expect(await table.put(trafficRows(4))).toEqual([]);
    expect(fake.rules("iptables-nft filter FORWARD")).toEqual([FORWARD_JUMP]);
  });

  test("a family whose tool fails does not stop the other, and is reported for what is wanted of it", async () => {
    const only4 = createFakeIptables({ installed: { "iptables-nft": "iptables v1.8.9 (nf_tables)" } });
    const report = await reconcileFirewall(
      createFirewallTable({ variant: VARIANT, families: [4, 6] }, only4),
      BOTH_FAMILIES,
    );
    expect(report.created).toBe(4);
    expect(report.failed.map(({ reason }) => reason)).toEqual(
      Array(4).fill(expect.stringContaining("not found")),
    );
  });

  test("no tool for any family is a failure of the table", async () => {
    const none = createFakeIptables({ installed: {} });
    await expect(createFirewallTable({ variant: VARIANT, families: [4, 6] }, none).list()).rejects.toThrow(
      "not found",
    );
  });

  test("a table that iptables cannot read is left alone, since its rules would be added again with every pass", async () => {
    fake.interceptions.push(
      ...Array(2).fill(() => ({
        exitCode: 0,
        stdout: "# Table `filter' is incompatible, use 'nft' tool.\n",
        stderr: "",
      })),
    );
    const failures = await table.put(trafficRows(4));
    expect(failures).toHaveLength(2);
    expect(failures[0]?.reason).toMatch(
      /cannot read the nftables table "ip filter".*nft list table ip filter/,
    );
    expect(fake.rules("iptables-nft nat POSTROUTING")).toEqual([MASQUERADE_JUMP]);
    expect(fake.rules("iptables-nft filter FORWARD")).toBeUndefined();
  });

  test("an iptables without -w is not given it", async () => {
    let given: readonly string[] = [];
    const exec: FakeIptables["exec"] = (command, args, options) => {
      given = args;
      return fake.exec(command, args, options);
    };
    await table.put([chain("FLANNEL-A")]);
    await createFirewallTable({ variant: { ...VARIANT, wait: false }, families: [4] }, { exec }).put([
      chain("FLANNEL-A"),
    ]);
    expect(given).toEqual(["--noflush"]);
  });
});

describe("remove", () => {
  test("a chain that others still use stays, and says who uses it", async () => {
    load(":FLANNEL-A - [0:0]", ":MINE - [0:0]", "-A MINE -s 10.0.0.1/32 -j FLANNEL-A");
    const failures = await table.remove([chain("FLANNEL-A")]);
    expect(failures).toEqual([
      { key: "ipv4 filter chain FLANNEL-A", reason: "still used in MINE: -s 10.0.0.1/32 -j FLANNEL-A" },
    ]);
  });

  test("chains that use each other go together, in any order", async () => {
    const rows = [
      chain("FLANNEL-B", "-j RETURN"),
      chain("FLANNEL-A", "-j FLANNEL-B"),
      jump("INPUT", "-j FLANNEL-A"),
    ];
    expect(await table.put(rows)).toEqual([]);
    expect(await table.remove(rows)).toEqual([]);
    expect(await table.list()).toEqual([]);
  });

  test("what is absent is removed already, with no write", async () => {
    expect(await table.remove(BOTH_FAMILIES)).toEqual([]);
    expect(fake.restores).toEqual([]);
  });
});

/** The same tool, but one that speaks as iptables-legacy does when the kernel refuses: the line of COMMIT, no reason. */
function silenced(exec: FakeIptables["exec"]): FakeIptables["exec"] {
  return async (command, args, options) => {
    const result = await exec(command, args, options);
    if (result.exitCode === 0) return result;
    const commit = options?.input?.split("\n").indexOf("COMMIT") ?? 0;
    return { ...result, stderr: `iptables-restore: line ${commit + 1} failed\n` };
  };
}
