// Sets in the real kernel: created, filled, emptied, replaced under a rule, and nobody else's touched.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { IpsetRow } from "../../src/host/ipset-state.ts";
import type { SetTable, SetWrite } from "../../src/host/set-table.ts";
import { createSetTable } from "../../src/kernel/ipset/set-table.ts";
import type { Family } from "../../src/net/ip.ts";
import { createNamespace } from "../support/netns.ts";
import type { TestNamespace } from "../support/netns.ts";

let namespace: TestNamespace;
let sets: SetTable;
let processes: string[];

beforeEach(async () => {
  namespace = await createNamespace("st-ipset");
  processes = [];
  sets = createSetTable(
    { prefix: "FTSP-" },
    {
      exec: (command, args, options) => {
        processes.push([command, ...args].join(" "));
        return namespace.exec(command, args, options);
      },
    },
  );
});
afterEach(() => namespace.remove());

async function ipset(...lines: readonly string[]): Promise<void> {
  await namespace.exec("ipset", ["restore"], { input: lines.map((line) => `${line}\n`).join("") });
}

async function saved(name: string): Promise<string> {
  return (await namespace.exec("ipset", ["save", name])).stdout;
}

function row(name: string, members: readonly string[], more: Partial<IpsetRow> = {}): IpsetRow {
  const sorted = members.toSorted();
  return {
    kind: "set",
    name: `FTSP-${name}`,
    type: "hash:ip",
    family: 4,
    counters: false,
    ...more,
    members: sorted,
  };
}

type Change = Extract<SetWrite, { readonly members: unknown }>;
const change = (kind: Change["kind"], set: IpsetRow, members = [...set.members]): Change => ({
  kind,
  role: "isolate",
  set,
  members,
});
const whole = (set: IpsetRow) => change("create", set);
const destroyed = (name: string): SetWrite => ({ kind: "destroy", set: { name, family: 4 } });
const listed = (set: IpsetRow) => ({ ...set, plain: true });

