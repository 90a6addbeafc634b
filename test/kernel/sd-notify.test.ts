// Readiness as systemd sees it: with NotifyAccess=main it accepts only messages with the daemon's own credentials.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { NOTIFY_LISTENER } from "../support/systemd.ts";
import { waitFor } from "../support/wait.ts";

const DAEMON = `
import { createSdNotifier } from "./src/daemon/sd-notify.ts";
import { exec } from "./src/kernel/exec.ts";
import { createLogger } from "./src/daemon/log.ts";
const log = createLogger({ format: "json", level: "info" });
const notifier = createSdNotifier({ env: process.env, exec, log });
await notifier.ready("3 peers");
await notifier.stopping();
`;

const children: ChildProcess[] = [];
const directories: string[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

it("READY=1 and STOPPING=1 come from the daemon's pid", async () => {
  const directory = mkdtempSync(join(tmpdir(), "fts-notify-"));
  directories.push(directory);
  const path = join(directory, "notify");
  const listener = spawn("python3", ["-c", NOTIFY_LISTENER, path], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(listener);
  let heard = "";
  listener.stdout.setEncoding("utf8").on("data", (chunk: string) => (heard += chunk));
  await waitFor("the listener", () => existsSync(path));

  const daemon = spawn(process.execPath, ["--input-type=module", "-e", DAEMON], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, NOTIFY_SOCKET: path },
  });
  children.push(daemon);
  await waitFor("STOPPING=1", () => heard.includes("STOPPING=1"));
  const messages = heard.split("\n").filter((line) => line !== "" && !line.includes("BARRIER"));
  expect(messages).toEqual([`${daemon.pid}:READY=1 STATUS=3 peers`, `${daemon.pid}:STOPPING=1`]);
});
