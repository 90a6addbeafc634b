// The status socket on a real file system: access, stale sockets, rivals, clean-up.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { healthRoutes, statusRoutes } from "../../../src/daemon/health-router.ts";
import { ListenError } from "../../../src/daemon/health-server.ts";
import type { StatusReport } from "../../../src/daemon/status-report.ts";
import { startStatusSocket } from "../../../src/daemon/status-socket.ts";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";
import { httpGet } from "../../support/http.ts";
import { waitFor } from "../../support/wait.ts";

let directory: string;
let stop: AbortController;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "fts-status-"));
  stop = new AbortController();
});
afterEach(() => {
  stop.abort();
  rmSync(directory, { recursive: true, force: true });
});

function start(path: string) {
  const routes = {
    ...healthRoutes(() => undefined),
    ...statusRoutes(() => ({ version: "dev" }) as StatusReport),
  };
  return startStatusSocket({ path, routes }, { log: SILENT_LOGGER }, stop.signal);
}

/** Leaves a socket behind as a daemon does that was killed. */
async function leaveStaleSocket(path: string): Promise<void> {
  const program = `require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))`;
  await once(spawn(process.execPath, ["-e", program, path]), "close");
  if (!existsSync(path)) throw new Error("no stale socket was left");
}

it("serves root only, makes its directory, and unlinks the socket at the end", async () => {
  const path = join(directory, "run/flanneld.sock");
  const socket = await start(path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(JSON.parse((await httpGet({ socketPath: path }, "/status")).body)).toEqual({ version: "dev" });
  expect((await httpGet({ socketPath: path }, "/readyz")).body).toBe("flanneld is ready");
  await socket.close();
  expect(readdirSync(join(directory, "run"))).toEqual([]);
});

it("the signal closes it", async () => {
  const path = join(directory, "s.sock");
  await start(path);
  stop.abort();
  await waitFor("the socket to go", () => !existsSync(path));
});

describe("a path that is taken", () => {
  it("by a dead daemon is taken over", async () => {
    const path = join(directory, "s.sock");
    await leaveStaleSocket(path);
    await start(path);
    expect((await httpGet({ socketPath: path }, "/healthz")).status).toBe(200);
    expect(readdirSync(directory)).toEqual(["s.sock"]);
  });

  it("by a live daemon is left alone", async () => {
    const path = join(directory, "s.sock");
    await start(path);
    await expect(start(path)).rejects.toThrow(ListenError);
    await expect(start(path)).rejects.toThrow(`another daemon serves ${path}`);
    expect((await httpGet({ socketPath: path }, "/healthz")).status).toBe(200);
  });

  it("by a dead daemon goes to exactly one of several that start at once", async () => {
    const path = join(directory, "s.sock");
    await leaveStaleSocket(path);
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => start(path)));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect((await httpGet({ socketPath: path }, "/healthz")).status).toBe(200);
    expect(readdirSync(directory)).toEqual(["s.sock"]);
  });

  it("by a file is left alone", async () => {
    const path = join(directory, "s.sock");
    writeFileSync(path, "precious");
    await expect(start(path)).rejects.toThrow(`${path} exists and is no socket`);
    expect(existsSync(path)).toBe(true);
  });
});

it.each([
  ["a path that is too long", "x".repeat(108), "longer than 107 bytes"],
  ["a directory that is a file", "file/s.sock", "cannot serve status on"],
])("%s is a clear error", async (_name, name, message) => {
  writeFileSync(join(directory, "file"), "");
  await expect(start(join(directory, name))).rejects.toThrow(message);
});
