// ipset and iptables in memory, together: no rule may name an absent set, no set goes while a rule names it. With faults.
import type { IpsetRow } from "../../src/host/ipset-state.ts";
import type { KernelTable, RowFailure } from "../../src/host/kernel-table.ts";
import { headerFits } from "../../src/host/set-table.ts";
import type { ActualSet, SetTable, SetWrite } from "../../src/host/set-table.ts";
import type { FirewallRow } from "../../src/host/state.ts";
import { targetOf } from "../../src/kernel/iptables/save-codec.ts";
import { firewallKey, firewallRowsEqual } from "../../src/kernel/iptables/saved-rows.ts";

export interface PolicyKernelState {
  readonly firewall: readonly FirewallRow[];
  readonly sets: readonly IpsetRow[];
}

/** Each step of a call that may go wrong: `list sets`, `create FTSP-x`, `add FTSP-x`, `remove FTSP-x`, `destroy FTSP-x`, `put KEY`, ... */
export type FaultAt = (step: string) => "refuse" | "throw" | undefined;

export interface FakePolicyKernel {
  readonly sets: SetTable;
  readonly firewall: KernelTable<FirewallRow>;
  /** Tests may change both behind everybody's back. */
  readonly setRows: Map<string, ActualSet>;
  readonly firewallRows: Map<string, FirewallRow>;
  /** Calls in order, e.g. `sets.write add:FTSP-4k-x:1`: each is a process. */
  readonly calls: string[];
  /** Told after every single write. */
  onState: (state: PolicyKernelState) => void;
  faultAt: FaultAt;
  state(): PolicyKernelState;
}

const BUILT_IN_TARGETS: ReadonlySet<string> = new Set(["ACCEPT", "DROP", "RETURN", "REJECT", "NFLOG"]);

export function setsOfRow(row: FirewallRow): readonly string[] {
  const rules = row.kind === "chain" ? row.rules : [row.rule];
  return rules.flatMap((rule) => rule.flatMap((token, at) => (rule[at - 1] === "--match-set" ? token : [])));
}

export function createFakePolicyKernel(): FakePolicyKernel {
  const setRows = new Map<string, ActualSet>();
  const firewallRows = new Map<string, FirewallRow>();
  const fake: FakePolicyKernel = {
    setRows,
    firewallRows,
    calls: [],
    onState: () => undefined,
    faultAt: () => undefined,
    state: () => ({
      firewall: [...firewallRows.values()],
      sets: Array.from(setRows.values(), toRow),
    }),
    sets: createFakeSets(() => fake),
    firewall: createFakeFirewall(() => fake),
  };
  return fake;
}

function toRow({ plain: _plain, type, ...rest }: ActualSet): IpsetRow {
  if (type === "other") throw new Error(`set ${rest.name} has another type`);
  return { ...rest, type };
}

/** Refused steps; throws where the fault says so. */
function refusal(fake: FakePolicyKernel, step: string): boolean {
  const fault = fake.faultAt(step);
  if (fault === "throw") throw new Error(`killed at ${step}`);
  return fault === "refuse";
}

function isNamed(fake: FakePolicyKernel, set: string): boolean {
  return [...fake.firewallRows.values()].some((row) => setsOfRow(row).includes(set));
}

function createFakeSets(getFake: () => FakePolicyKernel): SetTable {
  function tell(write: SetWrite): string {
    if (write.kind === "destroy") return `destroy:${write.set.name}`;
    return `${write.kind}:${write.set.name}:${write.members.length}`;
  }

  function destroy(name: string): string | undefined {
    const fake = getFake();
    if (refusal(fake, `destroy ${name}`)) return "refused";
    if (isNamed(fake, name)) return "in use";
    fake.setRows.delete(name);
    return undefined;
  }

  /** Why it was refused, in part or wholly. */
  function apply(write: SetWrite, refused: Set<string>): string | undefined {
    const fake = getFake();
    if (write.kind === "destroy") return destroy(write.set.name);
    const { kind, role, set, members } = write;
    const actual =
      fake.setRows.get(set.name) ?? (kind === "create" ? { ...set, members: [], plain: true } : undefined);
    const isFit = kind === "remove" || (actual !== undefined && headerFits(actual, set));
    if (refusal(fake, `${kind} ${set.name}`) || !isFit) {
      if (role === "isolate") for (const member of members) refused.add(member);
      return "refused";
    }
    if (actual === undefined) return undefined;
    const closes = kind === "create" || (kind === "remove" && role === "allow");
    const touched = new Set(closes ? members : members.filter((member) => !refused.has(member)));
    const rest = [...actual.members].filter((member) => !touched.has(member));
    fake.setRows.set(set.name, {
      ...actual,
      members: kind === "remove" ? rest : [...rest, ...touched].sort(),
    });
    return touched.size === members.length ? undefined : "withheld";
  }

  return {
    async list() {
      const fake = getFake();
      fake.calls.push("sets.list");
      if (refusal(fake, "list sets")) throw new Error("ipset cannot be used");
      return await Promise.resolve([...fake.setRows.values()]);
    },
    async write(writes) {
      const fake = getFake();
      fake.calls.push(`sets.write ${writes.map(tell).join(" ")}`);
      await Promise.resolve();
      const refused = new Set<string>();
      return writes.flatMap((write) => {
        const reason = apply(write, refused);
        fake.onState(fake.state());
        return reason === undefined ? [] : { key: write.set.name, reason };
      });
    },
    async replace(sets) {
      const fake = getFake();
      fake.calls.push("sets.replace");
      await Promise.resolve();
      return sets.flatMap((set) => {
        if (refusal(fake, `replace ${set.name}`)) return { key: set.name, reason: "refused" };
        fake.setRows.set(set.name, { ...set, plain: true });
        fake.onState(fake.state());
        return [];
      });
    },
  };
}

