// The lab's command line. Pure.
import { InvalidValueError } from "../src/net/errors.ts";
import { isObject } from "./conflist.ts";
import { MAX_NODES, TOPOLOGIES } from "./plan-topology.ts";
import type { Topology } from "./plan-topology.ts";

export interface UpCommand {
  readonly command: "up";
  readonly name: string;
  readonly nodes: number;
  readonly pods: number;
  readonly topology: Topology;
  /** Undefined: that of --net-conf, else vxlan. */
  readonly backend: string | undefined;
  /** JSON text, or @FILE. */
  readonly netConf: string | undefined;
  readonly etcdEndpoints: readonly string[];
  readonly etcdPrefix: string | undefined;
  readonly daemonFlags: readonly string[];
  /** File of NetworkPolicies. */
  readonly policy: string | undefined;
  readonly once: boolean;
}

export type LabCommand =
  | UpCommand
  | {
      readonly command: "exec";
      readonly name: string;
      readonly target: string;
      readonly words: readonly string[];
    }
  | { readonly command: "down" | "status"; readonly name: string }
  | { readonly command: "help" };

export const HELP = `npm run lab: a flannel cluster on this one machine, in network namespaces.

  npm run lab                            start a lab, show its connectivity, and stay for commands
  npm run lab -- --once                  end after the first matrix; exit code 0 if every cell is right
  npm run lab -- exec NODE|POD CMD...    run a command in a node (n1) or a pod (n1-p1), from any terminal
  npm run lab -- status                  nodes, pods and what each daemon says
  npm run lab -- down                    end the lab of another terminal

Options of a start:
  --nodes=N              nodes n1 to nN (default 3)
  --pods=N               pods on each node (default 2)
  --backend=TYPE         vxlan (default), host-gw, ...
  --net-conf=JSON|@FILE  the cluster's configuration, as flannel's net-conf.json; instead of --backend
  --topology=TYPE        flat (default): all nodes on one subnet; routed: odd and even nodes on two, a router between
                         them, which is where vxlan's DirectRouting has something to decide
  --etcd-endpoints=URLS  use an etcd that exists instead of the lab's own. Nodes have no way out of the lab, so its
                         underlay relays these endpoints through the lab's process; keys lie under --etcd-prefix
  --etcd-prefix=KEY      default /coreos.com/network; with --etcd-endpoints /flanneld-ts-lab/NAME, which is removed
                         at the end
  --policy=FILE          NetworkPolicies (YAML): makes pods that they are about, and shows who reaches whom before and
                         after them, and why one connection is denied
  --daemon-flag=FLAG     one more flag for each daemon, e.g. --daemon-flag=--v=2; may be repeated
  --name=NAME            several labs can run side by side; also before or after exec, status and down (default lab)

Nothing outlives the lab: Ctrl-C, \`down\`, and also kill -9 take all its processes and namespaces away.
`;

const DEFAULT_NAME = "lab";

interface Option {
  readonly takesValue: boolean;
  readonly repeat?: boolean;
}

const OPTIONS: ReadonlyMap<string, Option> = new Map([
  ["nodes", { takesValue: true }],
  ["pods", { takesValue: true }],
  ["backend", { takesValue: true }],
  ["net-conf", { takesValue: true }],
  ["topology", { takesValue: true }],
  ["etcd-endpoints", { takesValue: true }],
  ["etcd-prefix", { takesValue: true }],
  ["daemon-flag", { takesValue: true, repeat: true }],
  ["policy", { takesValue: true }],
  ["name", { takesValue: true }],
  ["once", { takesValue: false }],
  ["help", { takesValue: false }],
]);

