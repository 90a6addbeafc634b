// `flanneld-ts config get|set`: shows and changes the cluster's configuration in etcd, and refuses what would break nodes.
import { readFile } from "node:fs/promises";
import { EtcdCallError } from "../etcd/client.ts";
import type { EtcdClient } from "../etcd/client.ts";
import { leaseKeyPrefix, readLeaseEntry } from "../ipam/etcd-lease-codec.ts";
import type { NetworkConfig } from "../ipam/network-config.ts";
import { formatNetworkConfig, parseNetworkConfig, unknownConfigKeys } from "../ipam/parse-network-config.ts";
import { networkConfigKey } from "../ipam/seed-network-config.ts";
import { InvalidValueError } from "../net/errors.ts";
import { describeConfigChange, describeLeaseConflicts } from "./config-change.ts";

/** Where a command writes to; a stream of Node's fits. */
export interface TextSink {
  write(text: string): unknown;
}

export interface ConfigCommandModules {
  readonly client: Pick<EtcdClient, "get" | "list" | "put">;
  /** Without a trailing slash. */
  readonly prefix: string;
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly stdin: AsyncIterable<string | Uint8Array>;
  /** Further rules, such as the backend's own; throws `InvalidValueError`. */
  readonly checkConfig?: (config: NetworkConfig) => void;
}

export const CONFIG_USAGE = `Usage: flanneld-ts config get
       flanneld-ts config set [--force] JSON | - | @FILE
Shows or changes the cluster's configuration, which lies in etcd. "-" reads it from standard input, "@FILE" from a file.
--force writes it although it contradicts leases that nodes hold.
`;

const DONE = 0;
const FAILED = 1;
const REFUSED = 2;

/**
 * @param argv the words after `config`
 * @returns the exit code: 0 done, 1 failed (none stored, etcd away, leases in the way), 2 wrong usage or invalid config
 */
export async function runConfigCommand(
  argv: readonly string[],
  modules: ConfigCommandModules,
): Promise<number> {
  const force = argv.some((word) => /^--?force$/.test(word));
  const [verb, ...operands] = argv.filter((word) => !/^--?force$/.test(word));
  const [operand] = operands;
  try {
    if (verb === "get" && operands.length === 0 && !force) return await getConfig(modules);
    if (verb === "set" && operand !== undefined && operands.length === 1) {
      return await setConfig(await readOperand(operand, modules.stdin), force, modules);
    }
  } catch (error) {
    if (error instanceof InvalidValueError) {
      modules.stderr.write(`${error.message}\nNothing was written.\n`);
      return REFUSED;
    }
    if (!(error instanceof EtcdCallError)) throw error;
    modules.stderr.write(`${error.message}\n`);
    return FAILED;
  }
  modules.stderr.write(CONFIG_USAGE);
  return REFUSED;
}

async function getConfig({ client, prefix, stdout, stderr }: ConfigCommandModules): Promise<number> {
  const key = networkConfigKey(prefix);
  const stored = await client.get(key);
  if (stored === undefined) {
    stderr.write(
      `etcd has no configuration under ${key}. Create one: ` +
        `flanneld-ts config set '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}' ` +
        "(or is it under another --etcd-prefix?)\n",
    );
    return FAILED;
  }
  stdout.write(`${stored.value.trimEnd()}\n`);
  const broken = problemOf(stored.value);
  if (broken !== undefined) stderr.write(`Warning: daemons cannot use it: ${broken}\n`);
  return DONE;
}

function problemOf(text: string): string | undefined {
  try {
    parseNetworkConfig(text);
    return undefined;
  } catch (error) {
    if (error instanceof InvalidValueError) return error.message;
    throw error;
  }
}

async function setConfig(text: string, force: boolean, modules: ConfigCommandModules): Promise<number> {
  const { client, prefix, stdout, stderr } = modules;
  const config = parseNetworkConfig(text);
  modules.checkConfig?.(config);
  const unknown = unknownConfigKeys(text);
  if (unknown.length > 0) stderr.write(`Warning: left out, since nobody reads it: ${unknown.join(", ")}\n`);

  const key = networkConfigKey(prefix);
  const stored = await client.get(key);
  const before =
    stored && problemOf(stored.value) === undefined ? parseNetworkConfig(stored.value) : undefined;
  const value = formatNetworkConfig(config);
  if (before !== undefined && formatNetworkConfig(before) === value) {
    stdout.write(`${key} says that already; nothing was written.\n`);
    return DONE;
  }
  const { kvs } = await client.list(leaseKeyPrefix(prefix));
  const leases = kvs.flatMap((kv) => readLeaseEntry(prefix, kv.key, kv.value).lease ?? []);
  const conflicts = describeLeaseConflicts(leases, { before, after: config });
  for (const conflict of conflicts) stderr.write(`Warning: ${conflict}\n`);
  if (conflicts.length > 0 && !force) {
    stderr.write(
      "Nothing was written. To write it nevertheless, add --force and restart the daemons of all nodes.\n",
    );
    return FAILED;
  }
  const only = stored === undefined ? ({ absent: true } as const) : { unchangedSince: stored.modRevision };
  if (!(await client.put(key, value, { only }))) {
    stderr.write(
      `Somebody else changed ${key} at the same moment; nothing was written. Look at it and try again.\n`,
    );
    return FAILED;
  }
  stdout.write(describeConfigChange(stored?.value, value));
  if (stored !== undefined)
    stdout.write("Daemons read it when they start: restart flanneld-ts on every node.\n");
  return DONE;
}

async function readOperand(operand: string, stdin: AsyncIterable<string | Uint8Array>): Promise<string> {
  if (operand.startsWith("@")) return readOperandFile(operand.slice(1));
  if (operand !== "-") return operand;
  const chunks: Buffer[] = [];
  for await (const chunk of stdin)
    chunks.push(typeof chunk === "string" ? Buffer.from(chunk) : Buffer.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}

async function readOperandFile(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new InvalidValueError(`cannot read the configuration from ${file}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
