// Everything that can go wrong: exit 1, error JSON with the right code, never a stack trace, nothing left behind.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildCniPlugin } from "../../scripts/build-cni-plugin.ts";
import { exec } from "../../src/kernel/exec.ts";
import { CNI_EXECUTABLE, CniNode, STANDARD_PLUGINS, outcomeOf } from "../support/cni.ts";
import type { CniCall, CniOutcome, Json } from "../support/cni.ts";
import { waitFor } from "../support/wait.ts";

beforeAll(() => buildCniPlugin());

let node: CniNode;
beforeEach(async () => {
  node = await CniNode.create();
});
afterEach(async () => {
  await node.remove();
});

/** A namespace that exists, for calls that fail before they touch it. */
const NETNS = "/proc/self/ns/net";

function expectError(outcome: CniOutcome, code: number, text: RegExp | string): void {
  expect(outcome.exitCode).toBe(1);
  expect(outcome.json).toMatchObject({
    code,
    cniVersion: expect.stringMatching(/^\d+\.\d+\.\d+$/) as string,
  });
  const told = `${outcome.json?.msg}; ${outcome.json?.details ?? ""}`;
  if (typeof text === "string") expect(told).toContain(text);
  else expect(told).toMatch(text);
  expect(outcome.stderr).not.toMatch(/\n\s+at /);
}

interface BadInput {
  readonly name: string;
  readonly call?: CniCall;
  readonly conf?: Json;
  readonly code: number;
  readonly text: RegExp | string;
}

const env = (variables: Record<string, string | undefined>): CniCall => ({ env: variables });

