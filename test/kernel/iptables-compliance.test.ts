// The firewall table keeps the contract of every kernel table: in memory, and on the real kernel in both iptables modes.
import { afterEach, describe } from "vitest";
import type { Chain, FirewallRow, Jump } from "../../src/host/state.ts";
import type { Exec } from "../../src/kernel/exec.ts";
import { createFirewallTable } from "../../src/kernel/iptables/firewall-table.ts";
import { listIptablesVariants } from "../../src/kernel/iptables/variant.ts";
import type { IptablesMode } from "../../src/kernel/iptables/choose-mode.ts";
import { createFakeIptables } from "../support/fake-iptables.ts";
import { itIsAKernelTable } from "../support/kernel-table-compliance.ts";
import type { ComplianceCase } from "../support/kernel-table-compliance.ts";
import { createNamespace } from "../support/netns.ts";

const cleanUps: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

function chain(name: string, ...rules: string[]): Chain {
  return { kind: "chain", family: 4, table: "filter", name, rules: rules.map((rule) => rule.split(" ")) };
}

const JUMP: Jump = {
  kind: "jump",
  family: 4,
  table: "filter",
  from: "FORWARD",
  position: "first",
  rule: ["-j", "FLANNEL-B"],
};

async function complianceCase(exec: Exec, mode: IptablesMode): Promise<ComplianceCase<FirewallRow>> {
  const variant = (await listIptablesVariants({ exec })).find((found) => found.mode === mode);
  if (variant === undefined) throw new Error(`iptables-${mode} is not installed: apt-get install iptables`);
  const run = (program: string, input: string) =>
    exec(`iptables-${mode}-${program}`, program === "restore" ? ["--noflush"] : [], { input });
  return {
    table: createFirewallTable({ variant, families: [4] }, { exec }),
    rows: [chain("FLANNEL-A", "-s 10.0.0.1/32 -j ACCEPT"), chain("FLANNEL-B", "-j RETURN"), JUMP],
    changed: chain("FLANNEL-A", "-s 10.0.0.1/32 -j DROP", "-j RETURN"),
    // Only the nat table has it: refused by the kernel, in legacy mode without a reason.
    bad: chain("FLANNEL-BAD", "-j MASQUERADE"),
    foreign: {
      add: () =>
        run(
          "restore",
          "*filter\n:KUBE-FLANNEL-X - [0:0]\n-A FORWARD -j KUBE-FLANNEL-X\n-A FORWARD -j ACCEPT\nCOMMIT\n" +
            "*mangle\n:FLANNEL-MINE - [0:0]\n-A FORWARD -j FLANNEL-MINE\nCOMMIT\n",
        ),
      show: async () =>
        (await run("save", "")).stdout.replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, ""),
    },
    bulk: (count) => Array.from({ length: count }, (_, index) => chain(`FLANNEL-${index}`, "-j RETURN")),
  };
}

describe.each(["nft", "legacy"] as const)("%s", (mode) => {
  itIsAKernelTable(async () => {
    const namespace = await createNamespace("fts-fw");
    cleanUps.push(() => namespace.remove());
    return complianceCase(namespace.exec, mode);
  });
});

describe("in memory", () => {
  itIsAKernelTable(async () => {
    const fake = createFakeIptables();
    fake.refuseRule = (rule) =>
      rule.includes("MASQUERADE") ? "RULE_APPEND failed (Invalid argument)" : undefined;
    return complianceCase(fake.exec, "nft");
  });
});
