// The command line's outer shape: which word is a command, and the text of --help. Pure.
import { environmentName, nearestWord } from "../net/go-flags.ts";
import type { FlagSpec } from "../net/go-flags.ts";

interface CommandSpec {
  readonly usage: string;
  readonly summary: string;
}

const COMMAND_TABLE = {
  config: {
    usage: "config get | config set [--force] JSON|@FILE|-",
    summary: "show the cluster's configuration in etcd, or validate and write one",
  },
  policy: {
    usage: "policy apply|get|delete|explain|matrix|status [...]",
    summary:
      "NetworkPolicy: write, show and remove policies, namespaces and pods in etcd as kubectl does on Kubernetes; say what is in force, and why a connection is denied (policy --help)",
  },
  status: {
    usage: "status [--json] [--socket=PATH | --subnet-file=FILE]",
    summary: "show lease, peers, failures and repairs of the daemon on this node; exit 1 if not ready",
  },
  cleanup: {
    usage: "cleanup [--network=CIDR] [--subnet-file=FILE] [--cni-conf-file=FILE]",
    summary:
      "remove devices, routes, rules and files of ours from this node, and nothing else; with --network only those of one daemon of several; not while a daemon runs",
  },
  "install-cni": {
    usage: "install-cni DIR [--source=FILE]",
    summary: "put the CNI executable into DIR, e.g. /opt/cni/bin, as flannel",
  },
  "install-conf": {
    usage: "install-conf FROM TO",
    summary: "copy a CNI configuration atomically",
  },
  "mk-docker-opts": {
    usage: "mk-docker-opts [-f FILE] [-d FILE] [-i] [-c] [-m] [-k KEY]",
    summary: "write options for Docker from subnet.env, as flannel's mk-docker-opts.sh does",
  },
  version: { usage: "version", summary: "print the version" },
  help: { usage: "help", summary: "print this text" },
} as const satisfies Readonly<Record<string, CommandSpec>>;

export type CommandName = keyof typeof COMMAND_TABLE;

export type CommandLine =
  /** No command: the daemon itself; `argv` are its flags. */
  | { readonly kind: "daemon"; readonly argv: readonly string[] }
  /** `argv` are the words after the command. */
  | { readonly kind: "command"; readonly command: CommandName; readonly argv: readonly string[] }
  /** Exit 2. */
  | { readonly kind: "error"; readonly message: string };

/** A command is a first word without a hyphen; without one the daemon runs. */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  const first = argv.findIndex((word) => word !== "");
  const word = argv[first];
  if (word === undefined || word.startsWith("-")) return { kind: "daemon", argv };
  if (isCommand(word)) {
    const rest = argv.slice(first + 1);
    // Its sub-commands have a help of their own.
    if (word === "policy") return { kind: "command", command: word, argv: rest };
    return asksForHelp(word, rest)
      ? { kind: "command", command: "help", argv: [word] }
      : { kind: "command", command: word, argv: rest };
  }
  const near = nearestWord(word, Object.keys(COMMAND_TABLE));
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return { kind: "error", message: `unknown command "${word}"${hint} (--help lists all commands)` };
}

/** The script that mk-docker-opts stands for answers -h itself, with exit code 1. */
function asksForHelp(command: CommandName, argv: readonly string[]): boolean {
  return argv.some(
    (word) => word === "--help" || word === "-help" || (word === "-h" && command !== "mk-docker-opts"),
  );
}

function isCommand(word: string): word is CommandName {
  return Object.hasOwn(COMMAND_TABLE, word);
}

/** One line for a wrong use of a command. */
export function commandUsage(command: CommandName): string {
  return `Usage: flanneld-ts ${COMMAND_TABLE[command].usage}\n`;
}

/**
 * The text of --help.
 * @param flags the daemon's flags, in order
 * @param envPrefix `FLANNELD_`
 */
export function usageText(flags: readonly FlagSpec[], envPrefix: string): string {
  const commands: readonly CommandSpec[] = Object.values(COMMAND_TABLE);
  const groups = [...new Set(flags.map(({ group }) => group))];
  return [
    "Usage: flanneld-ts [FLAGS]            run the daemon",
    "       flanneld-ts COMMAND [...]      one of the commands below",
    "",
    "Gives this node a subnet and connects its pods with those of the other nodes, as flannel does.",
    "",
    "Commands:",
    ...commands.flatMap(({ usage, summary }) => entry(usage, summary)),
    "",
    `Flags may begin with one hyphen or two. A flag that is not given is read from the environment:`,
    `--etcd-prefix from ${environmentName(envPrefix, "etcd-prefix")}, and so on.`,
    ...groups.flatMap((group) =>
      renderGroup(
        group,
        flags.filter((flag) => flag.group === group),
      ),
    ),
    "",
  ].join("\n");
}

const INDENT = "        ";
const WIDTH = 100;

function renderGroup(title: string, flags: readonly FlagSpec[]): readonly string[] {
  return ["", `${title}:`, ...flags.flatMap(renderFlag)];
}

function renderFlag(flag: FlagSpec): readonly string[] {
  const shown = formatDefault(flag);
  const head = flag.kind === "boolean" ? `--${flag.name}` : `--${flag.name}=${flag.valueName ?? "VALUE"}`;
  return entry(head, shown === undefined ? flag.help : `${flag.help} (default ${shown})`);
}

function entry(head: string, text: string): readonly string[] {
  return [`  ${head}`, ...wrap(text, INDENT)];
}

/** Undefined where the default says nothing. */
function formatDefault(flag: FlagSpec): string | undefined {
  switch (flag.kind) {
    case "boolean":
      return flag.default ? "true; turn off with =false" : undefined;
    case "list":
      return flag.default.length === 0 ? undefined : flag.default.join(",");
    case "text":
      return flag.default === "" ? undefined : flag.default;
    case "integer":
      return String(flag.default);
  }
}

function wrap(text: string, indent: string): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > WIDTH) {
      lines.push(indent + line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return [...lines, indent + line];
}