const BAD_INPUTS: readonly BadInput[] = [
  { name: "no CNI_COMMAND", call: env({ CNI_COMMAND: undefined }), code: 4, text: "CNI_COMMAND" },
  { name: "unknown CNI_COMMAND", call: { verb: "add" }, code: 4, text: "unknown CNI_COMMAND: add" },
  {
    name: "no CNI_CONTAINERID",
    call: env({ CNI_CONTAINERID: undefined }),
    code: 4,
    text: "[CNI_CONTAINERID]",
  },
  { name: "no CNI_NETNS for ADD", call: env({ CNI_NETNS: "" }), code: 4, text: "CNI_NETNS" },
  { name: "no CNI_IFNAME", call: env({ CNI_IFNAME: undefined }), code: 4, text: "CNI_IFNAME" },
  { name: "no CNI_PATH", call: env({ CNI_PATH: undefined }), code: 4, text: "CNI_PATH" },
  {
    name: "several are missing",
    call: env({ CNI_CONTAINERID: "", CNI_IFNAME: "", CNI_PATH: "" }),
    code: 4,
    text: "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH",
  },
  {
    name: "path traversal in CNI_CONTAINERID",
    call: { containerId: "../x" },
    code: 4,
    text: "CNI_CONTAINERID",
  },
  { name: "slash in CNI_CONTAINERID", call: { containerId: "a/b" }, code: 4, text: "CNI_CONTAINERID" },
  { name: "dot first in CNI_CONTAINERID", call: { containerId: ".locks" }, code: 4, text: "CNI_CONTAINERID" },
  {
    name: "our separator in CNI_CONTAINERID",
    call: { containerId: "a@b" },
    code: 4,
    text: "CNI_CONTAINERID",
  },
  { name: "line end in CNI_CONTAINERID", call: { containerId: "a\n" }, code: 4, text: "CNI_CONTAINERID" },
  { name: "long CNI_CONTAINERID", call: { containerId: "a".repeat(300) }, code: 4, text: "200 characters" },
  { name: "slash in CNI_IFNAME", call: { ifName: "../eth0" }, code: 4, text: "CNI_IFNAME" },
  { name: "colon in CNI_IFNAME", call: { ifName: "eth0:1" }, code: 4, text: "CNI_IFNAME" },
  { name: "blank in CNI_IFNAME", call: { ifName: "eth 0" }, code: 4, text: "CNI_IFNAME" },
  { name: "dots as CNI_IFNAME", call: { ifName: ".." }, code: 4, text: "CNI_IFNAME" },
  { name: "long CNI_IFNAME", call: { ifName: "a234567890123456" }, code: 4, text: "15 bytes" },
  { name: "relative CNI_NETNS", call: { netns: "run/netns/x" }, code: 4, text: "CNI_NETNS" },
  { name: "control character in CNI_NETNS", call: { netns: "/run/\u001bx" }, code: 4, text: "CNI_NETNS" },
  {
    name: "CNI_NETNS that does not exist",
    call: { netns: "/run/netns/no-such" },
    code: 3,
    text: "does not exist",
  },
  { name: "empty stdin", call: { stdin: "" }, code: 6, text: "standard input is empty" },
  { name: "white space as stdin", call: { stdin: " \n" }, code: 6, text: "standard input is empty" },
  { name: "broken stdin", call: { stdin: '{"name":' }, code: 6, text: "failed to load netconf" },
  { name: "binary stdin", call: { stdin: "\u0000\u0001\uFFFF" }, code: 6, text: "failed to load netconf" },
  {
    name: "huge stdin",
    call: { stdin: `{"name":"${"a".repeat(9_000_000)}"}` },
    code: 5,
    text: "larger than 8 MiB",
  },
  { name: "stdin is a list", call: { stdin: "[]" }, code: 6, text: "must be an object" },
  { name: "stdin is null", call: { stdin: "null" }, code: 6, text: "must be an object" },
  { name: "no name", conf: { name: undefined }, code: 7, text: "missing network name" },
  { name: "path traversal in name", conf: { name: "../x" }, code: 7, text: "invalid characters" },
  { name: "name is a number", conf: { name: 5 }, code: 6, text: '"name" is 5 (a number)' },
  { name: "cniVersion is a number", conf: { cniVersion: 1 }, code: 6, text: '"cniVersion" is 1' },
  { name: "subnetFile is a list", conf: { subnetFile: [] }, code: 6, text: '"subnetFile" is []' },
  { name: "subnetFile is a directory", conf: { subnetFile: "/" }, code: 11, text: "subnet.env" },
  { name: "subnetFile has a zero byte", conf: { subnetFile: "a\0b" }, code: 6, text: "zero bytes" },
  { name: "dataDir is an object", conf: { dataDir: {} }, code: 6, text: '"dataDir" is {}' },
  { name: "dataDir below a file", conf: { dataDir: "/dev/null/x" }, code: 5, text: "ENOTDIR" },
  { name: "delegate is a text", conf: { delegate: "bridge" }, code: 6, text: '"delegate" is "bridge"' },
  { name: "ipam is a list", call: { stdin: '{"name":"a","ipam":[]}' }, code: 6, text: '"ipam" is []' },
  { name: "runtimeConfig is a number", conf: { runtimeConfig: 1 }, code: 6, text: '"runtimeConfig" is 1' },
  {
    name: "delegate's type is a number",
    conf: { delegate: { type: 1 } },
    code: 7,
    text: "'delegate' dictionary, if present, must have (string) 'type' field",
  },
  {
    name: "delegate has a name",
    conf: { delegate: { name: "x" } },
    code: 7,
    text: "'delegate' dictionary must not have 'name' field, it'll be set by flannel",
  },
  {
    name: "delegate has ipam",
    conf: { delegate: { ipam: {} } },
    code: 7,
    text: "'delegate' dictionary must not have 'ipam' field, it'll be set by flannel",
  },
  {
    name: "delegate is flannel",
    conf: { delegate: { type: "flannel" } },
    code: 7,
    text: "must not be 'flannel'",
  },
  {
    name: "delegate has a path",
    conf: { delegate: { type: "../bridge" } },
    code: 7,
    text: "invalid plugin name",
  },
  { name: "ipam's type is null", conf: { ipam: { type: null } }, code: 7, text: "'ipam' must have (string)" },
  {
    name: "a bad route",
    conf: { ipam: { routes: [{ dst: "10.0.0.0" }] } },
    code: 7,
    text: "parse ipam.routes",
  },
  {
    name: "a bad gateway",
    conf: { ipam: { routes: [{ dst: "10.0.0.0/8", gw: "x" }] } },
    code: 7,
    text: '"x"',
  },
  { name: "routes are no list", conf: { ipam: { routes: {} } }, code: 7, text: "must be a list" },
  { name: "delegateTimeoutSeconds 0", conf: { delegateTimeoutSeconds: 0 }, code: 6, text: "above 0" },
  {
    name: "a missing delegate",
    conf: { delegate: { type: "no-such" } },
    code: 100,
    text: '"no-such" in path',
  },
  { name: "a missing ipam plugin", conf: { ipam: { type: "no-such" } }, code: 100, text: "ipam plugin" },
  {
    name: "CNI_PATH leads nowhere",
    call: { cniPath: "/no/such:::/also/not" },
    code: 100,
    text: "/usr/lib/cni/bridge exists",
  },
];

