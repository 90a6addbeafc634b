// Kernel table of ipsets, by `ipset save` and `ipset restore`.
import type { IpsetRow } from "../../host/ipset-state.ts";
import type { RowFailure } from "../../host/kernel-table.ts";
import type { SetAddition, SetChange, SetTable } from "../../host/set-table.ts";
import type { Exec } from "../exec.ts";
import { memberProblem } from "./member-codec.ts";
import { runRestore } from "./restore-batch.ts";
import type { RestoreLine } from "./restore-batch.ts";
import { parseIpsetSave, renderCreate, setNameProblem } from "./set-codec.ts";

export interface SetTableOptions {
  /** Sets whose names begin so are ours. */
  readonly prefix: string;
}

/** One process lists; one process adds, removes or destroys; `replace`, which is rare, takes some per set. */
export function createSetTable({ prefix }: SetTableOptions, modules: { readonly exec: Exec }): SetTable {
  const { exec } = modules;
  return {
    // All sets of the host: asking for one at a time would be a process each.
    list: async () => parseIpsetSave((await exec("ipset", ["save"])).stdout, prefix),
    add: (changes) => runRestore(exec, additionLines(changes, prefix)),
    remove: (changes) => runRestore(exec, removalLines(changes, prefix)),
    destroy: (names) => runRestore(exec, destroyLines(names, prefix)),
    replace: (sets) => replaceSets(exec, prefix, sets),
  };
}

function* additionLines(changes: readonly SetAddition[], prefix: string): Generator<RestoreLine> {
  for (const { set, members, create } of changes) {
    const { name } = set;
    const problem = setNameProblem(name, prefix);
    if (problem !== undefined) {
      yield { text: "", verb: "create", set: name, members, problem };
      continue;
    }
    if (create) yield { text: renderCreate(set), verb: "create", set: name, members };
    yield* memberLines("add", set, members);
  }
}

function* removalLines(changes: readonly SetChange[], prefix: string): Generator<RestoreLine> {
  for (const { set, members } of changes) {
    const problem = setNameProblem(set.name, prefix);
    if (problem === undefined) yield* memberLines("del", set, members);
    else yield { text: "", verb: "destroy", set: set.name, members, problem };
  }
}

function* destroyLines(names: readonly string[], prefix: string): Generator<RestoreLine> {
  for (const name of names) {
    const problem = setNameProblem(name, prefix);
    const line = { text: `destroy ${name}`, verb: "destroy", set: name, members: [] } as const;
    yield problem === undefined ? line : { ...line, problem };
  }
}

function* memberLines(
  verb: "add" | "del",
  { name, type, family }: IpsetRow,
  members: readonly string[],
): Generator<RestoreLine> {
  for (const member of members) {
    const problem = memberProblem(type, family, member);
    const line = { text: `${verb} ${name} ${member}`, verb, set: name, members: [member] };
    yield problem === undefined ? line : { ...line, problem };
  }
}

/**
 * Each set is built under another name, then they swap contents in one step of the kernel, so that rules see the one or the
 * other. The kernel swaps what has the same features and family (ip_set_core.c, ip_set_swap); anything else must make room,
 * which it does unless a rule names it.
 */
async function replaceSets(
  exec: Exec,
  prefix: string,
  sets: readonly IpsetRow[],
): Promise<readonly RowFailure[]> {
  const failures: RowFailure[] = [];
  const built = sets.map((set, index) => ({ set, made: { ...set, name: `${prefix}new-${index}` } }));
  // What a killed process may have left half-built.
  const leftovers = await runRestore(
    exec,
    destroyLines(
      built.map(({ made }) => made.name),
      prefix,
    ),
  );
  const refused = new Map(
    [
      ...leftovers,
      ...(await runRestore(
        exec,
        additionLines(
          built.map(({ made }) => ({ set: made, members: made.members, create: true })),
          prefix,
        ),
      )),
    ].map(({ key, reason }) => [key, reason]),
  );
  for (const { set, made } of built) {
    const reason =
      setNameProblem(set.name, prefix) ?? refused.get(made.name) ?? (await swap(exec, set, made));
    if (reason !== undefined) failures.push({ key: set.name, reason });
  }
  await runRestore(
    exec,
    destroyLines(
      built.map(({ made }) => made.name),
      prefix,
    ),
  );
  return failures;
}

/** Undefined is success. */
async function swap(exec: Exec, set: IpsetRow, made: IpsetRow): Promise<string | undefined> {
  const swapped = await exec("ipset", ["swap", made.name, set.name], { allowFailure: true });
  if (swapped.exitCode === 0) return undefined;
  const input = `destroy ${set.name}\nrename ${made.name} ${set.name}\n`;
  const moved = await exec("ipset", ["-exist", "restore"], { input, allowFailure: true });
  if (moved.exitCode === 0) return undefined;
  const words = (text: string): string => text.trim().replace(/^ipset v[\d.]+: (Error in line \d+: )?/, "");
  return (
    `there is another set of this name that is no ${set.type} set for IPv${set.family} and cannot be swapped ` +
    `(${words(swapped.stderr)}) nor removed (${words(moved.stderr)}); delete the rules that name it, ` +
    `then: ipset destroy ${set.name}`
  );
}
