// Makes ipsets and firewall rules equal to the compiled policy, in steps between which nothing is open that should be closed.
import { createFamilyGate } from "./family-gate.ts";
import type { FamilyGate } from "./family-gate.ts";
import type { IpsetRow } from "./ipset-state.ts";
import type { KernelTable } from "./kernel-table.ts";
import type { PolicyApplyReport, PolicyFailure } from "./policy-report.ts";
import { createSetReconciler } from "./set-reconciler.ts";
import type { SetPass } from "./set-reconciler.ts";
import type { SetTable } from "./set-table.ts";
import type { FirewallRow } from "./state.ts";
import { createTableReconciler, WHOLE_TABLE } from "./table-reconciler.ts";
import type { TablePass } from "./table-reconciler.ts";

/** What the kernel gets of a compiled policy. Rows that did not change are best the same objects as before. */
export interface DesiredPolicy {
  readonly firewall: readonly FirewallRow[];
  /** Of those that isolate, in the order in which members may be added; removing goes the other way. */
  readonly sets: readonly IpsetRow[];
  /** By name the sets whose members are let through: peers and ports. All other sets isolate. */
  readonly specs: ReadonlyMap<string, unknown>;
}

export interface PolicyApplier {
  /**
   * Writes the difference. Never throws: failures are in the report, and the next pass asks the kernel. One call at a time;
   * the caller's loop sees to it. Where nothing changed no process is started; members alone are one `ipset restore`.
   */
  apply(desired: DesiredPolicy): Promise<PolicyApplyReport>;
  /** Says that somebody may have changed sets or rules behind our back: the next `apply` asks the kernel. */
  invalidate(): void;
}

export interface PolicyApplierModules {
  readonly sets: SetTable;
  /** Of our chains only: `createFirewallTable` with the prefix of policy. */
  readonly firewall: KernelTable<FirewallRow>;
}

export function createPolicyApplier(modules: PolicyApplierModules): PolicyApplier {
  const gate = createFamilyGate(modules.firewall);
  const rules = createTableReconciler(gate.table);
  const sets = createSetReconciler(modules.sets);
  /** The rules that the kernel has, as far as we know: the same array again needs no look at its rows. */
  let inForce: readonly FirewallRow[] | undefined;
  let invalidations = 0;

  return {
    invalidate() {
      invalidations += 1;
      inForce = undefined;
      rules.invalidate("outside");
      sets.invalidate();
    },
    async apply(desired) {
      const invalidationsBefore = invalidations;
      gate.reset();
      const [setPass, rulePass] = await Promise.all([
        sets.plan(desired.sets, (name) => desired.specs.has(name)),
        inForce === desired.firewall ? undefined : rules.plan(desired.firewall),
      ]);
      inForce = undefined;
      if (rulePass === undefined) {
        await setPass.writeAll();
      } else {
        // Unknown rules rely on unknown sets.
        if (rulePass.report().failed.length > 0) gate.giveUp();
        // A set is filled before a rule names it.
        for (const [family, reason] of await setPass.writeEarly()) gate.close(family, reason);
        // One transaction per family; held back where sets are not ready, since then the last good rules are better.
        await rulePass.writeAll();
        // Where the rules are the desired ones, nothing relies any more on what goes now.
        await setPass.writeLate((family) => !gate.isBehind(family));
      }
      const isClean = (rulePass?.report().failed.length ?? 0) === 0;
      if (isClean && invalidations === invalidationsBefore) inForce = desired.firewall;
      return reportOf(desired, gate, setPass, rulePass);
    },
  };
}

const NO_ROWS = { created: 0, replaced: 0, removed: 0 };

function reportOf(
  desired: DesiredPolicy,
  gate: FamilyGate,
  setPass: SetPass,
  rulePass: TablePass | undefined,
): PolicyApplyReport {
  const sets = setPass.report();
  const rules = rulePass?.report();
  const { created, replaced, removed } = rules ?? NO_ROWS;
  return {
    listed: sets.listed || rules?.listed === true,
    desired: {
      firewallRows: desired.firewall.length,
      sets: desired.sets.length,
      members: desired.sets.reduce((sum, { members }) => sum + members.length, 0),
    },
    firewall: { created, replaced, removed },
    sets: sets.done,
    repaired: { firewall: rules?.repaired ?? NO_ROWS, sets: sets.repaired },
    failed: [
      ...sets.failed.map(({ key, reason }): PolicyFailure => ({ part: "sets", key, reason })),
      ...firewallFailures(gate, rulePass),
    ],
  };
}

/** Rows that were held back are one failure per family: the reason is elsewhere. */
function firewallFailures(gate: FamilyGate, rulePass: TablePass | undefined): readonly PolicyFailure[] {
  const { keys, reasons } = gate.withheld();
  const refused = rulePass?.report().failed.filter(({ key }) => !keys.has(key)) ?? [];
  return [
    ...refused.map(({ key, reason }): PolicyFailure => ({ part: "firewall", key, reason })),
    ...Array.from(reasons, ([family, reason]): PolicyFailure => ({
      part: "firewall",
      key: `ipv${family} ${WHOLE_TABLE}`,
      reason: `the rules in force stay as they are, since ${reason}`,
    })),
  ];
}
