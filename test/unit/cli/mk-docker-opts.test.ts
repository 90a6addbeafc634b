// flannel's mk-docker-opts.sh: its own five cases byte for byte, its failures, and its corners.
import { chmodSync, mkdtempSync, readFileSync, rmSync, symlinkSync, lstatSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseDockerOptionsRequest } from "../../../src/cli/docker-options-codec.ts";
import { runMkDockerOpts } from "../../../src/cli/mk-docker-opts.ts";
import type { Exec } from "../../../src/kernel/exec.ts";
import { CollectedText } from "../../support/text-sink.ts";

const SAMPLE =
  "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "fts-docker-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

interface RunOptions {
  readonly subnetEnv?: string;
  readonly env?: Record<string, string>;
  readonly routes?: string;
}

async function run(flags: readonly string[], { subnetEnv = SAMPLE, env = {}, routes = "" }: RunOptions = {}) {
  writeFileSync(join(directory, "subnet.env"), subnetEnv);
  const stderr = new CollectedText();
  const exec: Exec = (command, args) => {
    expect([command, ...args]).toEqual(["ip", "route", "show"]);
    return Promise.resolve({ exitCode: 0, stdout: routes, stderr: "" });
  };
  const argv = ["-f", join(directory, "subnet.env"), "-d", join(directory, "out"), ...flags];
  const code = await runMkDockerOpts(argv, { env, exec, stderr });
  let written: string | undefined;
  try {
    written = readFileSync(join(directory, "out"), "utf8");
  } catch {
    written = undefined;
  }
  return { code, stderr: stderr.text, written };
}

const BIP = 'DOCKER_OPT_BIP="--bip=10.1.74.1/24"\n';
const MASQ = 'DOCKER_OPT_IPMASQ="--ip-masq=true"\n';
const MTU = 'DOCKER_OPT_MTU="--mtu=1472"\n';
const ALL = '" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"\n';

describe("upstream's cases", () => {
  it.each([
    ["both forms by default", [], `${BIP}${MASQ}${MTU}DOCKER_OPTS=${ALL}`],
    ["individual only", ["-i"], `${BIP}${MASQ}${MTU}`],
    ["combined only", ["-c"], `DOCKER_OPTS=${ALL}`],
    ["another key", ["-k", "CUSTOM_KEY"], `${BIP}${MASQ}${MTU}CUSTOM_KEY=${ALL}`],
    ["no --ip-masq", ["-m"], `${BIP}${MTU}DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"\n`],
  ])("%s", async (_name, flags, written) => {
    expect(await run(flags)).toEqual({ code: 0, stderr: "", written });
  });
});

describe("like the script", () => {
  it("lets Docker masquerade only if the daemon does not", async () => {
    const { written } = await run(["-i"], { subnetEnv: SAMPLE.replace("IPMASQ=false", "IPMASQ=true") });
    expect(written).toContain('DOCKER_OPT_IPMASQ="--ip-masq=false"');
  });

  it("keeps options that are there already", async () => {
    const env = { DOCKER_OPTS: "--debug", DOCKER_OPT_DNS: "--dns=10.0.0.2", DOCKER_OPT_MTU: "--mtu=1" };
    const { written } = await run([], { env });
    expect(written).toBe(
      `${BIP}DOCKER_OPT_DNS="--dns=10.0.0.2"\n${MASQ}${MTU}DOCKER_OPTS="--debug  --bip=10.1.74.1/24 --dns=10.0.0.2 --ip-masq=true --mtu=1472"\n`,
    );
  });

  it("reads quotes and exports, as a shell does", async () => {
    const subnetEnv = "export FLANNEL_SUBNET=\"10.1.74.1/24\" # x\n# FLANNEL_MTU=9\nFLANNEL_MTU='1472'\n";
    expect((await run(["-c"], { subnetEnv })).written).toBe('DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"\n');
  });

  it("refuses another value of FLANNEL_IPMASQ, and writes nothing", async () => {
    const outcome = await run([], { subnetEnv: SAMPLE.replace("IPMASQ=false", "IPMASQ=maybe") });
    expect(outcome).toMatchObject({ code: 1, written: undefined });
    expect(outcome.stderr).toContain("Invalid value of FLANNEL_IPMASQ: maybe");
  });

  it("does not look at that value with -m", async () => {
    const subnetEnv = SAMPLE.replace("IPMASQ=false", "IPMASQ=maybe");
    expect((await run(["-m"], { subnetEnv })).code).toBe(0);
  });

  it("fails, after writing, if the subnet is reached through a gateway", async () => {
    const routes = "default via 192.0.2.1 dev eth0\n10.1.74.0/24 via 192.0.2.9 dev eth0\n";
    const outcome = await run(["-c"], { routes });
    expect(outcome).toMatchObject({ code: 1, written: `DOCKER_OPTS=${ALL}` });
    expect(outcome.stderr).toContain(
      "Your routing table already contains the subnet: 10.1.74.0/24 via 192.0.2.9 dev eth0",
    );
  });

  it.each([
    "10.1.74.0/24 dev docker0 proto kernel scope link src 10.1.74.1",
    "10.1.75.0/24 via 192.0.2.9 dev eth0",
    "110.1.74.0/24 via 192.0.2.9 dev eth0",
    "blackhole 10.1.74.0/24",
  ])("does not mind the route %s", async (routes) => expect((await run([], { routes })).code).toBe(0));
});

