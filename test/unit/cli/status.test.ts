// `status` against a real socket: exit codes, JSON, and what it says when nobody answers.
import { createServer } from "node:net";
import type { Server } from "node:net";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { getOverSocket } from "../../../src/cli/status-client.ts";
import { formatDuration } from "../../../src/cli/status-render.ts";
import { runStatus } from "../../../src/cli/status.ts";
import { statusRoutes } from "../../../src/daemon/health-router.ts";
import type { Routes } from "../../../src/daemon/health-router.ts";
import type { StatusReport } from "../../../src/daemon/status-report.ts";
import { startStatusSocket } from "../../../src/daemon/status-socket.ts";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";
import { CollectedText } from "../../support/text-sink.ts";

const REPORT: StatusReport = {
  version: "dev",
  pid: 1,
  startedAt: "2026-11-21T12:00:00Z",
  ready: true,
  store: { kind: "etcd", connected: true },
  peers: [],
  skippedLeases: [],
  tables: [],
  repairs: [],
  repairsTotal: 0,
  processesStarted: 0,
};

let directory: string;
let socket: string;
let stop: AbortController;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "fts-status-"));
  socket = join(directory, "flanneld.sock");
  stop = new AbortController();
});
afterEach(() => {
  stop.abort();
  rmSync(directory, { recursive: true, force: true });
});

async function run(argv: readonly string[], env: Record<string, string> = {}) {
  const [stdout, stderr] = [new CollectedText(), new CollectedText()];
  const code = await runStatus(argv, { env, stdout, stderr, now: () => Date.parse(REPORT.startedAt) });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

const serve = (routes: Routes) =>
  startStatusSocket({ path: socket, routes }, { log: SILENT_LOGGER }, stop.signal);

describe("a daemon that answers", () => {
  it.each([
    ["ready", REPORT, 0, "READY"],
    ["not ready", { ...REPORT, ready: false, notReadyReason: "no config" }, 1, "NOT READY: no config"],
  ])("%s", async (_name, report, code, text) => {
    await serve(statusRoutes(() => report));
    const outcome = await run([`--socket=${socket}`]);
    expect(outcome).toMatchObject({ code, stderr: "" });
    expect(outcome.stdout.split("\n")[1]).toBe(text);
    const json = await run(["--json", "-socket", socket]);
    expect(json.code).toBe(code);
    expect(JSON.parse(json.stdout)).toEqual(report);
  });

  it.each<[string, readonly string[], Record<string, string>]>([
    ["its subnet file", ["--subnet-file=DIR/subnet.env"], {}],
    ["its own flag", ["--status-socket=DIR/flanneld.sock"], {}],
    ["its environment", [], { FLANNELD_SUBNET_FILE: "DIR/subnet.env" }],
  ])("is found by %s", async (_name, argv, env) => {
    await serve(statusRoutes(() => REPORT));
    const here = (text: string): string => text.replace("DIR", directory);
    const variables = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, here(value)]));
    expect((await run(argv.map(here), variables)).code).toBe(0);
  });

  it("shows thousands of peers", async () => {
    const peer = { nodeName: "n", subnet: "s", publicIp: "p", backendType: "b", how: "vxlan" } as const;
    await serve(statusRoutes(() => ({ ...REPORT, peers: Array.from({ length: 5000 }, () => peer) })));
    expect(JSON.parse((await run(["--json", "--socket", socket])).stdout)).toHaveProperty(
      "peers.length",
      5000,
    );
  });
});

describe("no good answer", () => {
  it("no daemon: says how to start one", async () => {
    const outcome = await run([`--socket=${socket}`]);
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toContain(
      `no daemon listens on ${socket}; start it (systemctl start flanneld-ts)`,
    );
  });

  it("another kind of server", async () => {
    await serve({ "/status": () => ({ status: 200, body: "<html>" }) });
    expect(await run([`--socket=${socket}`])).toMatchObject({
      code: 1,
      stderr: "the daemon's answer is not JSON; is it of the same version as this command?\n",
    });
  });

  it("an error", async () => {
    await serve({});
    expect(await run([`--socket=${socket}`])).toMatchObject({ code: 1 });
  });

  it("silence", async () => {
    const silent: Server = createServer();
    silent.listen(socket);
    await once(silent, "listening");
    try {
      await expect(getOverSocket(socket, "/status", 50)).rejects.toThrow(`does not answer on ${socket}`);
    } finally {
      silent.close();
    }
  });

  it.each([[["--jsn"]], [["extra"]]])("%j is wrong usage", async (argv) => {
    const outcome = await run(argv);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toContain("Usage: flanneld-ts status");
  });
});

it.each([
  [0, "0 s"],
  [-5, "0 s"],
  [59_999, "59 s"],
  [60_000, "1 min"],
  [61_000, "1 min 1 s"],
  [3_600_000 * 25, "1 d 1 h"],
  [3_605_000, "1 h"],
  [Number.NaN, "an unknown time"],
])("%i ms is %s", (durationMs, text) => expect(formatDuration(durationMs)).toBe(text));
