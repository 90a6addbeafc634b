// Tells systemd that the daemon is ready, stopping, and what it does (sd_notify(3)).
import type { Exec } from "../kernel/exec.ts";
import type { Environment } from "../net/go-flags.ts";
import type { Logger } from "../net/logger.ts";

export interface SdNotifier {
  /** READY=1, once; later calls change only the status text. */
  ready(status: string): Promise<void>;
  /** STATUS=: one line for `systemctl status`. An unchanged text costs nothing. */
  status(text: string): Promise<void>;
  /** STOPPING=1 */
  stopping(): Promise<void>;
}

const NOTIFY_TIMEOUT_MS = 10_000;

const SILENT_NOTIFIER: SdNotifier = {
  ready: () => Promise.resolve(),
  status: () => Promise.resolve(),
  stopping: () => Promise.resolve(),
};

/**
 * Notifies through systemd-notify, since Node has no unix datagram sockets. Run by root, it sends with the credentials of
 * its parent, which is us, so the default NotifyAccess=main accepts it; without CAP_SYS_ADMIN it cannot, and the unit needs
 * NotifyAccess=all. Does nothing when not started by systemd. Never rejects: a failure is one warning.
 */
export function createSdNotifier(modules: {
  readonly env: Environment;
  readonly exec: Exec;
  readonly log: Logger;
}): SdNotifier {
  if (!modules.env["NOTIFY_SOCKET"]) return SILENT_NOTIFIER;
  const { exec, log } = modules;
  let warned = false;
  let isReady = false;
  let lastStatus: string | undefined;
  let last: Promise<void> = Promise.resolve();

  const send = (...variables: readonly string[]): Promise<void> => {
    // One after another, so that the manager sees them in order.
    last = last.then(async () => {
      try {
        await exec("systemd-notify", variables, { timeoutMs: NOTIFY_TIMEOUT_MS });
      } catch (error) {
        if (warned) return;
        warned = true;
        log.warn(
          { err: error, cure: "install the package systemd, or use Type=simple in the unit" },
          "cannot notify systemd; a unit of Type=notify will be stopped after its start timeout",
        );
      }
    });
    return last;
  };
  const statusVariable = (text: string): string => `STATUS=${text.replaceAll(/\s+/g, " ").trim()}`;

  return {
    ready: (status) => {
      const first = !isReady;
      if (!first && status === lastStatus) return last;
      isReady = true;
      lastStatus = status;
      return send(...(first ? ["READY=1"] : []), statusVariable(status));
    },
    status: (text) => {
      if (text === lastStatus) return last;
      lastStatus = text;
      return send(statusVariable(text));
    },
    stopping: () => send("STOPPING=1"),
  };
}