/** @throws {InvalidValueError} that says what is wrong and what would be right */
export function parseArguments(argv: readonly string[]): LabCommand {
  const words = [...argv];
  const given = new Map<string, string[]>();
  const positionals: string[] = [];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (!word.startsWith("-") || word === "-") {
      positionals.push(word);
      // Everything after the target belongs to the command that is run there.
      if (positionals[0] === "exec" && positionals.length === 2) break;
      continue;
    }
    readOption(word, words, given);
  }
  const text = (name: string): string | undefined => given.get(name)?.at(-1);
  if (given.has("help") || positionals[0] === "help") return { command: "help" };
  const name = text("name") ?? DEFAULT_NAME;
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_-]{0,31}$/.test(name)) {
    throw new InvalidValueError(`--name: "${name}" is no name (letters, digits, "-" and "_", at most 32)`);
  }
  const [command = "up", target, ...rest] = positionals;
  switch (command) {
    case "up":
      if (target !== undefined) throw new InvalidValueError(`"${target}" is not expected here (--help)`);
      return parseUp(name, given);
    case "exec":
      onlyName(command, given);
      // `exec -- n1 ls` and `exec n1 -- ls` mean what they seem to.
      if (words[0] === "--") words.shift();
      if (target === undefined || words.length === 0) {
        throw new InvalidValueError("exec: say where and what: exec NODE|POD CMD..., e.g. exec n1 ip route");
      }
      return { command, name, target, words };
    case "down":
    case "status":
      onlyName(command, given);
      if (target !== undefined || rest.length > 0) {
        throw new InvalidValueError(`${command} takes no further words; "${target}" is not expected`);
      }
      return { command, name };
    default:
      throw new InvalidValueError(`unknown command "${command}"; there are exec, status, down and help`);
  }
}

function readOption(word: string, words: string[], given: Map<string, string[]>): void {
  if (word === "--") return;
  const [, name = "", value] = /^--?([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
  const option = OPTIONS.get(name === "h" ? "help" : name);
  if (option === undefined) {
    throw new InvalidValueError(`unknown option ${word.replace(/=.*/s, "")}; --help lists all`);
  }
  if (!option.takesValue) {
    if (value !== undefined) throw new InvalidValueError(`--${name} takes no value`);
    given.set(name === "h" ? "help" : name, []);
    return;
  }
  const taken = value ?? words.shift();
  if (taken === undefined || taken === "")
    throw new InvalidValueError(`--${name} needs a value: --${name}=...`);
  given.set(name, option.repeat ? [...(given.get(name) ?? []), taken] : [taken]);
}

function onlyName(command: string, given: ReadonlyMap<string, readonly string[]>): void {
  const other = [...given.keys()].find((name) => name !== "name");
  if (other !== undefined) throw new InvalidValueError(`${command}: --${other} means nothing here`);
}

function parseUp(name: string, given: ReadonlyMap<string, readonly string[]>): UpCommand {
  const text = (option: string): string | undefined => given.get(option)?.at(-1);
  const topology = text("topology") ?? "flat";
  if (!isTopology(topology)) {
    throw new InvalidValueError(`--topology: "${topology}" is neither ${TOPOLOGIES.join(" nor ")}`);
  }
  if (given.has("backend") && given.has("net-conf")) {
    throw new InvalidValueError(
      '--net-conf has the backend in it ("Backend": {"Type": ...}); leave --backend out',
    );
  }
  return {
    command: "up",
    name,
    nodes: count("nodes", text("nodes") ?? "3", 1, MAX_NODES),
    pods: count("pods", text("pods") ?? "2", 0, 200),
    topology,
    backend: text("backend"),
    netConf: text("net-conf"),
    etcdEndpoints: (text("etcd-endpoints") ?? "").split(",").filter((endpoint) => endpoint !== ""),
    etcdPrefix: text("etcd-prefix"),
    daemonFlags: given.get("daemon-flag") ?? [],
    policy: text("policy"),
    once: given.has("once"),
  };
}

function isTopology(text: string): text is Topology {
  return (TOPOLOGIES as readonly string[]).includes(text);
}

function count(option: string, text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    throw new InvalidValueError(`--${option}: "${text}" is no whole number from ${min} to ${max}`);
  }
  return value;
}

/** Parses the JSON of --net-conf. Its meaning is the daemon's to judge. @throws {InvalidValueError} */
export function parseNetConf(text: string, where: string): Readonly<Record<string, unknown>> {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw new InvalidValueError(`${where}: not JSON: ${(error as Error).message}`, { cause: error });
  }
  if (!isObject(raw)) {
    throw new InvalidValueError(`${where}: not a JSON object such as {"Network":"10.244.0.0/16"}`);
  }
  return raw;
}
