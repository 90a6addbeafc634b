// Kernel table of ipsets, by `ipset save` and `ipset restore`.
import type { IpsetRow } from "../../host/ipset-state.ts";
import type { RowFailure } from "../../host/kernel-table.ts";
import type { SetRole, SetTable, SetWrite } from "../../host/set-table.ts";
import type { Exec } from "../exec.ts";
import { memberProblem } from "./member-codec.ts";
import { runRestore } from "./restore-batch.ts";
import type { RestoreLine } from "./restore-batch.ts";
import { parseIpsetSave, renderCreate, setNameProblem } from "./set-codec.ts";

export interface SetTableOptions {
  /** Sets whose names begin so are ours. */
  readonly prefix: string;
}

/** One process lists, one writes (some for thousands of members at once); `replace`, which is rare, takes some per set. */
export function createSetTable({ prefix }: SetTableOptions, modules: { readonly exec: Exec }): SetTable {
  const { exec } = modules;
  return {
    // All sets of the host: asking for one at a time would be a process each.
    list: async () => parseIpsetSave((await exec("ipset", ["save"])).stdout, prefix),
    write: (writes) => runRestore(exec, linesOf(writes, prefix)),
    replace: (sets) => replaceSets(exec, prefix, sets),
  };
}

function* linesOf(writes: readonly SetWrite[], prefix: string): Generator<RestoreLine> {
  for (const write of writes) {
    const { name } = write.set;
    const problem = setNameProblem(name, prefix);
    if (write.kind === "destroy") {
      yield { text: `destroy ${name}`, verb: "destroy", set: name, members: [], ...(problem && { problem }) };
      continue;
    }
    const { kind, role, set, members } = write;
    if (problem !== undefined) yield { text: "", verb: "create", set: name, role, members, problem };
    else if (kind === "create") yield { text: renderCreate(set), verb: "create", set: name, role, members };
    if (problem === undefined) yield* memberLines(kind === "remove" ? "del" : "add", set, role, members);
  }
}

function* memberLines(
  verb: "add" | "del",
  { name, type, family }: IpsetRow,
  role: SetRole,
  members: readonly string[],
): Generator<RestoreLine> {
  for (const member of members) {
    const problem = memberProblem(type, family, member);
    const text = problem === undefined ? `${verb} ${name} ${member}` : "";
    yield { text, verb, set: name, role, members: [member], ...(problem && { problem }) };
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
  const writes = (kind: "create" | "destroy") =>
    built.map(({ made: set }): SetWrite => ({ kind, role: "allow", set, members: [...set.members] }));
  // First what a killed process may have left half-built.
  const refused = new Map(
    [
      ...(await runRestore(exec, linesOf(writes("destroy"), prefix))),
      ...(await runRestore(exec, linesOf(writes("create"), prefix))),
    ].map(({ key, reason }) => [key, reason]),
  );
  for (const { set, made } of built) {
    const reason =
      setNameProblem(set.name, prefix) ?? refused.get(made.name) ?? (await swap(exec, set, made));
    if (reason !== undefined) failures.push({ key: set.name, reason });
  }
  await runRestore(exec, linesOf(writes("destroy"), prefix));
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
