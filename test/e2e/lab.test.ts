// The lab's command line: it shows real connectivity, names what is broken, and leaves nothing behind.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startEtcd } from "../../lab/etcd.ts";
import { startLabHost } from "../support/lab.ts";
import type { LabHost } from "../support/lab.ts";
import { waitFor } from "../support/wait.ts";

/** Pods of the lab are in turn: role=db, role=frontend, neither. */
const POLICY = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress: [{from: [{podSelector: {matchLabels: {role: frontend}}}], ports: [{port: 6379}]}]
`;

let host: LabHost;
beforeEach(async () => {
  host = await startLabHost();
});
afterEach(async () => {
  await host.close();
});

describe("lab --once", () => {
  test.each([
    { name: "vxlan", args: ["--nodes=3"], mtu: "1450", cells: 54 },
    { name: "host-gw", args: ["--nodes=3", "--backend=host-gw"], mtu: "1500", cells: 54 },
    {
      name: "vxlan with DirectRouting over a router",
      args: [
        "--nodes=4",
        "--pods=1",
        "--topology=routed",
        '--net-conf={"Network":"10.99.0.0/16","Backend":{"Type":"vxlan","DirectRouting":true}}',
      ],
      mtu: "1450",
      cells: 32,
    },
  ])("$name: every cell is right, exit 0, nothing left", async ({ args, mtu, cells }) => {
    const before = await host.traces();
    const { exitCode, output } = await host.run("--once", ...args);
    expect(output).toContain(`${cells} of ${cells} cells are right`);
    expect(output).toMatch(new RegExp(`n1 +192\\.0\\.2\\.11 +10\\.\\d+\\.\\d+\\.1/24 +[a-z-]+ +${mtu}`));
    // Seen from outside, a pod is its node.
    expect(output).toMatch(/n1-p1 .* as 192\.0\.2\.11/);
    expect(exitCode).toBe(0);
    expect(await host.traces()).toBe(before);
  });

  test("host-gw over a router cannot work: exit 1, the cells and the daemon's reason are named", async () => {
    const { exitCode, output } = await host.run(
      "--once",
      "--pods=1",
      "--topology=routed",
      "--backend=host-gw",
    );
    expect(output).toContain("4 of 18 cells FAILED");
    expect(output).toMatch(/n1-p1 -> n2-p1 \(10\.244\.\d+\.2\): ping .* -s 1472 .*: no answer/);
    expect(output).not.toMatch(/n1-p1 -> n3-p1/);
    expect(output).toMatch(/192\.0\.2\.1\d is not on the link of eth0/);
    expect(exitCode).toBe(1);
  });

  test("an etcd that exists: the lab reaches it from the nodes and leaves no key in it", async () => {
    const directory = mkdtempSync(path.join(tmpdir(), "flanneld-ts-lab-"));
    try {
      // On loopback of the computer that the lab is started on, which no node can reach by itself.
      const etcd = await startEtcd(host.machine, "127.0.0.1", path.join(directory, "etcd.log"));
      await etcd.ctl("put", "/other", "stays");
      const { exitCode, output } = await host.run("--once", "--etcd-endpoints=http://127.0.0.1:2379");
      expect(output).toContain("etcd serves at http://192.0.2.1:2379");
      expect(output).toContain("54 of 54 cells are right");
      expect(exitCode).toBe(0);
      expect(await etcd.ctl("get", "--prefix", "/")).toBe("/other\nstays\n");
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("--policy: who reaches whom before and after, and one denial explained", async () => {
    const directory = mkdtempSync(path.join(tmpdir(), "flanneld-ts-lab-"));
    try {
      const file = path.join(directory, "policy.yml");
      writeFileSync(file, POLICY);
      const { exitCode, output } = await host.run("--once", "--nodes=2", `--policy=${file}`);
      expect(output).toMatch(/Before:[\s\S]*default\/n2-p1 +open +open +- +open/);
      expect(output).toMatch(/After:[\s\S]*default\/n2-p1 +DENIED +open +- +DENIED/);
      expect(output).toMatch(/Why\?[\s\S]*ingress of default\/n2-p2 is isolated by policy default\/db/);
      expect(output).toMatch(/12 connections tried, 8 made: as the policies say/);
      expect(exitCode).toBe(0);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("a daemon that cannot start: its own message, exit 1, nothing left", async () => {
    const before = await host.traces();
    const { exitCode, output } = await host.run("--once", "--daemon-flag=--no-such-flag");
    expect(output).toContain("unknown flag --no-such-flag");
    expect(exitCode).toBe(1);
    expect(await host.traces()).toBe(before);
  });
});

describe("nothing outlives a lab", () => {
  const MOMENTS = ["lab: starting", "etcd serves", "on the underlay", "has subnet", "pod n", "lab: complete"];

  test.each(MOMENTS)("kill -9 at %j", async (moment) => {
    const before = await host.traces();
    const lab = await host.start("--pods=1");
    await lab.waitForOutput(moment);
    await lab.process.stop("SIGKILL");
    // The directory with the logs is all that a killed process can leave; the next command sweeps it.
    await host.run("status");
    await waitFor("all traces to go", async () => (await host.traces()) === before).catch(() => undefined);
    expect(await host.traces()).toBe(before);
  });

  test.each(["etcd serves", "pod n", "lab: complete"])("Ctrl-C at %j", async (moment) => {
    const before = await host.traces();
    const lab = await host.start("--pods=1");
    await lab.waitForOutput(moment);
    const { exitCode } = await lab.process.stop("SIGINT", 30_000);
    expect(exitCode).toBe(moment === "lab: complete" ? 0 : 130);
    expect(await host.traces()).toBe(before);
  });

  test("the name of a killed lab is free again", async () => {
    const killed = await host.start("--pods=1");
    await killed.waitForOutput("has subnet");
    await killed.process.stop("SIGKILL");
    const { exitCode } = await host.run("--once", "--pods=1", "--nodes=2");
    expect(exitCode).toBe(0);
  });
});

test("from other terminals: exec in nodes and pods, status, a second lab of that name, down", async () => {
  const before = await host.traces();
  const lab = await host.start("--nodes=2", "--pods=1");
  await lab.waitForOutput("lab: up until");
  expect(await host.run("exec", "n2", "hostname")).toEqual({ exitCode: 0, output: "n2\n" });
  const address = /n2-p1=([\d.]+)/.exec(lab.output())?.[1] ?? "";
  const ping = await host.run("exec", "n1-p1", "ping", "-c", "1", address);
  expect(ping).toMatchObject({ exitCode: 0, output: expect.stringContaining("1 received") });
  expect(await host.run("exec", "n1", "sh", "-c", "exit 7")).toMatchObject({ exitCode: 7 });
  expect(await host.run("exec", "n3", "true")).toEqual({
    exitCode: 1,
    output: 'lab: there is no "n3" in the lab; there are n1, n2, outside, underlay, n1-p1, n2-p1\n',
  });
  const status = await host.run("status");
  expect(status.output).toContain("n1-p1");
  expect(status.exitCode).toBe(0);
  const second = await host.run("--once");
  expect(second).toMatchObject({
    exitCode: 1,
    output: expect.stringContaining('a lab named "lab" runs already'),
  });
  expect(await host.run("down")).toEqual({ exitCode: 0, output: "lab: ended\n" });
  expect((await lab.process.ended).exitCode).toBe(0);
  expect(await host.traces()).toBe(before);
  expect(await host.run("down")).toMatchObject({
    exitCode: 1,
    output: expect.stringContaining("no lab runs"),
  });
});

test.each([
  { args: ["--nodes=0"], says: '--nodes: "0" is no whole number from 1 to 240' },
  { args: ["--bogus"], says: "unknown option --bogus" },
  { args: ["frobnicate"], says: 'unknown command "frobnicate"' },
  { args: ["--net-conf={"], says: "--net-conf: not JSON" },
])("usage errors exit 2: $args", async ({ args, says }) => {
  const { exitCode, output } = await host.run(...args);
  expect(output).toContain(says);
  expect(exitCode).toBe(2);
});
