// `status`: what the daemon of this node does and what is wrong, as text or JSON.
import { statusSocketPath } from "../host/status-socket-path.ts";
import type { StatusReport } from "../daemon/status-report.ts";
import { InvalidValueError } from "../net/errors.ts";
import { parseFlags } from "../net/go-flags.ts";
import type { Environment, FlagSpec } from "../net/go-flags.ts";
import { printable } from "../net/printable.ts";
import { commandUsage } from "./help.ts";
import { getOverSocket, StatusClientError } from "./status-client.ts";
import { renderStatus } from "./status-render.ts";
import type { TextSink } from "./text-sink.ts";

export interface StatusModules {
  readonly env: Environment;
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly now?: () => number;
}

const FLAGS: readonly FlagSpec[] = [
  { kind: "boolean", name: "json", group: "", default: false, fromEnvironment: false, help: "" },
  { kind: "text", name: "socket", group: "", default: "", fromEnvironment: false, help: "" },
  // As given to the daemon, so that its environment file serves here too.
  { kind: "text", name: "status-socket", group: "", default: "", help: "" },
  { kind: "text", name: "subnet-file", group: "", default: "/run/flannel/subnet.env", help: "" },
];

/** @returns the exit code: 0 ready, 1 not ready or no daemon, 2 wrong usage */
export async function runStatus(argv: readonly string[], modules: StatusModules): Promise<number> {
  const { stdout, stderr } = modules;
  let wish: { readonly json: boolean; readonly socket: string };
  try {
    wish = parseStatusFlags(argv, modules.env);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    stderr.write(`${error.message}\n${commandUsage("status")}`);
    return 2;
  }
  try {
    const { status, body } = await getOverSocket(wish.socket, "/status");
    if (status !== 200) throw new StatusClientError(`the daemon answers ${status}: ${body.trim()}`);
    const report = parseReport(body);
    const text = wish.json
      ? `${JSON.stringify(report, undefined, 2)}\n`
      : renderStatus(report, (modules.now ?? Date.now)());
    stdout.write(text);
    return report.ready ? 0 : 1;
  } catch (error) {
    if (!(error instanceof StatusClientError)) throw error;
    stderr.write(`${printable(error.message)}\n`);
    return 1;
  }
}

function parseStatusFlags(argv: readonly string[], env: Environment) {
  const { given, positionals } = parseFlags({
    specs: FLAGS,
    argv,
    env,
    envPrefix: "FLANNELD_",
    interspersed: true,
  });
  if (positionals[0] !== undefined) throw new InvalidValueError(`unexpected argument "${positionals[0]}"`);
  const text = (name: string): string | undefined => (given.get(name) as string | undefined) || undefined;
  return {
    json: given.get("json") === true,
    socket:
      text("socket") ??
      text("status-socket") ??
      statusSocketPath(text("subnet-file") ?? "/run/flannel/subnet.env"),
  };
}

function parseReport(body: string): StatusReport {
  try {
    return JSON.parse(body) as StatusReport;
  } catch (error) {
    throw new StatusClientError(
      "the daemon's answer is not JSON; is it of the same version as this command?",
      {
        cause: error,
      },
    );
  }
}
