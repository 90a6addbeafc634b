// Real processes: what is told of how they end.
import { afterEach, describe, expect, it, vi } from "vitest";
import { exec, ExecError } from "../../../src/kernel/exec.ts";

const shell = (script: string, options: Parameters<typeof exec>[2] = {}) =>
  exec("sh", ["-c", script], options);

afterEach(() => void vi.unstubAllEnvs());

describe("exec", () => {
  it("returns output, byte for byte, and error output apart", async () => {
    expect(await shell("printf 'a\\n\\n'; printf 'é' >&2")).toEqual({
      exitCode: 0,
      stdout: "a\n\n",
      stderr: "é",
    });
  });

  it("gives the input, and none where there is none", async () => {
    const input = "add x 10.0.0.1\n".repeat(20_000);
    expect((await shell("cat", { input })).stdout).toBe(input);
    expect((await shell("cat")).stdout).toBe("");
  });

  it("does not mind a program that does not read its input", async () => {
    const ended = await shell("exit 3", { input: "x".repeat(1_000_000), allowFailure: true });
    expect(ended.exitCode).toBe(3);
  });

  it("speaks English and passes the environment on", async () => {
    vi.stubEnv("LC_ALL", "de_DE.UTF-8");
    vi.stubEnv("EXEC_TEST", "ours");
    const { stdout } = await shell("echo $LC_ALL $EXEC_TEST $MORE", { env: { MORE: "more" } });
    expect(stdout).toBe("C ours more\n");
  });

  it("throws what a program says that fails, with its result", async () => {
    const failed = shell("echo no such set >&2; exit 2");
    await expect(failed).rejects.toThrow(/^sh -c .*: exit 2: no such set$/);
    await expect(failed).rejects.toMatchObject({
      name: "ExecError",
      result: { exitCode: 2, stdout: "", stderr: "no such set\n" },
    });
  });

  it("names a program that is not there, with the cure", async () => {
    await expect(exec("flanneld-no-such-program", [])).rejects.toThrow(
      "flanneld-no-such-program: not found; install the package that has it (Debian: iproute2, iptables, ipset)",
    );
  });

  it("tells of arguments that the kernel does not take", async () => {
    await expect(exec("true", ["x".repeat(1_000_000)])).rejects.toThrow(ExecError);
  });

  it("ends a program that gives no answer in time, and one that a signal ends is no success", async () => {
    await expect(exec("sleep", ["600"], { timeoutMs: 50, allowFailure: true })).rejects.toThrow(
      "sleep: no answer in time",
    );
    await expect(shell("kill -KILL $$", { allowFailure: true })).rejects.toThrow("sh: ended by SIGKILL");
  });
});
