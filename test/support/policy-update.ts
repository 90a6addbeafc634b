// Every state of the kernel between two compiled policies, in the order in which rows may be applied.
import type { IpsetRow } from "../../src/host/ipset-state.ts";
import type { FirewallRow } from "../../src/host/state.ts";
import type { CompiledPolicy } from "../../src/policy/compile.ts";

export interface KernelState {
  readonly firewall: readonly FirewallRow[];
  readonly sets: readonly IpsetRow[];
}

/**
 * The order that `CompiledPolicy.sets` asks for: new sets; peers that go; pods that come, in the order of `after`; all chains
 * at once; pods that go, in the reverse order; peers that come; sets that go.
 */
export function statesBetween(before: CompiledPolicy, after: CompiledPolicy): readonly KernelState[] {
  const states: KernelState[] = [];
  const sets = new Map(before.sets.map((row) => [row.name, row]));
  let { firewall } = before;
  const note = (): number => states.push({ firewall, sets: [...sets.values()] });
  const change = (
    rows: readonly IpsetRow[],
    membersOf: (has: readonly string[], row: IpsetRow) => Iterable<string>,
  ) => {
    for (const row of rows) {
      const has = sets.get(row.name);
      if (has === undefined) continue;
      sets.set(row.name, { ...row, members: [...new Set(membersOf(has.members, row))].sort() });
      note();
    }
  };
  const allowing = after.sets.filter(({ name }) => after.specs.has(name));
  const isolating = after.sets.filter(({ name }) => !after.specs.has(name));
  const union = (has: readonly string[], row: IpsetRow) => [...has, ...row.members];
  const common = (has: readonly string[], row: IpsetRow) =>
    has.filter((member) => row.members.includes(member));
  note();
  for (const row of after.sets) {
    if (sets.has(row.name)) continue;
    sets.set(row.name, row);
    note();
  }
  change(allowing, common);
  change(isolating, union);
  firewall = after.firewall;
  note();
  change(isolating.toReversed(), common);
  change(allowing, union);
  const wanted = new Set(after.sets.map(({ name }) => name));
  for (const { name } of before.sets.toReversed()) {
    if (wanted.has(name)) continue;
    sets.delete(name);
    note();
  }
  return states;
}
