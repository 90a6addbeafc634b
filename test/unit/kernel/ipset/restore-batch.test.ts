// ipset restore stops at the first error; what is done about it.
import { describe, expect, test } from "vitest";
import type { IpsetRow } from "../../../../src/host/ipset-state.ts";
import type { SetRole, SetWrite } from "../../../../src/host/set-table.ts";
import { ExecError } from "../../../../src/kernel/exec.ts";
import type { Exec } from "../../../../src/kernel/exec.ts";
import { createSetTable } from "../../../../src/kernel/ipset/set-table.ts";

function setOf(name: string, members: readonly string[]): IpsetRow {
  return { kind: "set", name: `FTSP-${name}`, type: "hash:ip", family: 4, members, counters: false };
}

/** An ipset that refuses the first line that `refuse` has words for; the inputs of all runs. */
function fakeIpset(refuse: (line: string) => string | undefined): {
  exec: Exec;
  runs: (readonly string[])[];
} {
  const runs: (readonly string[])[] = [];
  const exec: Exec = (command, args, options = {}) => {
    expect([command, ...args]).toEqual(["ipset", "-exist", "restore"]);
    const lines = (options.input ?? "").split("\n").slice(0, -1);
    runs.push(lines);
    const index = lines.findIndex((line) => refuse(line) !== undefined);
    const stderr =
      index < 0 ? "" : `ipset v7.17: Error in line ${index + 1}: ${refuse(lines[index] ?? "")}\n`;
    return Promise.resolve({ exitCode: index < 0 ? 0 : 1, stdout: "", stderr });
  };
  return { exec, runs };
}

const [A, B] = [setOf("a", ["10.0.0.1", "10.0.0.2"]), setOf("b", ["10.0.0.2", "10.0.0.3"])];
type Change = Extract<SetWrite, { readonly members: unknown }>;
const change = (kind: Change["kind"], set: IpsetRow, role: SetRole = "isolate"): Change => ({
  kind,
  role,
  set,
  members: [...set.members],
});
const additions = [A, B].map((set) => change("create", set));
const destroyed = (name: string): SetWrite => ({ kind: "destroy", set: { name, family: 4 } });

