// `flanneld-ts policy ...`: which word is which sub-command; each lives in a file of its own, loaded when it is called.
import type { EtcdClient } from "../etcd/client.ts";
import { nearestWord } from "../net/go-flags.ts";
import { splitPolicyFlags } from "./policy-flags.ts";
import type { PolicyFlagName, PolicyFlags } from "./policy-flags.ts";
import type { TextSink } from "./text-sink.ts";

export const DONE = 0;
/** The store is away, an object is missing or refused. */
export const FAILED = 1;
/** Wrong usage. */
export const MISUSED = 2;

/** What the daemon's own flags, which every sub-command takes too, say about this node. */
export interface PolicyEnvironment {
  readonly store: "etcd" | "kubernetes";
  /** Without a trailing slash. */
  readonly etcdPrefix: string;
  /** @throws {EtcdCallError} for certificate files; closed by whoever started the command */
  readonly openEtcd: () => Promise<EtcdClient>;
  /** Of the daemon on this node. */
  readonly statusSocket: string;
}

export interface PolicyModules {
  readonly stdin: AsyncIterable<string | Uint8Array>;
  readonly stdout: TextSink;
  readonly stderr: TextSink;
}

export interface PolicyCall extends PolicyEnvironment, PolicyModules {
  /** Words after the sub-command that are no flags. */
  readonly operands: readonly string[];
  readonly flags: PolicyFlags;
}

export type RunPolicyCommand = (call: PolicyCall) => Promise<number>;

interface PolicyCommandSpec {
  readonly usage: string;
  /** The sub-command's own flags. */
  readonly flags: readonly PolicyFlagName[];
  /** `etcd`: works on the objects in etcd, and on Kubernetes refers to kubectl. */
  readonly needs: "etcd" | "nothing";
  readonly load: () => Promise<RunPolicyCommand>;
}

/** A new sub-command is a line here. */
const POLICY_COMMANDS: Readonly<Record<string, PolicyCommandSpec>> = {
  apply: {
    usage: "apply -f FILE|FOLDER|- [-n NAMESPACE]",
    flags: ["filename", "namespace"],
    needs: "etcd",
    load: async () => (await import("./policy-apply.ts")).runPolicyApply,
  },
  get: {
    usage: "get [KIND [NAME...]] [-n NAMESPACE | -A] [-o yaml|json|name]   alone: the same as status",
    flags: ["namespace", "all-namespaces", "output", "ignore-not-found"],
    needs: "etcd",
    load: async () => (await import("./policy-get.ts")).runPolicyGet,
  },
  delete: {
    usage: "delete -f FILE|FOLDER|- | KIND NAME... [-n NAMESPACE] [--ignore-not-found]",
    flags: ["filename", "namespace", "ignore-not-found"],
    needs: "etcd",
    load: async () => (await import("./policy-delete.ts")).runPolicyDelete,
  },
  explain: {
    usage: "explain FROM TO[:PORT[/PROTOCOL]] [-o json]   FROM, TO: NAMESPACE/POD, POD, IP, node/NAME",
    flags: ["output"],
    needs: "nothing",
    load: async () => (await import("./policy-explain.ts")).runPolicyExplain,
  },
  matrix: {
    usage: "matrix [-n NAMESPACE] [--port PORT[/PROTOCOL]] [-o json]",
    flags: ["namespace", "port", "output"],
    needs: "nothing",
    load: async () => (await import("./policy-matrix.ts")).runPolicyMatrix,
  },
  status: {
    usage: "status [-o json]   what is in force on this node",
    flags: ["output"],
    needs: "nothing",
    load: async () => (await import("./policy-in-force.ts")).runPolicyInForce,
  },
};

export function policyUsage(): string {
  const [first = "", ...rest] = Object.values(POLICY_COMMANDS).map(({ usage }) => usage);
  return [
    `Usage: flanneld-ts policy ${first}`,
    ...rest.map((usage) => `       flanneld-ts policy ${usage}`),
    "",
  ].join("\n");
}

/**
 * @param argv the words after `policy`
 * @param readEnvironment given the words that are not the sub-command's own; undefined if they were wrong and that was said
 * @returns the exit code: 0 done, 1 failed, 2 wrong usage
 */
export async function runPolicyCommand(
  argv: readonly string[],
  readEnvironment: (
    argv: readonly string[],
  ) => { readonly environment: PolicyEnvironment; readonly operands: readonly string[] } | number,
  modules: PolicyModules,
): Promise<number> {
  if (argv.some((word) => word === "--help" || word === "-help" || word === "-h" || word === "help")) {
    modules.stdout.write(policyUsage());
    return DONE;
  }
  const { flags, rest, problem } = splitPolicyFlags(argv);
  if (problem !== undefined) return misuse(problem, modules);
  const read = readEnvironment(rest);
  if (typeof read === "number") return read;
  const [given, ...operands] = read.operands;
  // Without a kind or a namespace nobody asks for objects of the store: what is in force here is the answer.
  const word = given === "get" && operands.length === 0 && isBare(flags) ? "status" : given;
  const command =
    word !== undefined && Object.hasOwn(POLICY_COMMANDS, word) ? POLICY_COMMANDS[word] : undefined;
  if (word === undefined || command === undefined) return misuse(explainUnknown(word), modules);
  const foreign = Object.keys(flags).find((flag) => !command.flags.some((known) => known === flag));
  if (foreign !== undefined) return misuse(`policy ${word} has no flag --${foreign}`, modules);
  if (command.needs === "etcd" && read.environment.store === "kubernetes") {
    modules.stderr.write(
      `On Kubernetes policies lie in the API: use kubectl ${word}. What is in force on a node: flanneld-ts policy status.\n`,
    );
    return MISUSED;
  }
  const run = await command.load();
  return run({ ...read.environment, ...modules, operands, flags });
}

function isBare(flags: PolicyFlags): boolean {
  return Object.keys(flags).every((flag) => flag === "output") && (flags.output ?? "json") === "json";
}

function explainUnknown(word: string | undefined): string {
  if (word === undefined) return "policy needs a sub-command";
  const near = nearestWord(word, Object.keys(POLICY_COMMANDS));
  return `unknown sub-command "${word}" of policy${near === undefined ? "" : `; did you mean ${near}?`}`;
}

function misuse(message: string, { stderr }: PolicyModules): number {
  stderr.write(`flanneld-ts: ${message}\n${policyUsage()}`);
  return MISUSED;
}
