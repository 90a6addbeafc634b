// Batches: the text sent, failures attributed to their rows, and tools that give up in the middle.
import { describe, expect, it } from "vitest";
import { formatBatchLine, parseBatchErrors } from "../../../src/kernel/batch-codec.ts";
import { isAlreadyGone, runBatch } from "../../../src/kernel/batch.ts";
import type { Exec } from "../../../src/kernel/exec.ts";

describe("a line of a batch", () => {
  const cases = [
    { args: ["route", "del", "10.244.2.0/24"], expected: "route del 10.244.2.0/24" },
    { args: ["alias", "flanneld-ts 10.244.0.0/16"], expected: 'alias "flanneld-ts 10.244.0.0/16"' },
    { args: ["alias", ""], expected: 'alias ""' },
    // Neither may end the line or the quotes: the next line would be somebody else's command.
    { args: ["alias", 'a"b\nlink del eth0'], expected: 'alias "ablink del eth0"' },
    { args: ["alias", "a#b"], expected: 'alias "a#b"' },
  ];
  for (const { args, expected } of cases) {
    it(expected, () => expect(formatBatchLine(args)).toBe(expected));
  }
});

describe("stderr of a batch", () => {
  // As iproute2 6.1 prints it.
  it("names several failed lines, each with its messages", () => {
    const stderr = [
      "Error: Nexthop has invalid gateway.",
      "Command failed -:2",
      'Cannot find device "nosuch"',
      "Command failed -:4",
      "",
    ].join("\n");
    expect(parseBatchErrors(stderr, 1)).toEqual({
      failures: [
        { line: 1, message: "Error: Nexthop has invalid gateway." },
        { line: 3, message: 'Cannot find device "nosuch"' },
      ],
    });
  });

  it("tells of a tool that gave up after the last failed line", () => {
    const stderr =
      'RTNETLINK answers: No such process\nCommand failed -:1\nError: any valid prefix is expected rather than "x".\n';
    expect(parseBatchErrors(stderr, 1)).toEqual({
      failures: [{ line: 0, message: "RTNETLINK answers: No such process" }],
      aborted: 'Error: any valid prefix is expected rather than "x".',
    });
  });

  it("tells of a tool that died without a word", () => {
    expect(parseBatchErrors("", 139)).toEqual({ failures: [], aborted: "exit 139" });
  });

  it("does not take warnings of a success for failures", () => {
    expect(parseBatchErrors("Warning: something\n", 0)).toEqual({ failures: [] });
  });
});

/** An `ip` that exits at "bad" lines and fails "refused" ones; records its inputs. */
function fakeIp(): { readonly exec: Exec; readonly inputs: string[] } {
  const inputs: string[] = [];
  const exec: Exec = (_command, _args, options) => {
    const input = options?.input ?? "";
    inputs.push(input);
    let stderr = "";
    for (const [n, line] of input.trim().split("\n").entries()) {
      if (line.startsWith("bad"))
        return Promise.resolve({ exitCode: 255, stdout: "", stderr: `${stderr}cannot read ${line}\n` });
      if (line.startsWith("refused")) stderr += `no to ${line}\nCommand failed -:${n + 1}\n`;
    }
    return Promise.resolve({ exitCode: stderr === "" ? 0 : 1, stdout: "", stderr });
  };
  return { exec, inputs };
}

function row(key: string, ...lines: readonly string[]) {
  return { key, lines: lines.map((line) => line.split(" ")) };
}

describe("running a batch", () => {
  it("is one process for all rows", async () => {
    const { exec, inputs } = fakeIp();
    expect(await runBatch(exec, "ip", [row("a", "good 1", "good 2"), row("b", "good 3")])).toEqual([]);
    expect(inputs).toEqual(["good 1\ngood 2\ngood 3\n"]);
  });

  it("starts nothing for nothing", async () => {
    const { exec, inputs } = fakeIp();
    expect(await runBatch(exec, "ip", [])).toEqual([]);
    expect(inputs).toEqual([]);
  });

  it("gives a row its first failure", async () => {
    const { exec } = fakeIp();
    const failures = await runBatch(exec, "ip", [row("a", "good"), row("b", "refused 1", "refused 2")]);
    expect(failures).toEqual([{ key: "b", reason: "no to refused 1" }]);
  });

  it("does not count harmless messages", async () => {
    const { exec } = fakeIp();
    const isHarmless = (message: string) => message.endsWith("1");
    const rows = [row("a", "refused 1"), row("b", "refused 1", "refused 2")];
    expect(await runBatch(exec, "ip", rows, { isHarmless })).toEqual([
      { key: "b", reason: "no to refused 2" },
    ]);
  });

  it("singles out the row that makes the tool give up, and does all others", async () => {
    const { exec, inputs } = fakeIp();
    const rows = Array.from({ length: 1000 }, (_, n) =>
      row(`r${n}`, n === 600 ? "bad" : n === 700 ? "refused" : "good"),
    );
    const failures = await runBatch(exec, "ip", rows);
    expect(failures.toSorted((a, b) => a.key.localeCompare(b.key))).toEqual([
      { key: "r600", reason: "cannot read bad" },
      { key: "r700", reason: "no to refused" },
    ]);
    expect(inputs.length).toBeLessThan(25);
  });

  it("does not start a tool for ever that always gives up", async () => {
    const { exec, inputs } = fakeIp();
    const rows = Array.from({ length: 5000 }, (_, n) => row(`r${n}`, "bad"));
    expect(await runBatch(exec, "ip", rows)).toHaveLength(5000);
    expect(inputs.length).toBeLessThan(100);
  });
});

describe("what means already gone", () => {
  for (const message of [
    "RTNETLINK answers: No such process",
    "RTNETLINK answers: No such file or directory",
    "Error: ipv4: Address not found.",
    "Error: ipv6: address not found.",
    'Cannot find device "flannel.9"',
  ]) {
    it(message, () => expect(isAlreadyGone(message)).toBe(true));
  }
  it("is not a refusal", () => {
    expect(isAlreadyGone("RTNETLINK answers: Operation not permitted")).toBe(false);
  });
});
