// Laws of the firewall table: text round-trips, comparing is an equivalence, any drift is repaired and stays repaired.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Chain, FirewallRow, Jump } from "../../src/host/state.ts";
import { canonicalRule, rulesEqual } from "../../src/kernel/iptables/canonical-rule.ts";
import { createFirewallTable } from "../../src/kernel/iptables/firewall-table.ts";
import { renderPut } from "../../src/kernel/iptables/restore-render.ts";
import { parseIptablesSave } from "../../src/kernel/iptables/save-codec.ts";
import { formatTokens, readLine, ruleProblem } from "../../src/kernel/iptables/tokens-codec.ts";
import type { IptablesVariant } from "../../src/kernel/iptables/variant.ts";
import { createFakeIptables } from "../support/fake-iptables.ts";
import { NOTHING_WRITTEN, reconcileFirewall } from "../support/reconcile-firewall.ts";
import { trafficRows } from "../support/traffic-rows.ts";

const VARIANT: IptablesVariant = {
  mode: "nft",
  version: "1.8.9",
  binaries: { 4: { save: "iptables-nft-save", restore: "iptables-nft-restore" } },
  wait: true,
  randomFully: true,
};

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({
    unit: fc.constantFrom('"', "\\", "'", " ", "\n", "-", "!", "j", "A", "#", "$"),
    maxLength: 12,
  }),
);
const address = fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([ip, length]) => `${ip}/${length}`);
const header = fc.oneof(
  address.map((value) => ["-s", value]),
  address.map((value) => ["!", "-d", value]),
  fc.constantFrom("veth1", "cni0", "eth+").map((value) => ["-i", value]),
);
const match = fc.oneof(
  text.map((value) => ["-m", "comment", "--comment", value]),
  fc.nat(0xffff).map((value) => ["-m", "mark", "--mark", `0x${value.toString(16)}/0xffff`]),
  fc.nat(65_535).map((port) => ["-m", "tcp", "--dport", String(port)]),
  fc.constantFrom("src", "dst").map((side) => ["-m", "set", "--match-set", "peers", side]),
);
const target = fc.constantFrom(["-j", "ACCEPT"], ["-j", "RETURN"], ["-j", "MARK", "--set-xmark", "0x1/0x1"]);
const parts = fc.tuple(
  fc.uniqueArray(header, { selector: ([first, second]) => (first === "!" ? second : first) }),
  fc.array(match, { maxLength: 4 }),
  target,
);
const rule = parts
  .map(([headers, matches, last]) => [...headers.flat(), ...matches.flat(), ...last])
  .filter((tokens) => ruleProblem(tokens) === undefined);

describe("text", () => {
  test("a line that can be written is read back token by token", () => {
    fc.assert(
      fc.property(fc.array(text, { minLength: 1 }), (tokens) => {
        fc.pre(ruleProblem(tokens) === undefined);
        const line = formatTokens(tokens);
        expect(line).not.toContain("\n");
        expect(readLine(`${line}\nCOMMIT\n`, 0)).toEqual({ tokens, end: line.length + 1 });
      }),
    );
  });

  test("parse(render(rows)) == rows", () => {
    fc.assert(
      fc.property(fc.array(fc.array(rule, { maxLength: 5 }), { maxLength: 5 }), (chains) => {
        const rows = chains.map((rules, index): Chain => ({
          kind: "chain",
          family: 4,
          table: "filter",
          name: `FLANNEL-${index}`,
          rules,
        }));
        const parsed =
          parseIptablesSave(renderPut(rows, undefined).text).tables.get("filter")?.chains ?? new Map();
        expect([...parsed]).toEqual(rows.map(({ name, rules }) => [name, rules]));
      }),
    );
  });

  test("whatever somebody writes into a comment, it is one rule in one chain, or it is refused", async () => {
    await fc.assert(
      fc.asyncProperty(text, async (comment) => {
        const fake = createFakeIptables();
        fake.load("iptables-nft-restore", "*filter\n-A FORWARD -j DROP\nCOMMIT\n");
        const rules = [["-m", "comment", "--comment", comment, "-j", "RETURN"]];
        const table = createFirewallTable({ variant: VARIANT, families: [4] }, fake);
        const failures = await table.put([
          { kind: "chain", family: 4, table: "filter", name: "FLANNEL-X", rules },
        ]);
        expect(fake.rules("iptables-nft filter FORWARD")).toEqual(["-j DROP"]);
        if (failures.length === 0) expect(await table.list()).toMatchObject([{ name: "FLANNEL-X", rules }]);
        else expect(await table.list()).toEqual([]);
      }),
    );
  });
});

