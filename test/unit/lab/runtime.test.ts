import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CniError, createCniRuntime } from "../../../lab/runtime.ts";
import type { CniAttachment, CniRuntime } from "../../../lab/runtime.ts";
import type { Conflist } from "../../../lab/conflist.ts";
import type { ExecOptions, ExecResult } from "../../../src/kernel/exec.ts";

interface Call {
  readonly plugin: string;
  readonly env: Readonly<Record<string, string>>;
  readonly config: Readonly<Record<string, unknown>>;
}

let directory: string;
let calls: Call[];
/** What a plugin answers, by "COMMAND plugin"; an empty success otherwise. */
let answers: Map<string, Partial<ExecResult>>;
let runtime: CniRuntime;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "flanneld-ts-cni-"));
  for (const plugin of ["flannel", "portmap"]) {
    writeFileSync(path.join(directory, plugin), "");
    chmodSync(path.join(directory, plugin), 0o755);
  }
  calls = [];
  answers = new Map();
  const exec = (file: string, _args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> => {
    const plugin = path.basename(file);
    const env = options.env ?? {};
    calls.push({ plugin, env, config: JSON.parse(options.input ?? "null") as Call["config"] });
    const answer = answers.get(`${env["CNI_COMMAND"]} ${plugin}`);
    return Promise.resolve({ exitCode: 0, stdout: "", stderr: "", ...answer });
  };
  runtime = createCniRuntime({ pluginDirectories: ["/nonexistent", directory] }, { exec });
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const LIST: Conflist = {
  cniVersion: "1.0.0",
  name: "cbr0",
  disableCheck: false,
  plugins: [{ type: "flannel" }, { type: "portmap", capabilities: { portMappings: true } }],
};
const POD: CniAttachment = {
  containerId: "c1",
  netns: "/run/netns/p1",
  ifName: "eth0",
  args: [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAME", "p1"],
  ],
  capabilityArgs: { portMappings: [{ hostPort: 80 }] },
};
const RESULT = { cniVersion: "1.0.0", ips: [{ address: "10.244.1.2/24" }] };

function order(): string[] {
  return calls.map(({ plugin, env }) => `${env["CNI_COMMAND"]} ${plugin}`);
}

test("ADD runs the chain in order, each with the result of the one before", async () => {
  answers.set("ADD flannel", { stdout: JSON.stringify(RESULT) });
  answers.set("ADD portmap", { stdout: JSON.stringify({ ...RESULT, last: true }) });
  expect(await runtime.add(LIST, POD)).toEqual({ ...RESULT, last: true });
  expect(order()).toEqual(["ADD flannel", "ADD portmap"]);
  expect(calls[0]?.config).toEqual({ type: "flannel", name: "cbr0", cniVersion: "1.0.0" });
  expect(calls[1]?.config).toMatchObject({ prevResult: RESULT, runtimeConfig: POD.capabilityArgs });
  expect(calls[0]?.env).toEqual({
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/p1",
    CNI_IFNAME: "eth0",
    CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAME=p1",
    CNI_PATH: `/nonexistent:${directory}`,
  });
});

test("DEL runs the chain in reverse, with the cached result for each", async () => {
  await runtime.del(LIST, POD, RESULT);
  expect(order()).toEqual(["DEL portmap", "DEL flannel"]);
  expect(calls.map(({ config }) => config["prevResult"])).toEqual([RESULT, RESULT]);
});

test("before 0.4.0 there is no result for DEL, and no CHECK", async () => {
  const old = { ...LIST, cniVersion: "0.3.1" };
  await runtime.del(old, POD, RESULT);
  expect(calls.every(({ config }) => !("prevResult" in config))).toBe(true);
  await expect(runtime.check(old, POD, RESULT)).rejects.toThrow("CHECK needs cniVersion 0.4.0");
});

test("a failed ADD is undone with a DEL, and its error object is told", async () => {
  answers.set("ADD flannel", { stdout: JSON.stringify(RESULT) });
  const stdout = JSON.stringify({ cniVersion: "1.0.0", code: 11, msg: "try again later", details: "busy" });
  answers.set("ADD portmap", { exitCode: 1, stdout });
  const failed: unknown = await runtime.add(LIST, POD).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(CniError);
  expect(failed).toMatchObject({
    message: 'CNI ADD by "portmap": try again later (busy)',
    plugin: "portmap",
    code: 11,
    details: "busy",
  });
  expect(order()).toEqual(["ADD flannel", "ADD portmap", "DEL portmap", "DEL flannel"]);
});

test("a plugin that dies without an error object is told by what it said", async () => {
  answers.set("ADD flannel", { exitCode: 139, stderr: "panic: oh\n" });
  await expect(runtime.add(LIST, POD)).rejects.toThrow(
    'CNI ADD by "flannel": exit 139, no error object: panic: oh',
  );
});

test("a plugin that is nowhere: the directories that were searched", async () => {
  const list = { ...LIST, plugins: [{ type: "absent" }] };
  await expect(runtime.add(list, POD)).rejects.toThrow(
    `failed to find plugin "absent" in path [/nonexistent ${directory}]`,
  );
});

test("GC and STATUS concern no container", async () => {
  await runtime.gc(LIST, [{ containerID: "c1", ifname: "eth0" }]);
  await runtime.status(LIST);
  expect(order()).toEqual(["GC flannel", "GC portmap", "STATUS flannel", "STATUS portmap"]);
  expect(calls.every(({ env }) => !("CNI_CONTAINERID" in env))).toBe(true);
});
