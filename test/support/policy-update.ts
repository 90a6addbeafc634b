// Every state of the kernel between two compiled policies, in the order in which rows may be applied.
import type { IpsetRow } from "../../src/host/ipset-state.ts";
import type { FirewallRow } from "../../src/host/state.ts";
import type { CompiledPolicy } from "../../src/policy/compile.ts";

export interface KernelState {
  readonly firewall: readonly FirewallRow[];
  readonly sets: readonly IpsetRow[];
}

/**
 * Sets and members are added row by row in the order of `after`, then all chains change at once, then members and sets go
 * in the reverse order of `before`. Nothing here orders rows by what they are.
 */
export function statesBetween(before: CompiledPolicy, after: CompiledPolicy): readonly KernelState[] {
  const states: KernelState[] = [];
  const sets = new Map(before.sets.map((row) => [row.name, row]));
  const note = (firewall: readonly FirewallRow[]): number =>
    states.push({ firewall, sets: [...sets.values()] });
  note(before.firewall);
  for (const row of after.sets) {
    const members = new Set([...(sets.get(row.name)?.members ?? []), ...row.members]);
    sets.set(row.name, { ...row, members: [...members].sort() });
    note(before.firewall);
  }
  note(after.firewall);
  const wanted = new Map(after.sets.map((row) => [row.name, row]));
  for (const { name } of orderOfRemoval(before, after)) {
    const row = wanted.get(name);
    if (row) sets.set(name, row);
    else sets.delete(name);
    note(after.firewall);
  }
  return states;
}

function orderOfRemoval(before: CompiledPolicy, after: CompiledPolicy): readonly IpsetRow[] {
  const kept = after.sets.toReversed();
  const names = new Set(kept.map(({ name }) => name));
  return [...kept, ...before.sets.toReversed().filter(({ name }) => !names.has(name))];
}