const ADDRESSES: Readonly<Record<Family, readonly string[]>> = {
  4: ["10.244.1.5", "10.244.1.10"],
  6: ["fd00::5", "fd00:0:0:1:0:0:0:1", "::ffff:10.0.0.1", "64:ff9b::1.2.3.4", "::1.2.3.4"].map((ip) =>
    new URL(`http://[${ip}]`).hostname.slice(1, -1),
  ),
};
const BLOCKS: Readonly<Record<Family, readonly string[]>> = {
  4: ["0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "10.0.0.7"],
  6: ["::/1", "8000::/1", "fd00::/64", "fd00::7"],
};

describe.each([4, 6] as const)("IPv%i", (family) => {
  const all = [
    row("ip", ADDRESSES[family], { family }),
    row("net", BLOCKS[family], { family, type: "hash:net" }),
    row(
      "port",
      ADDRESSES[family].flatMap((ip) => [`${ip},tcp:80`, `${ip},sctp:36412`, `${ip},udp:0`]),
      {
        family,
        type: "hash:ip,port",
      },
    ),
    row("denied", ADDRESSES[family], { family, counters: true }),
    row("empty", [], { family }),
  ];

  test("every type is listed as it was written, by one process", async () => {
    expect(await sets.write(all.map(whole))).toEqual([]);
    expect(processes).toEqual(["ipset -exist restore"]);
    expect((await sets.list()).toSorted((a, b) => (a.name < b.name ? -1 : 1))).toEqual(
      all.map(listed).toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    );
    expect(await sets.write(all.map(whole)), "what is there already is success").toEqual([]);
  });

  test("members go, also those that are gone already, and then the sets", async () => {
    await sets.write(all.map(whole));
    const [first] = all as [IpsetRow];
    const rest = change("remove", first, [...first.members].slice(1));
    expect(await sets.write([rest])).toEqual([]);
    expect(await sets.write([rest, change("remove", { ...first, name: "FTSP-absent" })])).toEqual([]);
    expect((await sets.list()).find(({ name }) => name === first.name)?.members).toEqual(
      [...first.members].slice(0, 1),
    );
    expect(await sets.write([...all.map(({ name }) => name), "FTSP-absent"].map(destroyed))).toEqual([]);
    expect(await sets.list()).toEqual([]);
  });

  test("10,000 members are few processes to write, one to list, and few to remove", async () => {
    const members = Array.from({ length: 10_000 }, (_, i) =>
      family === 4 ? `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}` : `fd00::${(i + 1).toString(16)}`,
    );
    const big = row("big", members, { family });
    expect(await sets.write([whole(big)])).toEqual([]);
    expect(await sets.list()).toEqual([listed(big)]);
    expect(await sets.write([change("remove", big, members.slice(1))])).toEqual([]);
    expect((await sets.list())[0]?.members).toEqual(members.slice(0, 1));
    expect(processes.filter((line) => line === "ipset save")).toHaveLength(2);
    expect(processes.length).toBeLessThan(16);
  });
});

describe("others", () => {
  const FOREIGN = [
    "create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536",
    "add KUBE-CLUSTER-IP 10.96.0.1,tcp:443",
    "create FTSQ-x hash:ip family inet hashsize 1024 maxelem 65536 comment",
    'add FTSQ-x 10.0.0.1 comment "create FTSP-trap hash:ip"',
  ];

  test("sets of others are neither listed nor touched", async () => {
    await ipset(...FOREIGN);
    const before = [await saved("KUBE-CLUSTER-IP"), await saved("FTSQ-x")];
    const own = row("own", ["10.0.0.1"]);
    await sets.write([whole(own)]);
    expect(await sets.list()).toEqual([listed(own)]);
    const theirs = {
      ...own,
      name: "KUBE-CLUSTER-IP",
      type: "hash:ip,port" as const,
      members: ["10.9.9.9,tcp:1"],
    };
    const failures = [
      await sets.write([change("add", theirs)]),
      await sets.write([change("remove", theirs)]),
      await sets.write([destroyed(theirs.name)]),
      await sets.replace([theirs]),
    ];
    for (const failed of failures)
      expect(failed).toEqual([{ key: "KUBE-CLUSTER-IP", reason: expect.stringContaining("is not ours") }]);
    await sets.write([destroyed("FTSP-own")]);
    expect([await saved("KUBE-CLUSTER-IP"), await saved("FTSQ-x")]).toEqual(before);
  });

  test.each([
    ["another type", "hash:net family inet"],
    ["another family", "hash:ip family inet6"],
    ["a type that we never use", "bitmap:port range 0-1023"],
    ["a timeout", "hash:ip family inet maxelem 1048576 timeout 3"],
    ["room for fewer members", "hash:ip family inet maxelem 4"],
    ["counters", "hash:ip family inet maxelem 1048576 counters"],
  ])("a set of our name with %s is refused by write and made right by replace", async (_, options) => {
    await ipset(`create FTSP-x ${options}`);
    const wanted = row("x", ["10.0.0.1", "10.0.0.2"]);
    const other = row("y", ["10.0.0.9"]);
    expect(await sets.write([whole(wanted), whole(other)])).toEqual([
      { key: "FTSP-x", reason: expect.stringContaining("same name already exists") },
    ]);
    expect(await sets.replace([wanted])).toEqual([]);
    expect(await sets.list()).toEqual(expect.arrayContaining([listed(wanted), listed(other)]));
    expect(await sets.list()).toHaveLength(2);
  });
});

describe("a set that a rule names", () => {
  const set = row("used", ["10.0.0.1"]);
  beforeEach(async () => {
    await sets.write([whole(set)]);
    await namespace.exec("iptables", [
      "-A",
      "FORWARD",
      "-m",
      "set",
      "--match-set",
      set.name,
      "src",
      "-j",
      "DROP",
    ]);
  });

  test("is not destroyed; the others are", async () => {
    await sets.write([whole(row("free", []))]);
    expect(await sets.write([set.name, "FTSP-free"].map(destroyed))).toEqual([
      { key: set.name, reason: expect.stringContaining("in use by a kernel component") },
    ]);
    expect(await sets.list()).toEqual([listed(set)]);
  });

  test("is replaced while the rule stays", async () => {
    const counted = { ...set, counters: true, members: ["10.0.0.1", "10.0.0.2"] };
    await ipset("create FTSP-new-0 hash:net family inet6");
    expect(await sets.replace([counted])).toEqual([]);
    expect(await sets.list()).toEqual([listed(counted)]);
    expect((await namespace.exec("iptables-save", ["-t", "filter"])).stdout).toContain(
      "--match-set FTSP-used src",
    );
  });

  test("keeps a type that cannot be swapped, and the failure says what to do", async () => {
    const [failure] = await sets.replace([{ ...set, type: "hash:net" }]);
    expect(failure?.key).toBe(set.name);
    expect(failure?.reason).toMatch(/no hash:net set.*in use by a kernel component.*ipset destroy FTSP-used/);
    expect(await sets.list()).toEqual([listed(set)]);
  });
});

test("a refused member loses neither the others nor its own set, and is withheld from later sets", async () => {
  // The kernel's refusal, not ours: this set has room for one.
  await ipset(
    "create FTSP-full hash:ip family inet maxelem 1",
    "create FTSP-late hash:ip family inet maxelem 1048576",
  );
  const full = row("full", ["10.0.0.1", "10.0.0.2"]);
  const [early, late] = [row("early", ["10.0.0.1", "10.0.0.2"]), row("late", ["10.0.0.1", "10.0.0.2"])];
  const failures = await sets.write([whole(early), change("add", full), change("add", late)]);
  expect(failures).toEqual([
    { key: "FTSP-full", reason: "Hash is full, cannot add more elements (add FTSP-full 10.0.0.2)" },
    { key: "FTSP-late", reason: "10.0.0.2 is withheld, since a set before this one refused it" },
  ]);
  const members = new Map((await sets.list()).map((set) => [set.name, set.members]));
  expect(members.get("FTSP-early")).toEqual(["10.0.0.1", "10.0.0.2"]);
  expect(members.get("FTSP-full")).toEqual(["10.0.0.1"]);
  expect(members.get("FTSP-late")).toEqual(["10.0.0.1"]);
});

test("without the right to use ipset everything throws, with the tool's words", async () => {
  const unprivileged = createSetTable(
    { prefix: "FTSP-" },
    {
      exec: (command, args, options) =>
        namespace.exec("setpriv", ["--bounding-set=-all", "--inh-caps=-all", command, ...args], options),
    },
  );
  await expect(unprivileged.list()).rejects.toThrow("Operation not permitted");
  await expect(unprivileged.write([whole(row("x", ["10.0.0.1"]))])).rejects.toThrow(
    "Operation not permitted",
  );
});