describe("bad input", () => {
  for (const { name, call, conf, code, text } of BAD_INPUTS) {
    test(`${name}: code ${code}`, async () => {
      const outcome = await node.call(node.conf(conf), { netns: NETNS, ...call });
      expectError(outcome, code, text);
      expect(node.stateFiles()).toEqual([]);
      expect(existsSync(node.dataDir)).toBe(false);
    });
  }

  test("standard input nested half a million deep: code 6", async () => {
    const deep = `${'{"a":'.repeat(500_000)}1${"}".repeat(500_000)}`;
    const stdin = JSON.stringify(node.conf({ delegate: "DEEP" })).replace('"DEEP"', deep);
    expectError(await node.call({}, { netns: NETNS, stdin }), 6, "nested too deep");
    expect(existsSync(node.dataDir)).toBe(false);
  });

  test("standard input is closed: as empty, code 6", async () => {
    const environment = ["CNI_COMMAND=DEL", "CNI_CONTAINERID=a", "CNI_IFNAME=eth0", "CNI_PATH=/x"];
    const closed = ["env", "-i", ...environment, "sh", "-c", `exec ${CNI_EXECUTABLE} <&-`] as const;
    const [program, ...args] = closed;
    expectError(outcomeOf(await exec(program, args, { allowFailure: true })), 6, "standard input is empty");
  });

  test("DEL refuses bad names as ADD does, and touches nothing", async () => {
    mkdirSync(node.dataDir);
    writeFileSync(path.join(node.directory, "x"), "{}");
    expectError(await node.call(node.conf(), { verb: "DEL", containerId: "../x" }), 4, "CNI_CONTAINERID");
    expect(existsSync(path.join(node.directory, "x"))).toBe(true);
  });

  test("--version says who we are", async () => {
    const { stdout } = await exec(CNI_EXECUTABLE, ["--version"]);
    expect(stdout).toMatch(
      /^CNI plugin flannel \(flanneld-ts\) version \d.*\nCNI protocol versions supported: 0.1.0,/,
    );
  });
});

describe("a bad disk", () => {
  /** Runs ADD or DEL where dataDir is a file system of its own that `prepare` spoils. */
  const onFileSystem = async (verb: string, prepare: string): Promise<CniOutcome> => {
    mkdirSync(node.dataDir, { recursive: true });
    const cniPath = node.fakePlugin("bridge", `echo '{"cniVersion":"1.0.0"}'`);
    node.fakePlugin("host-local", "exit 0");
    const script = `set -e; mount -t tmpfs -o size=64k none ${node.dataDir}; cd ${node.dataDir}; ${prepare}; cd /; exec ${CNI_EXECUTABLE}`;
    const result = await exec("unshare", ["--mount", "sh", "-c", script], {
      input: JSON.stringify(node.conf()),
      allowFailure: true,
      env: {
        CNI_COMMAND: verb,
        CNI_CONTAINERID: "pod",
        CNI_NETNS: NETNS,
        CNI_IFNAME: "eth0",
        CNI_PATH: cniPath,
      },
    });
    return outcomeOf(result);
  };
  const FILL = "dd if=/dev/zero of=filler bs=4k 2>/dev/null || true";

  test("ADD on a full disk: code 5", async () => {
    expectError(await onFileSystem("ADD", FILL), 5, /ENOSPC/);
  });

  test("ADD on a read-only disk: code 5", async () => {
    expectError(await onFileSystem("ADD", `cd /; mount -o remount,ro ${node.dataDir}`), 5, /EROFS/);
  });

  test("DEL works on a full disk", async () => {
    const state = `echo '{"type":"bridge"}' > pod; ${FILL}`;
    expect(await onFileSystem("DEL", state)).toMatchObject({ exitCode: 0, stdout: "" });
  });
});