function createFakeFirewall(getFake: () => FakePolicyKernel): KernelTable<FirewallRow> {
  /** Why the row cannot be among `rows`. */
  function objection(row: FirewallRow, rows: ReadonlyMap<string, FirewallRow>): string | undefined {
    const absent = setsOfRow(row).find((name) => !getFake().setRows.has(name));
    if (absent !== undefined) return `Set ${absent} doesn't exist.`;
    const rules = row.kind === "chain" ? row.rules : [row.rule];
    const targets = rules.map(targetOf).filter((name) => name !== undefined && !BUILT_IN_TARGETS.has(name));
    const chains = new Set(
      [...rows.values()].flatMap((other) =>
        other.kind === "chain" && other.family === row.family ? other.name : [],
      ),
    );
    const missing = targets.find((name) => name !== undefined && !chains.has(name));
    return missing === undefined ? undefined : `Chain '${missing}' does not exist`;
  }

  /** Rows at fault drop out until the rest is sound, as the real table does; then all changes at once. */
  function put(batch: readonly FirewallRow[]): readonly RowFailure[] {
    const fake = getFake();
    const failures: RowFailure[] = [];
    let sound = batch.filter((row) => {
      const isRefused = refusal(fake, `put ${firewallKey(row)}`);
      if (isRefused) failures.push({ key: firewallKey(row), reason: "refused" });
      return !isRefused;
    });
    for (;;) {
      const rows = new Map(fake.firewallRows);
      for (const row of sound) rows.set(firewallKey(row), row);
      const problems = new Map(sound.map((row) => [row, objection(row, rows)]));
      const kept = sound.filter((row) => problems.get(row) === undefined);
      if (kept.length === sound.length) {
        for (const [key, row] of rows) fake.firewallRows.set(key, row);
        fake.onState(fake.state());
        return failures;
      }
      for (const [row, reason] of problems)
        if (reason !== undefined) failures.push({ key: firewallKey(row), reason });
      sound = kept;
    }
  }

  function remove(rows: readonly FirewallRow[]): readonly RowFailure[] {
    const fake = getFake();
    const refused = new Map<string, string>();
    for (const row of rows)
      if (refusal(fake, `remove ${firewallKey(row)}`)) refused.set(firewallKey(row), "refused");
    for (let isSettled = false; !isSettled;) {
      const rest = new Map(fake.firewallRows);
      for (const row of rows) if (!refused.has(firewallKey(row))) rest.delete(firewallKey(row));
      const before = refused.size;
      // A chain that a remaining rule leads to stays.
      const orphans = [...rest.values()].filter((row) => objection(row, rest)?.startsWith("Chain") === true);
      const targets = new Set(
        orphans.flatMap((row) => (row.kind === "chain" ? row.rules : [row.rule]).map(targetOf)),
      );
      for (const row of rows)
        if (row.kind === "chain" && targets.has(row.name)) refused.set(firewallKey(row), "still used");
      isSettled = refused.size === before;
    }
    const failures = Array.from(refused, ([key, reason]) => ({ key, reason }));
    for (const row of rows) if (!refused.has(firewallKey(row))) fake.firewallRows.delete(firewallKey(row));
    fake.onState(fake.state());
    return failures;
  }

  return {
    name: "firewall",
    key: firewallKey,
    equal: firewallRowsEqual,
    async list() {
      const fake = getFake();
      fake.calls.push("firewall.list");
      if (refusal(fake, "list firewall")) throw new Error("iptables cannot be used");
      return await Promise.resolve([...fake.firewallRows.values()]);
    },
    async put(rows) {
      getFake().calls.push(`firewall.put ${rows.length}`);
      return await Promise.resolve(put(rows));
    },
    async remove(rows) {
      getFake().calls.push(`firewall.remove ${rows.length}`);
      return await Promise.resolve(remove(rows));
    },
    async change(puts, removals) {
      getFake().calls.push(`firewall.change ${puts.length} ${removals.length}`);
      await Promise.resolve();
      const failures = put(puts);
      const behind = new Set(
        puts
          .filter((row) => failures.some(({ key }) => key === firewallKey(row)))
          .map(({ family }) => family),
      );
      const kept = removals
        .filter(({ family }) => behind.has(family))
        .map((row) => ({ key: firewallKey(row), reason: "kept" }));
      return {
        put: failures,
        remove: [...kept, ...remove(removals.filter(({ family }) => !behind.has(family)))],
      };
    },
  };
}
