// The plugin's part in network policy: tells the daemon of pods that come and go, and waits until it has closed a new one.
import { planAnnouncement } from "./announcement.ts";
import { note } from "./blocking.ts";
import type { NetConf, PolicyConf } from "./config.ts";
import type { DaemonAnswer, DaemonCall } from "./daemon-call.ts";
import { CniError, ERROR_CODES } from "./protocol.ts";
import type { AttachmentKey, CniRequest } from "./protocol.ts";

/** The daemon answers within five seconds, with "not yet" if it must. */
const ANSWER_TIMEOUT_MS = 8_000;
/** While a daemon restarts nobody listens. */
const RETRY_INTERVAL_MS = 100;
/** DEL and GC are not held up by a daemon that hangs. */
const TELL_TIMEOUT_MS = 3_000;

/**
 * Returns when the pod's rules are in force. Until then nothing passes from it or to it: it is not known.
 * @param result the delegate's
 * @throws {CniError} 103 when they are not within the configured time, unless the configuration says to go on
 */
export async function announce(request: CniRequest, conf: NetConf, result: string): Promise<void> {
  const { networkPolicy: policy } = conf;
  if (policy === undefined) return;
  const call = {
    method: "POST",
    path: "/v1/attachments",
    body: planAnnouncement(request, conf, result),
  } as const;
  const deadline = Date.now() + policy.waitMs;
  for (;;) {
    const leftMs = deadline - Date.now();
    const { isFinal, problem } = await ask(policy, call, Math.max(1, Math.min(leftMs, ANSWER_TIMEOUT_MS)));
    if (problem === undefined) return;
    if (isFinal || Date.now() + RETRY_INTERVAL_MS >= deadline) {
      giveUp(policy, problem);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_INTERVAL_MS));
  }
}

interface Verdict {
  /** Asking again will not help. */
  readonly isFinal: boolean;
  /** Undefined: done. */
  readonly problem?: string;
}

async function ask(
  { socket }: PolicyConf,
  call: Pick<DaemonCall, "method" | "path" | "body">,
  timeoutMs: number,
): Promise<Verdict> {
  try {
    // Loaded here: without network policy nobody pays for it.
    const { callDaemon } = await import("./daemon-call.ts");
    return judge(await callDaemon({ ...call, socket, timeoutMs }));
  } catch (error) {
    const why = (error as Error).message;
    return {
      isFinal: false,
      problem: `flanneld does not answer on ${socket} (${why}): is it running on this node?`,
    };
  }
}

function judge({ status, body }: DaemonAnswer): Verdict {
  if (status === 200) return { isFinal: false };
  if (status === 404)
    return {
      isFinal: true,
      problem:
        "flanneld on this node runs without --network-policy: start it with the flag, or take networkPolicy out of the CNI " +
        "configuration",
    };
  return {
    isFinal: status >= 400 && status < 500,
    problem: problemIn(body) ?? `flanneld says: HTTP ${status}`,
  };
}

const MAX_PROBLEM_LENGTH = 1000;

function problemIn(body: string): string | undefined {
  try {
    const { problem } = JSON.parse(body) as { readonly problem?: unknown };
    return typeof problem === "string" ? problem.slice(0, MAX_PROBLEM_LENGTH) : undefined;
  } catch {
    return undefined;
  }
}

function giveUp({ waitMs, proceed }: PolicyConf, problem: string): void {
  if (!proceed) {
    throw new CniError(
      ERROR_CODES.policyNotInForce,
      `the pod's network policy is not in force: ${problem}`,
      `waited up to ${waitMs / 1000} s; the pod's interface was taken away again, and the runtime may try again`,
    );
  }
  note(
    `the pod's network policy is not in force: ${problem}; going on as the configuration says: its traffic is closed until ` +
      "the policy is",
  );
}

/** Closes the addresses of an interface before they are given back. A daemon that is away finds out by itself. */
export async function withdraw({ networkPolicy: policy }: NetConf, key: AttachmentKey): Promise<void> {
  if (policy === undefined) return;
  const query = new URLSearchParams({ containerId: key.containerId, ifName: key.ifName });
  const path = `/v1/attachments?${query.toString()}`;
  const { problem } = await ask(policy, { method: "DELETE", path }, TELL_TIMEOUT_MS);
  if (problem !== undefined) note(`cannot tell flanneld that the pod is gone: ${problem}`);
}

/** Tells which attachments there still are. */
export async function collect(conf: NetConf, valid: readonly AttachmentKey[]): Promise<void> {
  if (conf.networkPolicy === undefined) return;
  const body = {
    network: conf.name,
    valid: valid.map(({ containerId, ifName }) => ({ containerId, ifName })),
  };
  const call = { method: "POST", path: "/v1/attachments/gc", body } as const;
  const { problem } = await ask(conf.networkPolicy, call, TELL_TIMEOUT_MS);
  if (problem !== undefined) note(`cannot tell flanneld which pods there are: ${problem}`);
}

/** @throws {CniError} 50 if the daemon cannot enforce policy, and an ADD would fail because of that */
export async function checkEnforced({ networkPolicy: policy }: NetConf): Promise<void> {
  if (policy === undefined) return;
  const { problem } = await ask(policy, { method: "GET", path: "/v1/policy/readiness" }, TELL_TIMEOUT_MS);
  if (problem === undefined) return;
  if (policy.proceed) note(`network policy is not enforced: ${problem}`);
  else throw new CniError(ERROR_CODES.notAvailable, `network policy is not enforced: ${problem}`);
}
