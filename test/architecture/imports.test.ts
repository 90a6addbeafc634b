// Import directions: each ban with its reason, so that the house keeps its shape.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const ROOT = path.resolve(import.meta.dirname, "../..");

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

function sourcesBelow(folder: string): string[] {
  return readdirSync(path.join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => path.join(folder, file));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(path.join(ROOT, file), "utf8");
  const pattern =
    /^(?:import|export)\s+(type\s)?[^"';]*?from\s+"([^"]+)"|import\(\s*"([^"]+)"\s*\)|^import\s+"([^"]+)"/gms;
  return [...text.matchAll(pattern)].map(([, type, from, dynamic, bare]) => {
    const target = from ?? dynamic ?? bare ?? "";
    const to = target.startsWith(".") ? path.join(path.dirname(file), target) : target;
    return { from: file, to, typeOnly: type !== undefined };
  });
}

const IMPORTS = ["src", "cni-plugin"].flatMap((folder) => sourcesBelow(folder)).flatMap(importsOf);

/** Rooms as path prefixes; `only` lists everything a room may import of our own, `never` names packages or rooms. */
interface Rule {
  readonly room: string;
  /** Files of the room that another rule is for. */
  readonly except?: RegExp;
  readonly only?: readonly string[];
  readonly never?: readonly RegExp[];
  readonly reason: string;
}

const RULES: readonly Rule[] = [
  {
    room: "src/net/",
    only: ["src/net/"],
    never: [/^node:/],
    reason: "net holds values; everybody imports it",
  },
  {
    room: "src/host/",
    only: ["src/net/", "src/host/"],
    reason: "the plan of the host knows neither kernel nor leases",
  },
  {
    room: "src/kernel/",
    only: ["src/net/", "src/host/", "src/kernel/"],
    reason: "kernel tables obey the plan and know no backend",
  },
  { room: "src/etcd/", only: ["src/net/", "src/etcd/"], reason: "the store client knows nothing of leases" },
  {
    room: "src/ipam/",
    only: ["src/net/", "src/host/", "src/etcd/", "src/kube/", "src/ipam/"],
    reason: "leases do not depend on how packets travel",
  },
  {
    room: "src/backends/",
    only: ["src/net/", "src/host/", "src/ipam/", "src/backends/"],
    never: [/^node:/],
    reason: "a backend is a pure plan: no kernel, no store, no effects",
  },
  {
    room: "src/policy/",
    except: /^src\/policy\/(kube|etcd)-/,
    only: ["src/net/", "src/host/ipset-state", "src/host/member-list", "src/host/state", "src/policy/"],
    never: [/^node:/, /^src\/policy\/(kube|etcd)-/],
    reason: "policy is pure: what it knows comes in as a snapshot, what it wants goes out as rows",
  },
  {
    room: "src/policy/kube-",
    only: ["src/net/", "src/kube/", "src/policy/"],
    reason: "a policy source turns what a store says into policy's own words",
  },
  {
    room: "src/policy/etcd-",
    only: ["src/net/", "src/etcd/", "src/policy/"],
    reason: "a policy source turns what a store says into policy's own words",
  },
  {
    room: "src/prober/",
    only: ["src/net/", "src/kernel/exec", "src/prober/"],
    reason: "the prober knows addresses and sizes, not leases or backends",
  },
  {
    room: "src/cli/",
    never: [/^src\/daemon\/(?!status-report|version)/],
    reason: "commands do not depend on the daemon, only on the shape of its status",
  },
  {
    room: "cni-plugin/",
    only: ["src/net/", "src/host/", "src/kernel/", "src/ipam/subnet-file", "cni-plugin/"],
    never: [/^(?!node:)[^./]*$/, /^src\/kernel\/exec/],
    reason: "the plugin starts once per pod: its import graph is a latency budget",
  },
];

function isOurs(target: string): boolean {
  return target.startsWith("src/") || target.startsWith("cni-plugin/");
}

for (const { room, except, only, never, reason } of RULES) {
  test(`${room} imports what it may: ${reason}`, () => {
    const offending = IMPORTS.filter(({ from, to }) => {
      if (!from.startsWith(room) || except?.test(from)) return false;
      if (only && isOurs(to) && !only.some((prefix) => to.startsWith(prefix))) return true;
      return never?.some((pattern) => pattern.test(to)) ?? false;
    });
    expect(offending).toEqual([]);
  });
}

test("nobody imports the daemon but the daemon, and the status shape for commands", () => {
  const offending = IMPORTS.filter(
    ({ from, to }) =>
      to.startsWith("src/daemon/") &&
      !from.startsWith("src/daemon/") &&
      !/src\/daemon\/(status-report|version)\.ts$/.test(to),
  );
  expect(offending).toEqual([]);
});

test("only one file of the daemon and one of the plugin start processes", () => {
  const starters = IMPORTS.filter(({ to }) => to === "node:child_process" || to === "execa").map(
    ({ from }) => from,
  );
  expect([...new Set(starters)].toSorted()).toEqual(["cni-plugin/delegate.ts", "src/kernel/exec.ts"]);
});

test("the Kubernetes and etcd clients stay behind their seams", () => {
  const offending = IMPORTS.filter(
    ({ from, to }) =>
      (to === "etcd3" && !from.startsWith("src/etcd/")) ||
      (to.startsWith("@kubernetes/") && !from.startsWith("src/kube/")),
  );
  expect(offending).toEqual([]);
});

test("raw sockets are only loaded by a daemon that probes", () => {
  const entries = IMPORTS.filter(({ from, to, typeOnly }) => {
    const isLoaded = to === "raw-socket" || (to.startsWith("src/prober/") && !typeOnly);
    return isLoaded && !from.startsWith("src/prober/") && from !== "src/daemon/start-prober.ts";
  });
  expect(entries).toEqual([]);
});

test("every source file begins with a line that says its one job", () => {
  const silent = ["src", "cni-plugin", "lab", "bench"]
    .flatMap((folder) => sourcesBelow(folder))
    .filter((file) => !/^(#!.*\n)?\/\/ \S/.test(readFileSync(path.join(ROOT, file), "utf8")));
  expect(silent).toEqual([]);
});

test("files named as pure have no clock, randomness, logger or effects", () => {
  const pure =
    /(^|[/-])(plan|compile|diff|resolve|translate|evaluate|allocator|render|codec)(-[a-z-]+)?\.ts$|\/parse-[a-z-]+\.ts$/;
  const impure = ["src", "cni-plugin"]
    .flatMap((folder) => sourcesBelow(folder))
    .filter((file) => {
      if (!pure.test(file)) return false;
      const text = readFileSync(path.join(ROOT, file), "utf8");
      return /Date\.now|new Date\(\)|Math\.random|from "node:(fs|net|http|child_process)|net\/logger\.ts/.test(
        text,
      );
    });
  expect(impure).toEqual([]);
});
