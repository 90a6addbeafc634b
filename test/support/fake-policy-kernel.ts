// ipset and iptables in memory, together: no rule may name an absent set, no set goes while a rule names it. With faults.
import type { IpsetRow } from "../../src/host/ipset-state.ts";
import type { KernelTable, RowFailure } from "../../src/host/kernel-table.ts";
import { headerFits } from "../../src/host/set-table.ts";
import type { ActualSet, SetTable } from "../../src/host/set-table.ts";
import type { FirewallRow } from "../../src/host/state.ts";
import { targetOf } from "../../src/kernel/iptables/save-codec.ts";
import { firewallKey, firewallRowsEqual } from "../../src/kernel/iptables/saved-rows.ts";

export interface PolicyKernelState {
  readonly firewall: readonly FirewallRow[];
  readonly sets: readonly IpsetRow[];
}

/** Each step of a call that may go wrong: `list`, `add FTSP-x`, `remove FTSP-x`, `destroy FTSP-x`, `put KEY`, ... */
export type FaultAt = (step: string) => "refuse" | "throw" | undefined;

export interface FakePolicyKernel {
  readonly sets: SetTable;
  readonly firewall: KernelTable<FirewallRow>;
  /** Tests may change both behind everybody's back. */
  readonly setRows: Map<string, ActualSet>;
  readonly firewallRows: Map<string, FirewallRow>;
  /** Calls in order, e.g. `sets.add FTSP-4k-x+1`: each is a process. */
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
  /** Runs `write` on each item; a call is told as one line. */
  async function eachOf<Item>(
    verb: string,
    items: readonly Item[],
    tell: (item: Item) => string,
    write: (item: Item) => RowFailure | undefined,
  ): Promise<readonly RowFailure[]> {
    const fake = getFake();
    fake.calls.push(`sets.${verb} ${items.map(tell).join(" ")}`);
    await Promise.resolve();
    return items.flatMap((item) => {
      const failure = write(item);
      if (failure === undefined) fake.onState(fake.state());
      return failure ?? [];
    });
  }

  return {
    async list() {
      const fake = getFake();
      fake.calls.push("sets.list");
      if (refusal(fake, "list sets")) throw new Error("ipset cannot be used");
      return await Promise.resolve([...fake.setRows.values()]);
    },
    async add(changes) {
      const refused = new Set<string>();
      return eachOf(
        "add",
        changes,
        ({ set, members, create }) => `${create ? "*" : ""}${set.name}+${members.length}`,
        ({ set, members, create }) => {
          const { setRows } = getFake();
          const actual = setRows.get(set.name) ?? (create ? { ...set, members: [], plain: true } : undefined);
          const late = members.find((member) => refused.has(member));
          if (actual !== undefined && headerFits(actual, set) && !refusal(getFake(), `add ${set.name}`)) {
            const added = members.filter((member) => !refused.has(member));
            setRows.set(set.name, { ...actual, members: [...new Set([...actual.members, ...added])].sort() });
            return late === undefined ? undefined : { key: set.name, reason: `${late} is withheld` };
          }
          for (const member of members) refused.add(member);
          return { key: set.name, reason: "refused" };
        },
      );
    },
    remove: (changes) =>
      eachOf(
        "remove",
        changes,
        ({ set, members }) => `${set.name}-${members.length}`,
        ({ set, members }) => {
          const { setRows } = getFake();
          if (refusal(getFake(), `remove ${set.name}`)) return { key: set.name, reason: "refused" };
          const actual = setRows.get(set.name);
          const gone = new Set(members);
          if (actual)
            setRows.set(set.name, {
              ...actual,
              members: actual.members.filter((member) => !gone.has(member)),
            });
          return undefined;
        },
      ),
    destroy: (names) =>
      eachOf("destroy", names, String, (name) => {
        if (refusal(getFake(), `destroy ${name}`)) return { key: name, reason: "refused" };
        if (isNamed(getFake(), name)) return { key: name, reason: "in use" };
        getFake().setRows.delete(name);
        return undefined;
      }),
    replace: (sets) =>
      eachOf(
        "replace",
        sets,
        ({ name, members }) => `${name}=${members.length}`,
        (set) => {
          if (refusal(getFake(), `replace ${set.name}`)) return { key: set.name, reason: "refused" };
          getFake().setRows.set(set.name, { ...set, plain: true });
          return undefined;
        },
      ),
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
      const fake = getFake();
      fake.calls.push(`firewall.remove ${rows.length}`);
      await Promise.resolve();
      const failures = rows.flatMap((row) =>
        refusal(fake, `remove ${firewallKey(row)}`) ? { key: firewallKey(row), reason: "refused" } : [],
      );
      const refused = new Set(failures.map(({ key }) => key));
      for (const row of rows) if (!refused.has(firewallKey(row))) fake.firewallRows.delete(firewallKey(row));
      fake.onState(fake.state());
      return failures;
    },
  };
}
