// Every state of the kernel between two compiled policies, in the order in which rows may be applied.
import type { IpsetRow } from "../../src/host/ipset-state.ts";
import { planSets } from "../../src/host/set-plan.ts";
import type { SetStep } from "../../src/host/set-plan.ts";
import type { FirewallRow } from "../../src/host/state.ts";
import type { CompiledPolicy } from "../../src/policy/compile.ts";

export interface KernelState {
  readonly firewall: readonly FirewallRow[];
  readonly sets: readonly IpsetRow[];
}

/** As the applier plans it, one set at a time. */
export function statesBetween(before: CompiledPolicy, after: CompiledPolicy): readonly KernelState[] {
  const states: KernelState[] = [];
  const sets = new Map(before.sets.map((row) => [row.name, row]));
  const plan = planSets(sets, after.sets, (name) => after.specs.has(name));
  let { firewall } = before;
  const note = (): number => states.push({ firewall, sets: [...sets.values()] });
  const run = (steps: readonly SetStep[]): void => {
    for (const step of steps) {
      if (step.kind === "replace") throw new Error(`set ${step.set.name} changes its type`);
      if (step.kind === "destroy") sets.delete(step.set.name);
      else {
        const members = new Set(sets.get(step.set.name)?.members);
        for (const member of step.members) members[step.kind === "remove" ? "delete" : "add"](member);
        sets.set(step.set.name, { ...step.set, members: [...members].sort() });
      }
      note();
    }
  };
  note();
  run(plan.early);
  firewall = after.firewall;
  note();
  run(plan.late);
  return states;
}