describe("a bad delegate", () => {
  const withBridge = (lines: string, conf: Json = {}) => {
    const cniPath = `${node.fakePlugin("bridge", lines)}:${STANDARD_PLUGINS}`;
    return node.call(node.conf(conf), { netns: NETNS, cniPath });
  };

  const cases: readonly { name: string; lines: string; code: number; text: RegExp }[] = [
    {
      name: "tells a CNI error",
      lines: `echo '{"code":7,"msg":"no"}'; exit 1`,
      code: 7,
      text: /^failed to delegate add: no; $/,
    },
    {
      name: "is killed",
      lines: "kill -9 $$",
      code: 101,
      text: /plugin "bridge" \(.*\) was killed by SIGKILL/,
    },
    {
      name: "fails with rubbish",
      lines: "echo rubbish; exit 3",
      code: 101,
      text: /exit code 3; it printed: rubbish/,
    },
    { name: "fails silently", lines: "exit 3", code: 101, text: /exit code 3/ },
    { name: "fails on stderr", lines: "echo why >&2; exit 3", code: 101, text: /on stderr: why/ },
    { name: "fails with other JSON", lines: `echo '{"a":1}'; exit 1`, code: 101, text: /\{"a":1\}/ },
    { name: "succeeds with rubbish", lines: "echo rubbish", code: 101, text: /not a CNI result/ },
    { name: "succeeds with nothing", lines: "exit 0", code: 101, text: /not a CNI result/ },
    {
      name: "succeeds with a list",
      lines: "echo '[]'",
      code: 101,
      text: /not a CNI result: is not an object/,
    },
    { name: "floods its output", lines: "exec cat /dev/zero", code: 101, text: /more than 4 MiB/ },
    {
      name: "has a stale bridge",
      lines: `echo '{"code":999,"msg":"failed to set bridge addr: \\"cni0\\" already has an IP address different from 10.1.17.1/24"}'; exit 1`,
      code: 999,
      text: /ip link delete cni0/,
    },
  ];
  for (const { name, lines, code, text } of cases) {
    test(`that ${name}: code ${code}, and the state stays for DEL`, async () => {
      expectError(await withBridge(lines), code, text);
      expect(node.stateFiles()).toEqual([".attachments/container-1@eth0", "container-1"]);
    });
  }

  test("of another kind may do without the address plugin", async () => {
    const cniPath = node.fakePlugin("own-addresses", `echo '{"cniVersion":"1.0.0"}'`);
    await node.succeed(node.conf({ delegate: { type: "own-addresses" } }), { netns: NETNS, cniPath });
  });

  test("its standard error is passed on, and CNI_DEBUG shows what it gets", async () => {
    const lines = `echo "from the delegate" >&2; echo '{"cniVersion":"1.0.0"}'`;
    expect((await withBridge(lines)).stderr).toBe("from the delegate\n");
    const cniPath = `${node.fakePlugin("bridge", lines)}:${STANDARD_PLUGINS}`;
    const { stderr } = await node.call(node.conf(), { netns: NETNS, cniPath, env: { CNI_DEBUG: "1" } });
    expect(stderr).toBe(`flannel: ADD delegates ${node.stateText("container-1")}\nfrom the delegate\n`);
  });

  test("that does not read its standard input works", async () => {
    writeFileSync(
      path.join(node.fakePlugin("bridge", ""), "bridge"),
      `#!/bin/sh\nexec <&-\necho '{"cniVersion":"1.0.0","ips":[]}'\n`,
    );
    const cniPath = `${path.join(node.directory, "plugins")}:${STANDARD_PLUGINS}`;
    // Larger than a pipe, so that the write is cut off.
    const conf = node.conf({ runtimeConfig: { filler: "x".repeat(200_000) } });
    expect((await node.call(conf, { netns: NETNS, cniPath })).json).toEqual({ cniVersion: "1.0.0", ips: [] });
  });

  test("its result is passed on as it is, byte for byte", async () => {
    const result = `{ "cniVersion":"1.0.0",\n "unknown" : [1.0, "ü"]}\n`;
    const { stdout } = await withBridge(`printf %s '${result}'`);
    expect(stdout).toBe(result);
  });

  test("whose file is being written at this moment is tried again", async () => {
    const directory = node.fakePlugin("bridge", `echo '{"cniVersion":"1.0.0"}'`);
    const writer = openSync(path.join(directory, "bridge"), "r+");
    const calling = node.call(node.conf(), { netns: NETNS, cniPath: `${directory}:${STANDARD_PLUGINS}` });
    // The lock is taken just before the first attempt.
    await waitFor("the call to hold its lock", () =>
      node.stateFiles().includes(".locks/container-1"),
    ).finally(() => closeSync(writer));
    expect(await calling).toMatchObject({ exitCode: 0, json: { cniVersion: "1.0.0" } });
  });

  test("that hangs is killed with its children after delegateTimeoutSeconds: code 11", async () => {
    const pidFile = path.join(node.directory, "pid");
    const outcome = await withBridge(`sleep 1000 & echo $! > ${pidFile}; wait`, {
      delegateTimeoutSeconds: 0.5,
    });
    expectError(outcome, 11, /did not end in time; 0.5 s were allowed \("delegateTimeoutSeconds"\)/);
    const stat = `/proc/${readFileSync(pidFile, "utf8").trim()}/stat`;
    await waitFor("the grandchild to end", () => !existsSync(stat) || / Z /.test(readFileSync(stat, "utf8")));
  });
});