describe("adding", () => {
  test("is one process for all sets", async () => {
    const { exec, runs } = fakeIpset(() => undefined);
    expect(await createSetTable({ prefix: "FTSP-" }, { exec }).write(additions)).toEqual([]);
    expect(runs).toEqual([
      [
        "create FTSP-a hash:ip family inet maxelem 1048576",
        "add FTSP-a 10.0.0.1",
        "add FTSP-a 10.0.0.2",
        "create FTSP-b hash:ip family inet maxelem 1048576",
        "add FTSP-b 10.0.0.2",
        "add FTSP-b 10.0.0.3",
      ],
    ]);
  });

  test("leaves out a refused member, there and in later sets, and runs all the rest again", async () => {
    const { exec, runs } = fakeIpset((line) => (line === "add FTSP-a 10.0.0.2" ? "Hash is full" : undefined));
    expect(await createSetTable({ prefix: "FTSP-" }, { exec }).write(additions)).toEqual([
      { key: "FTSP-a", reason: "Hash is full (add FTSP-a 10.0.0.2)" },
      { key: "FTSP-b", reason: "10.0.0.2 is withheld, since a set before this one refused it" },
    ]);
    expect(runs.at(-1)).toEqual([
      "create FTSP-a hash:ip family inet maxelem 1048576",
      "add FTSP-a 10.0.0.1",
      "create FTSP-b hash:ip family inet maxelem 1048576",
      "add FTSP-b 10.0.0.3",
    ]);
  });

  test("tries nothing in a set that could not be created", async () => {
    const { exec, runs } = fakeIpset((line) =>
      line.startsWith("create FTSP-a") ? "Set cannot be created" : undefined,
    );
    const failures = await createSetTable({ prefix: "FTSP-" }, { exec }).write(additions);
    expect(failures.map(({ key }) => key)).toEqual(["FTSP-a", "FTSP-b"]);
    expect(runs.at(-1)).toEqual(["create FTSP-b hash:ip family inet maxelem 1048576", "add FTSP-b 10.0.0.3"]);
  });

  test("withholds nothing that closes, and nothing because of a peer", async () => {
    const { exec, runs } = fakeIpset((line) => (line.startsWith("add FTSP-a") ? "no" : undefined));
    const table = createSetTable({ prefix: "FTSP-" }, { exec });
    await table.write([
      change("add", A),
      change("remove", B, "allow"),
      change("remove", setOf("c", [...B.members])),
    ]);
    expect(runs.at(-1)).toEqual(["del FTSP-b 10.0.0.2", "del FTSP-b 10.0.0.3", "del FTSP-c 10.0.0.3"]);
    await table.write([change("add", A, "allow"), change("add", B)]);
    expect(runs.at(-1)).toEqual(["add FTSP-b 10.0.0.2", "add FTSP-b 10.0.0.3"]);
  });

  test("asks nobody about what cannot be a member or a name", async () => {
    const { exec, runs } = fakeIpset(() => undefined);
    const bad = [setOf("x", ["10.0.0.1\nflush", "10.0.0.4"]), { ...A, name: "KUBE-a" }];
    const failures = await createSetTable({ prefix: "FTSP-" }, { exec }).write(
      bad.map((set) => change("add", set)),
    );
    expect(failures.map(({ key }) => key)).toEqual(["FTSP-x", "KUBE-a"]);
    expect(runs).toEqual([["add FTSP-x 10.0.0.4"]]);
  });

  test("ends, whatever is refused", async () => {
    const members = Array.from({ length: 20 }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
    const sets = Array.from({ length: 100 }, (_, i) => setOf(`s${i}`, members));
    const { exec, runs } = fakeIpset((line) => (line.startsWith("add") ? "no" : undefined));
    const failures = await createSetTable({ prefix: "FTSP-" }, { exec }).write(
      sets.map((set) => change("create", set)),
    );
    expect(failures).toHaveLength(100);
    expect(runs.length).toBeLessThanOrEqual(64);
  });

  test("throws where the line is not at fault", async () => {
    const words = "Kernel error received: Operation not permitted";
    const { exec } = fakeIpset(() => words);
    const adding = createSetTable({ prefix: "FTSP-" }, { exec }).write(additions);
    await expect(adding).rejects.toThrow(ExecError);
    await expect(adding).rejects.toThrow(words);
  });
});

describe("removing", () => {
  test("what is absent already is success, and costs one try for all of a set", async () => {
    const { exec, runs } = fakeIpset((line) =>
      line.includes("FTSP-a") ? "The set with the given name does not exist" : undefined,
    );
    const table = createSetTable({ prefix: "FTSP-" }, { exec });
    expect(await table.write([A, B].map((set) => change("remove", set)))).toEqual([]);
    expect(runs.at(-1)).toEqual(["del FTSP-b 10.0.0.2", "del FTSP-b 10.0.0.3"]);
    expect(await table.write(["FTSP-a", "FTSP-b"].map(destroyed))).toEqual([]);
    expect(runs).toHaveLength(4);
  });

  test("a set in use is a failure, the others go", async () => {
    const { exec, runs } = fakeIpset((line) =>
      line === "destroy FTSP-a" ? "Set cannot be destroyed: it is in use by a kernel component" : undefined,
    );
    const failures = await createSetTable({ prefix: "FTSP-" }, { exec }).write(
      ["FTSP-a", "FTSP-b", "KUBE-x"].map(destroyed),
    );
    expect(failures.map(({ key }) => key).toSorted()).toEqual(["FTSP-a", "KUBE-x"]);
    expect(runs.at(-1)).toEqual(["destroy FTSP-b"]);
  });
});
