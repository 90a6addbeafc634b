// `flanneld-ts cleanup`: removes from the kernel and the file system what the daemon put there, and nothing else.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { CHAIN_PREFIX, INSTANCE_CHAIN_PREFIX, LINK_ALIAS_PREFIX, ownershipOf } from "../host/ownership.ts";
import type { Ownership } from "../host/ownership.ts";
import type { KernelTable } from "../host/kernel-table.ts";
import type { Exec } from "../kernel/exec.ts";
import { createFirewallTable } from "../kernel/iptables/firewall-table.ts";
import { listIptablesVariants } from "../kernel/iptables/variant.ts";
import { LIST_LINKS, parseLinks } from "../kernel/link-codec.ts";
import { removePolicy } from "../kernel/remove-policy.ts";
import { createNetTables } from "../kernel/tables.ts";
import type { Cidr } from "../net/cidr.ts";
import { parseCidr } from "../net/cidr.ts";
import { FAMILIES } from "../net/ip.ts";
import { DEFAULT_POLICY_SETTINGS } from "../policy/settings.ts";
import { getOverSocket } from "./status-client.ts";
import type { TextSink } from "./text-sink.ts";

export interface CleanupOptions {
  /** Only what belongs to this network; else everything of ours. */
  readonly network: Cidr | undefined;
  /** Name of the daemon on this host, as its subnet file says. */
  readonly instance: string;
  /** Where that daemon would answer; sockets of others lie beside it. */
  readonly statusSocket: string;
  /** Files and directories that the daemon wrote; absent ones are fine. */
  readonly files: readonly string[];
}

export interface CleanupModules {
  readonly exec: Exec;
  readonly stdout: TextSink;
  readonly stderr: TextSink;
}

/** @returns the exit code: 0 if nothing of ours is left, 1 if something could not be removed or a daemon still runs */
export async function runCleanup(options: CleanupOptions, modules: CleanupModules): Promise<number> {
  const { exec, stdout, stderr } = modules;
  const running = await findRunningDaemon(options);
  if (running !== undefined) {
    stderr.write(
      `a daemon runs (${running}) and would put everything back; stop it first (systemctl stop flanneld-ts), then clean up\n`,
    );
    return 1;
  }
  let failures = 0;
  const clean = async <Row>(table: KernelTable<Row>, what: string): Promise<void> => {
    try {
      const rows = await table.list();
      const failed = rows.length === 0 ? [] : await table.remove(rows);
      if (rows.length > failed.length) stdout.write(`removed ${rows.length - failed.length} ${what}\n`);
      for (const { key, reason } of failed) stderr.write(`${what}: ${key}: ${reason}\n`);
      failures += failed.length;
    } catch (error) {
      stderr.write(`${what}: ${(error as Error).message}\n`);
      failures += 1;
    }
  };

  const net = createNetTables({ ownership: await findOwnership(options.network, exec), exec });
  // Routes first, so that no packet is sent to a device that is about to go; its neighbors and entries go with it.
  await clean(net.routes, "routes");
  await clean(net.links, "devices");
  const variants = await listIptablesVariants({ exec });
  for (const variant of variants) {
    const families = FAMILIES.filter((family) => variant.binaries[family] !== undefined);
    for (const chainPrefix of chainPrefixes(options)) {
      const table = createFirewallTable({ variant, families, chainPrefix }, { exec });
      await clean(table, `iptables (${variant.mode}) chains and jumps`);
    }
  }
  if (ownsPolicy(options)) {
    const { prefix } = DEFAULT_POLICY_SETTINGS;
    const { firewallRows, sets, failed } = await removePolicy({ variants, prefix }, { exec });
    if (firewallRows > 0)
      stdout.write(`removed ${firewallRows} iptables chains and jumps of network policy\n`);
    if (sets > 0) stdout.write(`removed ${sets} ipsets of network policy\n`);
    for (const { key, reason } of failed) stderr.write(`network policy: ${key}: ${reason}\n`);
    failures += failed.length;
  }
  for (const file of options.files) {
    if (!existsSync(file)) continue;
    rmSync(file, { recursive: true });
    stdout.write(`removed ${file}\n`);
  }
  stdout.write(
    "left alone: pods with their bridge and addresses (the CNI plugin's), net.ipv4.ip_forward, and the lease in the store\n",
  );
  return failures === 0 ? 0 : 1;
}

function chainPrefixes({ network, instance }: CleanupOptions): readonly string[] {
  return network === undefined
    ? [CHAIN_PREFIX, INSTANCE_CHAIN_PREFIX]
    : [ownershipOf([], [], instance).chainPrefix];
}

/** Policy is the host's, not a network's: of several daemons only the first one has it. */
function ownsPolicy({ network, instance }: CleanupOptions): boolean {
  return network === undefined || instance === "";
}

/** How to recognise a daemon whose rows we would remove; undefined if none runs. */
async function findRunningDaemon({ network, statusSocket }: CleanupOptions): Promise<string | undefined> {
  const directory = dirname(statusSocket);
  const names = network === undefined && existsSync(directory) ? readdirSync(directory) : [];
  const sockets = new Set([statusSocket, ...names.filter(isSocketName).map((name) => join(directory, name))]);
  for (const socket of sockets) {
    if (!existsSync(socket)) continue;
    try {
      const { body } = await getOverSocket(socket, "/status");
      const { pid } = JSON.parse(body) as { readonly pid?: number };
      return `PID ${pid}, ${socket}`;
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
      // Nobody listens: what a killed daemon left. Anything else is a daemon that is in trouble, but there.
      if (code !== "ECONNREFUSED" && code !== "ENOENT") return socket;
    }
  }
  return undefined;
}

/** As `statusSocketPath` names them. */
function isSocketName(name: string): boolean {
  return /^flanneld(-.*)?\.sock$/.test(name);
}

/** Devices carry our alias; routes our protocol. */
async function findOwnership(network: Cidr | undefined, exec: Exec): Promise<Ownership> {
  const wanted = LINK_ALIAS_PREFIX + (network ?? "");
  const devices = parseLinks((await exec("ip", LIST_LINKS)).stdout)
    .filter(({ alias }) => alias?.startsWith(wanted) ?? false)
    .map(({ name }) => name);
  const networks = network === undefined ? [parseCidr("0.0.0.0/0"), parseCidr("::/0")] : [network];
  return { ...ownershipOf(networks, devices), linkAlias: `${LINK_ALIAS_PREFIX}(none)` };
}
