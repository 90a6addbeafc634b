// The log as JSON and as text, and that no value can forge a line.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { formatLogLine } from "../../../src/daemon/log-text.ts";
import { createLogger, levelOfVerbosity } from "../../../src/daemon/log.ts";
import type { LoggerOptions } from "../../../src/daemon/log.ts";

function capture(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const log = createLogger({
    format: "json",
    level: "info",
    ...options,
    destination: { write: (line) => lines.push(line) },
  });
  return { log, lines };
}

describe("JSON", () => {
  it("has the level as a word, the time in ISO 8601, and the fields", () => {
    const { log, lines } = capture();
    log.warn({ peer: "192.0.2.1", cure: "fix it" }, "peer skipped");
    const { time, ...rest } = JSON.parse(lines.join("")) as Record<string, unknown>;
    expect(rest).toEqual({ level: "warn", peer: "192.0.2.1", cure: "fix it", msg: "peer skipped" });
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(lines.join("").endsWith("}\n")).toBe(true);
  });

  it.each(["err", "reason"])(
    "shows an error in %s with code and cause, with stacks only when debugging",
    (field) => {
      const error = Object.assign(new Error("outer", { cause: new Error("inner") }), { code: "EACCES" });
      const quiet = capture();
      quiet.log.error({ [field]: error }, "x");
      expect(JSON.parse(quiet.lines.join(""))).toMatchObject({
        [field]: { type: "Error", message: "outer", code: "EACCES", cause: { message: "inner" } },
      });
      expect(quiet.lines.join("")).not.toContain("stack");
      const loud = capture({ level: "debug" });
      loud.log.error({ [field]: error }, "x");
      expect(loud.lines.join("")).toContain('"stack"');
    },
  );

  it("drops what is below the level", () => {
    const { log, lines } = capture({ level: "warn" });
    log.debug({}, "a");
    log.info({}, "b");
    log.error({}, "c");
    expect(lines).toHaveLength(1);
  });
});

it("klog's -v=2 is debug", () => {
  expect([0, 1, 2, 10].map(levelOfVerbosity)).toEqual(["info", "info", "debug", "debug"]);
});

describe("text", () => {
  const record = {
    level: "warn",
    time: "2026-11-21T10:05:18.123Z",
    msg: "peer skipped",
    key: "/x",
    reason: "bad JSON",
    absent: undefined,
    list: [1, "a"],
    cure: "delete the key",
  };

  it("is a line for a person", () => {
    expect(formatLogLine(record, { terminal: false })).toBe(
      '2026-11-21T10:05:18.123Z WARN  peer skipped key=/x reason="bad JSON" list=[1,"a"] cure: delete the key',
    );
  });

  it.each([
    ["an error's message", { message: "refused" }, "failed err=refused"],
    ["its causes", { message: "outer", cause: { message: "inner" } }, 'failed err="outer (inner)"'],
    [
      "a cause that the message tells only once",
      { message: "a: b", cause: { message: "b" } },
      'failed err="a: b"',
    ],
    ["a message that the line tells only once", { message: "failed" }, "failed"],
  ])("shows %s", (_name, err, text) => {
    const line = formatLogLine({ level: "error", time: "t", msg: "failed", err }, { terminal: false });
    expect(line).toBe(`t ERROR ${text}`);
  });

  it("has colour and a short time on a terminal only", () => {
    expect(formatLogLine(record, { terminal: true })).toContain("\u001b[33mWARN");
    expect(formatLogLine(record, { terminal: true })).toContain("10:05:18.123");
    expect(formatLogLine(record, { terminal: true })).not.toContain("2026");
  });

  it("auto is text on a terminal, else JSON", () => {
    const onTerminal = capture({ format: "auto", terminal: true });
    onTerminal.log.info({}, "hello");
    expect(onTerminal.lines.join("")).toContain("hello\n");
    const elsewhere = capture({ format: "auto", terminal: false });
    elsewhere.log.info({}, "hello");
    expect(elsewhere.lines.join("")).toContain('"msg":"hello"');
  });

  it.each([
    ["a new line in a value", { peer: "x\n2026-11-21T10:05:18.123Z ERROR forged" }],
    ["a terminal command in a value", { peer: "\u001b[2J\u009b2J" }],
    ["text that runs backwards", { peer: "\u202egnorw" }],
    ["a carriage return in a name", { "a\rb": 1 }],
    ["control characters deep inside", { peers: [{ name: "\u0007\u2028" }] }],
    ["a new line in the cure", { cure: "a\nb" }],
    ["an error's message", { err: new Error("a\nb") }],
  ])("is not forged by %s", (_name, fields) => {
    const { log, lines } = capture({ format: "text" });
    log.info(fields, "message\r\n");
    const line = lines.join("");
    // oxlint-disable-next-line no-control-regex -- the point of the test
    expect(line).toMatch(/^[^\u0000-\u001f\u007f-\u009f\u2028\u202e]*\n$/);
  });

  it("quotes a value that could pass for another field", () => {
    const line = formatLogLine(
      { level: "info", time: "t", msg: "m", peer: 'a" ready=true "' },
      { terminal: false },
    );
    expect(line).toBe('t INFO  m peer="a\\" ready=true \\""');
  });
});

it("loses no word when the process ends at once", async () => {
  const program = `import { createLogger } from "./src/daemon/log.ts";
    const log = createLogger({ format: "auto", level: "info" });
    for (let i = 0; i < 2000; i += 1) log.info({ i }, "line");
    process.exit(3);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let text = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const [code] = (await once(child, "close")) as [number];
  expect(code).toBe(3);
  expect(text.trim().split("\n")).toHaveLength(2000);
});