describe("the script's option letters", () => {
  it.each([
    [["-ic"], { individual: true, combined: true }],
    [["-imkX"], { individual: true, combined: false, ipMasq: false, combinedKey: "X" }],
    [["-f/a", "-d", "/b"], { subnetFile: "/a", dockerFile: "/b" }],
    [["-i", "word", "-c"], { individual: true, combined: false }],
    [["--", "-i"], { individual: true, combined: true }],
  ])("%j", (argv, expected) => expect(parseDockerOptionsRequest(argv)).toMatchObject(expected));

  it.each([[["-h"]], [["-x"]], [["--foo"]], [["-f"]], [["-k", "A B"]]])(
    "%j prints the usage",
    async (argv) => {
      const stderr = new CollectedText();
      const exec: Exec = () => Promise.reject(new Error("must not run"));
      expect(await runMkDockerOpts(argv, { env: {}, exec, stderr })).toBe(1);
      expect(stderr.text).toContain("Usage: mk-docker-opts [-f FLANNEL-ENV-FILE]");
    },
  );
});

describe("better than the script", () => {
  it("warns when there is no subnet file", async () => {
    const stderr = new CollectedText();
    const exec: Exec = () => Promise.reject(new Error("must not run"));
    const argv = ["-f", join(directory, "none"), "-d", join(directory, "deep/out")];
    expect(await runMkDockerOpts(argv, { env: {}, exec, stderr })).toBe(0);
    expect(stderr.text).toContain("does not exist, so Docker gets no subnet");
    expect(readFileSync(join(directory, "deep/out"), "utf8")).toBe('DOCKER_OPTS=""\n');
  });

  it("replaces what a link points to, not the link", async () => {
    writeFileSync(join(directory, "real"), "");
    symlinkSync("real", join(directory, "out"));
    await run(["-c"]);
    expect(lstatSync(join(directory, "out")).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(directory, "real"), "utf8")).toBe(`DOCKER_OPTS=${ALL}`);
  });

  it("writes to a device without replacing it", async () => {
    const stderr = new CollectedText();
    const exec: Exec = () => Promise.resolve({ exitCode: 0, stdout: "", stderr: "" });
    expect(await runMkDockerOpts(["-d", "/dev/null"], { env: {}, exec, stderr })).toBe(0);
    expect(lstatSync("/dev/null").isCharacterDevice()).toBe(true);
  });
});

it("the shell wrapper hands its words over", () => {
  const fake = join(directory, "flanneld-ts");
  writeFileSync(fake, '#!/bin/sh\nprintf "%s|" "$@"\n');
  chmodSync(fake, 0o755);
  const script = resolve("deploy/mk-docker-opts.sh");
  const { stdout } = spawnSync(script, ["-k", "A B"], { env: { ...process.env, FLANNELD_TS: fake } });
  expect(String(stdout)).toBe("mk-docker-opts|-k|A B|");
});
