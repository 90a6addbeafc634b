// What is told to systemd, and when nothing is.
import { expect, it } from "vitest";
import { createSdNotifier } from "../../../src/daemon/sd-notify.ts";
import { ExecError } from "../../../src/kernel/exec.ts";
import type { Exec } from "../../../src/kernel/exec.ts";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";

function setUp(env: Record<string, string>, fail = false) {
  const sent: (readonly string[])[] = [];
  const warnings: unknown[] = [];
  const exec: Exec = (command, args) => {
    sent.push([command, ...args]);
    if (fail) return Promise.reject(new ExecError("systemd-notify: not found"));
    return Promise.resolve({ exitCode: 0, stdout: "", stderr: "" });
  };
  const log = { ...SILENT_LOGGER, warn: (fields: unknown) => void warnings.push(fields) };
  return { notifier: createSdNotifier({ env, exec, log }), sent, warnings };
}

it("tells ready once, status on change, stopping", async () => {
  const { notifier, sent } = setUp({ NOTIFY_SOCKET: "/run/systemd/notify" });
  await notifier.status("waiting for etcd");
  await notifier.status("waiting for etcd");
  await notifier.ready("3 peers");
  await notifier.ready("3 peers");
  await notifier.ready("4 peers\nREADY=0");
  await notifier.stopping();
  expect(sent).toEqual([
    ["systemd-notify", "STATUS=waiting for etcd"],
    ["systemd-notify", "READY=1", "STATUS=3 peers"],
    ["systemd-notify", "STATUS=4 peers READY=0"],
    ["systemd-notify", "STOPPING=1"],
  ]);
});

it.each([[{}], [{ NOTIFY_SOCKET: "" }]])("does nothing without systemd: %j", async (env) => {
  const { notifier, sent } = setUp(env);
  await notifier.ready("x");
  await notifier.status("x");
  await notifier.stopping();
  expect(sent).toEqual([]);
});

it("warns once, with the cure, and never fails", async () => {
  const { notifier, warnings } = setUp({ NOTIFY_SOCKET: "/run/systemd/notify" }, true);
  await notifier.ready("x");
  await notifier.stopping();
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatchObject({ cure: "install the package systemd, or use Type=simple in the unit" });
});
