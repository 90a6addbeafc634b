// Installing on a real file system: atomic, idempotent, over a running executable, with errors that name the cure.
import { spawn } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runInstallCni, runInstallConf } from "../../../src/cli/install-cni.ts";
import { CollectedText } from "../../support/text-sink.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "fts-install-"));
  writeFileSync(join(directory, "plugin"), "new", { mode: 0o600 });
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function run(...argv: readonly string[]) {
  const [stdout, stderr] = [new CollectedText(), new CollectedText()];
  const code = runInstallCni(argv, { stdout, stderr, bundledPlugin: join(directory, "plugin") });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

describe("install-cni", () => {
  it("makes the directory and an executable file, and leaves nothing else", () => {
    const bin = join(directory, "opt/cni/bin");
    expect(run(bin)).toEqual({ code: 0, stdout: `installed ${bin}/flannel\n`, stderr: "" });
    expect(readFileSync(join(bin, "flannel"), "utf8")).toBe("new");
    expect(statSync(join(bin, "flannel")).mode & 0o7777).toBe(0o755);
    expect(readdirSync(bin)).toEqual(["flannel"]);
  });

  it("writes nothing when there is nothing to do", () => {
    run(directory);
    const before = statSync(join(directory, "flannel"));
    expect(run(directory)).toEqual({
      code: 0,
      stdout: `${directory}/flannel is up to date; nothing was written\n`,
      stderr: "",
    });
    expect(statSync(join(directory, "flannel")).ino).toBe(before.ino);
  });

  it.each([
    ["other content of the same size", "old", 0o755],
    ["another size", "older", 0o755],
    ["another mode", "new", 0o644],
  ])("replaces a file of %s", (_name, content, mode) => {
    const target = join(directory, "flannel");
    writeFileSync(target, content);
    chmodSync(target, mode);
    expect(run(directory).stdout).toContain("installed");
    expect(readFileSync(target, "utf8")).toBe("new");
    expect(statSync(target).mode & 0o7777).toBe(0o755);
  });

  it("replaces an executable that runs", async () => {
    const target = join(directory, "flannel");
    copyFileSync("/bin/sleep", target);
    const running = spawn(target, ["60"], { stdio: "ignore" });
    try {
      await once(running, "spawn");
      expect(run(directory).code).toBe(0);
      expect(readFileSync(target, "utf8")).toBe("new");
    } finally {
      running.kill("SIGKILL");
    }
  });

  it("takes another source", () => {
    writeFileSync(join(directory, "other"), "other");
    expect(run("--source", join(directory, "other"), directory).code).toBe(0);
    expect(readFileSync(join(directory, "flannel"), "utf8")).toBe("other");
  });

  it.each([
    ["no directory", [], 2, "Usage: flanneld-ts install-cni DIR"],
    ["an unknown flag", ["--sourc=x", "/x"], 2, "did you mean --source?"],
    ["a source that is not there", ["--source=/nowhere/x", "/x"], 1, "/nowhere/x does not exist"],
    ["a source that is a directory", ["--source=/", "/x"], 1, "/ is not a file"],
    ["a place below a file", ["/etc/hostname/x"], 1, "a part of the path is not a directory"],
  ])("refuses %s", (_name, argv, code, message) => {
    const outcome = run(...argv);
    expect(outcome.code).toBe(code);
    expect(outcome.stderr).toContain(message);
  });

  it("says how to get an executable that was not built", () => {
    rmSync(join(directory, "plugin"));
    expect(run(directory).stderr).toContain("build it with npm run build, or name it with --source=FILE");
  });

  it("leaves nothing behind when it fails", () => {
    mkdirSync(join(directory, "flannel"));
    expect(run(directory)).toMatchObject({ code: 1 });
    expect(readdirSync(directory).sort()).toEqual(["flannel", "plugin"]);
  });
});

describe("install-conf", () => {
  function copy(...argv: readonly string[]) {
    const [stdout, stderr] = [new CollectedText(), new CollectedText()];
    return { code: runInstallConf(argv, { stdout, stderr }), stdout: stdout.text, stderr: stderr.text };
  }

  it("copies atomically, through the links that a config map is made of", () => {
    mkdirSync(join(directory, "..data"));
    writeFileSync(join(directory, "..data/cni-conf.json"), "{}", { mode: 0o600 });
    symlinkSync("..data/cni-conf.json", join(directory, "cni-conf.json"));
    const target = join(directory, "net.d/10-flannel.conflist");
    expect(copy(join(directory, "cni-conf.json"), target)).toMatchObject({ code: 0, stderr: "" });
    expect(readFileSync(target, "utf8")).toBe("{}");
    expect(statSync(target).mode & 0o7777).toBe(0o644);
    expect(copy(join(directory, "cni-conf.json"), target).stdout).toContain("nothing was written");
  });

  it.each([[["a"]], [["a", "b", "c"]], [[]], [["--help", "x"]]])("%j is wrong usage", (argv) => {
    expect(copy(...argv)).toMatchObject({ code: 2, stderr: "Usage: flanneld-ts install-conf FROM TO\n" });
  });

  it("says which file is missing", () => {
    expect(copy("/nowhere/a", join(directory, "b"))).toMatchObject({
      code: 1,
      stderr: "/nowhere/a does not exist\n",
    });
  });
});