describe("comparing", () => {
  test("does not see the order of matches and header options, nor where the target stands", () => {
    const shuffled = parts.chain(([headers, matches, last]) =>
      fc.tuple(
        fc.constant([...headers.flat(), ...matches.flat(), ...last]),
        fc.shuffledSubarray(headers, { minLength: headers.length, maxLength: headers.length }),
        fc.shuffledSubarray([...matches, last], {
          minLength: matches.length + 1,
          maxLength: matches.length + 1,
        }),
      ),
    );
    fc.assert(
      fc.property(shuffled, ([original, headers, rest]) => {
        expect(rulesEqual(4, original, [...headers.flat(), ...rest.flat()])).toBe(true);
      }),
    );
  });

  test("is reflexive, symmetric and transitive", () => {
    fc.assert(
      fc.property(rule, rule, rule, (a, b, c) => {
        expect(rulesEqual(4, a, [...a])).toBe(true);
        expect(rulesEqual(4, a, b)).toBe(rulesEqual(4, b, a));
        if (rulesEqual(4, a, b) && rulesEqual(4, b, c)) expect(rulesEqual(4, a, c)).toBe(true);
      }),
    );
  });

  test("sees a change of any value", () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        fc.pre(a !== b);
        const commented = (value: string): string[] => ["-m", "comment", "--comment", value, "-j", "RETURN"];
        expect(canonicalRule(4, commented(a))).not.toBe(canonicalRule(4, commented(b)));
      }),
    );
  });
});

const FIRST: Jump = {
  kind: "jump",
  family: 4,
  table: "filter",
  from: "FORWARD",
  position: "first",
  rule: ["-j", "FLANNEL-NP"],
};
const POLICY: Chain = {
  kind: "chain",
  family: 4,
  table: "filter",
  name: "FLANNEL-NP",
  rules: [["-j", "RETURN"]],
};
const DESIRED: readonly FirewallRow[] = [...trafficRows(4), POLICY, FIRST];

/** What can happen to tables behind our back; commands that make no sense at that moment change nothing. */
const interference = fc.constantFrom(
  "filter -A FORWARD -j KUBE-FORWARD",
  "filter -I FORWARD 1 -j DOCKER-USER",
  "filter -D FORWARD -j DOCKER-USER",
  "filter -A FORWARD -j FLANNEL-NP",
  "filter -I FORWARD 1 -j FLANNEL-NP",
  "filter -D FORWARD -j FLANNEL-NP",
  'filter -I FORWARD 1 -m comment --comment "flanneld forward" -j FLANNEL-FWD',
  'filter -D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
  "filter -A FLANNEL-FWD -j DROP",
  "filter :FLANNEL-FWD - [0:0]",
  "filter :FLANNEL-STRAY - [0:0]",
  "filter -A INPUT -j FLANNEL-STRAY",
  "filter -X FLANNEL-NP",
  'nat -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
  "nat -A POSTROUTING -j FLANNEL-POSTRTG",
  "nat -A POSTROUTING -j MASQUERADE",
  "nat :FLANNEL-POSTRTG - [0:0]",
);

test("whatever happens to the tables, one pass repairs it, a second writes nothing, and foreign rules keep their order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(interference, { maxLength: 12 }), async (commands) => {
      const fake = createFakeIptables();
      const foreign = (): readonly string[] =>
        (fake.rules("iptables-nft filter FORWARD") ?? []).filter((line) => !line.includes("FLANNEL"));
      fake.load("iptables-nft-restore", "*filter\n:KUBE-FORWARD - [0:0]\n:DOCKER-USER - [0:0]\nCOMMIT\n");
      const table = createFirewallTable({ variant: VARIANT, families: [4] }, fake);
      await reconcileFirewall(table, DESIRED);
      for (const command of commands) {
        const [name = "", ...rest] = command.split(" ");
        try {
          fake.load("iptables-nft-restore", `*${name}\n${rest.join(" ")}\nCOMMIT\n`);
        } catch {
          // As iptables itself: an impossible command leaves the table as it is.
        }
      }
      const before = foreign();
      expect((await reconcileFirewall(table, DESIRED)).failed).toEqual([]);
      expect(await reconcileFirewall(table, DESIRED)).toMatchObject(NOTHING_WRITTEN);
      expect(foreign()).toEqual(before);
      expect(fake.rules("iptables-nft filter FORWARD")?.[0]).toBe("-j FLANNEL-NP");
      expect(await table.list()).toHaveLength(DESIRED.length);
    }),
  );
});
