// The units in deploy/ for real: the handbooks' bare-metal set-up as written, and ours with its bounded capabilities.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startEtcd } from "../../lab/etcd.ts";
import type { LabEtcd } from "../../lab/etcd.ts";
import { startMachine } from "../../lab/machine.ts";
import type { Machine, MachineProcess } from "../../lab/machine.ts";
import { planNodeAttachment, UNDERLAY_ADDRESS } from "../../lab/plan-topology.ts";
import { startUnderlay } from "../../lab/underlay.ts";
import type { Underlay } from "../../lab/underlay.ts";
import { buildDaemon } from "../../scripts/build-daemon.ts";
import { expandCommand, NOTIFY_LISTENER, readEnvironmentFile, readUnit } from "../support/systemd.ts";
import { waitFor } from "../support/wait.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
/** The programs that units name, as they lie in a checkout. */
const INSTALLED: Readonly<Record<string, string>> = {
  "/usr/bin/flanneld": path.join(ROOT, "dist/flanneld-ts"),
  "/opt/flanneld-ts/flanneld-ts": path.join(ROOT, "dist/flanneld-ts"),
  "/usr/libexec/flannel/mk-docker-opts.sh": path.join(ROOT, "deploy/mk-docker-opts.sh"),
};
const NOTIFY_SOCKET = "/run/notify";

let directory: string;
let underlay: Underlay;
let etcd: LabEtcd;
let machines: Machine[] = [];

beforeAll(() => {
  const { version } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as {
    version: string;
  };
  return buildDaemon(version);
});
beforeEach(async () => {
  directory = mkdtempSync(path.join(tmpdir(), "fts-units-"));
  underlay = await startUnderlay("flat");
});
afterEach(async () => {
  for (const machine of machines.splice(0)) await machine.close();
  await underlay.machine.close();
  rmSync(directory, { recursive: true, force: true });
});

async function startEtcdWith(prefix: string, config: unknown): Promise<void> {
  etcd = await startEtcd(underlay.machine, UNDERLAY_ADDRESS, path.join(directory, "etcd.log"), { prefix });
  await etcd.ctl("put", `${prefix}/config`, JSON.stringify(config));
}

async function startHost(index: number, ifName: string): Promise<Machine> {
  const machine = await startMachine(`u${index}`);
  machines.push(machine);
  await underlay.attach(machine, planNodeAttachment("flat", index), { ifName });
  return machine;
}

interface StartedUnit {
  readonly daemon: MachineProcess;
  /** `PID:MESSAGE`, PIDs as the machine counts them. */
  readonly messages: () => readonly string[];
  readonly log: () => string;
}