describe("two calls for one container at once", () => {
  test("run one after the other", async () => {
    const log = path.join(node.directory, "log");
    const cniPath = node.fakePlugin(
      "bridge",
      `echo begin >> ${log}; sleep 0.2; echo end >> ${log}; echo '{"cniVersion":"1.0.0"}'`,
    );
    const call = { netns: NETNS, cniPath: `${cniPath}:${STANDARD_PLUGINS}` };
    await Promise.all([
      node.succeed(node.conf(), call),
      node.succeed(node.conf(), { ...call, ifName: "eth1" }),
      node.succeed(node.conf(), { ...call, ifName: "eth2" }),
    ]);
    expect(readFileSync(log, "utf8")).toBe("begin\nend\n".repeat(3));
  });

  test("a lock whose holder was killed is taken over", async () => {
    const locks = path.join(node.dataDir, ".locks");
    mkdirSync(locks, { recursive: true });
    // This process lives, but began at another time: the number was given out again.
    symlinkSync(`${process.pid}:1`, path.join(locks, "container-1"));
    const pod = await node.addPod();
    await node.succeed(node.conf(), { netns: pod.path });
    expect(() => readlinkSync(path.join(locks, "container-1"))).toThrow("ENOENT");
  });

  test("the wait for a lock is bounded: code 11", async () => {
    const locks = path.join(node.dataDir, ".locks");
    mkdirSync(locks, { recursive: true });
    const stat = readFileSync("/proc/self/stat", "utf8");
    const startTime = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    symlinkSync(`${process.pid}:${startTime}`, path.join(locks, "container-1"));
    const outcome = await node.call(node.conf({ delegateTimeoutSeconds: 0.3 }), { netns: NETNS });
    expectError(outcome, 11, /another call for this container still runs/);
  });
});