/** Starts a unit of Type=notify as systemd does: ExecStart, READY=1, then ExecStartPost. */
async function startUnit(
  machine: Machine,
  unitFile: string,
  env: Readonly<Record<string, string>>,
  wrap: readonly string[] = [],
): Promise<StartedUnit> {
  const unit = readUnit(path.join(ROOT, unitFile));
  expect(unit.get("Type")).toEqual(["notify"]);
  const commandsOf = (key: string): readonly (readonly string[])[] =>
    (unit.get(key) ?? []).map((line) =>
      expandCommand(line, env).map((word, i) => (i === 0 ? (INSTALLED[word] ?? word) : word)),
    );
  const listener = await machine.spawn("python3", ["-c", NOTIFY_LISTENER, NOTIFY_SOCKET], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let heard = "";
  listener.child.stdout?.on("data", (chunk: Buffer) => (heard += chunk.toString()));
  const messages = () => heard.split("\n").filter((line) => line !== "" && !line.includes("BARRIER=1"));
  await waitFor("the notify socket", () => machine.exec("test", ["-S", NOTIFY_SOCKET]).then(() => true));

  const [program = "", ...args] = [...wrap, ...(commandsOf("ExecStart")[0] ?? [])];
  const daemon = await machine.spawn(program, args, {
    env: { ...env, NOTIFY_SOCKET },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  daemon.child.stderr?.on("data", (chunk: Buffer) => (log += chunk.toString()));
  await waitFor(
    "READY=1",
    () => {
      if (!daemon.isRunning()) throw new Error("the daemon ended");
      return heard.includes("READY=1");
    },
    { timeoutMs: 30_000 },
  ).catch((error: unknown) => {
    throw new Error(`the unit did not become ready; its log:\n${log}`, { cause: error });
  });
  for (const [post = "", ...words] of commandsOf("ExecStartPost")) {
    await machine.exec(post, words, { env: { FLANNELD_TS: INSTALLED["/usr/bin/flanneld"] ?? "" } });
  }
  return { daemon, messages, log: () => log };
}

function pidInMachine(daemon: MachineProcess): number {
  const [, pids = ""] = /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${daemon.pid}/status`, "utf8")) ?? [];
  return Number(pids.trim().split(/\s+/).at(-1));
}

const read = (machine: Machine, file: string): string => readFileSync(machine.hostPath(file), "utf8");

describe("the classic unit of the handbooks", () => {
  it("connects nodes over host-gw and writes Docker's options", async () => {
    await startEtcdWith("/kube-centos/network", {
      Network: "172.33.0.0/16",
      SubnetLen: 24,
      Backend: { Type: "host-gw" },
    });
    const env = {
      ...readEnvironmentFile(path.join(ROOT, "deploy/classic/flanneld.env")),
      FLANNEL_ETCD_ENDPOINTS: etcd.endpoints,
    };
    const hosts = [await startHost(1, "eth2"), await startHost(2, "eth2"), await startHost(3, "eth2")];
    const units = [];
    for (const host of hosts) units.push(await startUnit(host, "deploy/classic/flanneld.service", env));

    // NotifyAccess=main is the default: the manager takes READY=1 from the main process only.
    for (const { daemon, messages } of units) {
      expect(messages().find((message) => message.includes("READY=1"))).toMatch(
        new RegExp(`^${pidInMachine(daemon)}:READY=1`),
      );
    }
    const subnets = hosts.map(
      (host) => /^FLANNEL_SUBNET=(172\.33\.\d+)\.1\/24$/m.exec(read(host, "/run/flannel/subnet.env"))?.[1],
    );
    expect(new Set(subnets).size).toBe(3);
    for (const [i, host] of hosts.entries()) {
      expect(read(host, "/run/flannel/docker")).toBe(
        [
          `DOCKER_OPT_BIP="--bip=${subnets[i]}.1/24"`,
          `DOCKER_OPT_IPMASQ="--ip-masq=true"`,
          `DOCKER_OPT_MTU="--mtu=1500"`,
          `DOCKER_NETWORK_OPTIONS=" --bip=${subnets[i]}.1/24 --ip-masq=true --mtu=1500"`,
          "",
        ].join("\n"),
      );
      const expected = subnets.flatMap((subnet, j) =>
        j === i ? [] : `${subnet}.0/24 via ${planNodeAttachment("flat", j + 1).address} dev eth2`,
      );
      const routes = await waitFor(`a route per other node on ${host.name}`, async () => {
        const { stdout } = await host.exec("ip", ["route", "show"]);
        const ours = stdout.split("\n").filter((line) => line.startsWith("172.33."));
        return ours.length === expected.length ? ours : undefined;
      });
      expect(routes.map((line) => line.split(" ").slice(0, 5).join(" ")).sort()).toEqual(expected.sort());
    }

    const [first] = units;
    const end = await first?.daemon.stop();
    expect(end).toEqual({ exitCode: 0, signal: undefined });
    expect(first?.messages().at(-1)).toContain("STOPPING=1");
  });
});

describe("our unit", () => {
  it("needs no more capabilities than it asks for", async () => {
    await startEtcdWith("/coreos.com/network", { Network: "10.250.0.0/16", Backend: { Type: "vxlan" } });
    const unit = readUnit(path.join(ROOT, "deploy/flanneld-ts.service"));
    const [capabilities = ""] = unit.get("CapabilityBoundingSet") ?? [];
    const kept = capabilities.split(" ").map((name) => name.replace("CAP_", "+").toLowerCase());
    const bound = ["-all", ...kept].join(",");
    const host = await startHost(1, "eth0");
    const env = {
      ...readEnvironmentFile(path.join(ROOT, "deploy/flanneld-ts.env")),
      FLANNELD_ETCD_ENDPOINTS: etcd.endpoints,
    };
    mkdirSync(host.hostPath("/run/flannel"), { recursive: true });
    const wrap = ["setpriv", `--bounding-set=${bound}`, "--no-new-privs", "--"];
    const { log, messages } = await startUnit(host, "deploy/flanneld-ts.service", env, wrap);

    expect(messages().some((message) => message.includes("READY=1"))).toBe(true);
    expect((await host.exec("ip", ["-o", "link", "show", "type", "vxlan"])).stdout).toContain("flannel.1");
    expect((await host.exec("iptables-save", ["-t", "nat"])).stdout).toContain("flanneld masq");
    expect(JSON.parse(read(host, "/etc/cni/net.d/10-flannel.conflist"))).toEqual(
      JSON.parse(readFileSync(path.join(ROOT, "deploy/cni-conf.json"), "utf8")),
    );
    const problems = log()
      .split("\n")
      .filter((line) => /"level":"(warn|error)"/.test(line));
    expect(problems).toEqual([]);
  });
});
