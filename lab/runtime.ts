// A small, faithful CNI runtime: runs the plugins of a list as containerd and CRI-O do, through libcni's rules.
import { accessSync, constants } from "node:fs";
import type { Exec } from "../src/kernel/exec.ts";
import { isAtLeastVersion, isObject, renderPluginConfig } from "./conflist.ts";
import type { CniResult, Conflist, PluginCall, PluginConfig } from "./conflist.ts";

export type CniCommand = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** One interface of one container. */
export interface CniAttachment {
  readonly containerId: string;
  /** As seen inside the machine, e.g. /run/netns/n1-p1. Empty in the second DEL of containerd. */
  readonly netns: string;
  readonly ifName: string;
  /** CNI_ARGS, e.g. [["K8S_POD_NAME", "web"]]. */
  readonly args?: readonly (readonly [string, string])[];
  readonly capabilityArgs?: Readonly<Record<string, unknown>>;
}

/** A plugin that failed; `code` and `details` are from its error object (CNI spec, section 5). */
export class CniError extends Error {
  override readonly name = "CniError";
  readonly plugin: string;
  readonly code: number | undefined;
  readonly details: string | undefined;
  constructor(plugin: string, command: CniCommand, said: CniFailure) {
    super(`CNI ${command} by "${plugin}": ${said.message}${said.details ? ` (${said.details})` : ""}`);
    this.plugin = plugin;
    this.code = said.code;
    this.details = said.details;
  }
}

interface CniFailure {
  readonly message: string;
  readonly code?: number | undefined;
  readonly details?: string | undefined;
}

export interface CniRuntimeOptions {
  /** CNI_PATH: directories searched for plugins, first match wins; as seen inside the machine. */
  readonly pluginDirectories: readonly string[];
  /** Where we see the machine's root directory. Default: ours is the same. */
  readonly rootDirectory?: string;
  /** Milliseconds per plugin. Default 60 s. */
  readonly timeoutMs?: number;
}

export interface CniRuntime {
  /** Runs ADD through the chain and gives the last result. A failure undoes with DEL, then throws. @throws {CniError} */
  add(list: Conflist, attachment: CniAttachment): Promise<CniResult>;
  /** Runs DEL through the chain in reverse. Without `prevResult` as when the runtime has lost its cache. */
  del(list: Conflist, attachment: CniAttachment, prevResult?: CniResult): Promise<void>;
  check(list: Conflist, attachment: CniAttachment, prevResult: CniResult): Promise<void>;
  gc(list: Conflist, validAttachments: NonNullable<PluginCall["validAttachments"]>): Promise<void>;
  status(list: Conflist): Promise<void>;
}

/** `exec` runs in the machine whose pods these are. */
export function createCniRuntime(options: CniRuntimeOptions, { exec }: { exec: Exec }): CniRuntime {
  const call = async (
    command: CniCommand,
    list: Conflist,
    plugin: PluginConfig,
    attachment: CniAttachment | undefined,
    extra: PluginCall,
  ): Promise<CniResult | undefined> => {
    const file = findPlugin(plugin.type, options);
    const { exitCode, stdout, stderr } = await exec(file, [], {
      input: renderPluginConfig(list, plugin, { capabilityArgs: attachment?.capabilityArgs ?? {}, ...extra }),
      env: renderEnvironment(command, attachment, options.pluginDirectories),
      timeoutMs: options.timeoutMs ?? 60_000,
      allowFailure: true,
    });
    if (exitCode !== 0) throw new CniError(plugin.type, command, parseFailure(exitCode, stdout, stderr));
    return stdout.trim() === "" ? undefined : parseResult(plugin.type, command, stdout);
  };

  const del = async (list: Conflist, attachment: CniAttachment, prevResult?: CniResult): Promise<void> => {
    // Results reach DEL since 0.4.0.
    const extra = prevResult && isAtLeastVersion(list.cniVersion, "0.4.0") ? { prevResult } : {};
    for (const plugin of list.plugins.toReversed()) await call("DEL", list, plugin, attachment, extra);
  };

  return {
    add: async (list, attachment) => {
      let result: CniResult | undefined;
      try {
        for (const plugin of list.plugins) {
          result = await call("ADD", list, plugin, attachment, result ? { prevResult: result } : {});
        }
      } catch (error) {
        // containerd's order: a failed ADD is followed at once by a DEL, without result.
        await del(list, attachment).catch(() => undefined);
        throw error;
      }
      return result ?? {};
    },
    del,
    check: async (list, attachment, prevResult) => {
      if (!isAtLeastVersion(list.cniVersion, "0.4.0")) {
        throw new Error(`CHECK needs cniVersion 0.4.0; the list "${list.name}" says ${list.cniVersion}`);
      }
      if (list.disableCheck) return;
      for (const plugin of list.plugins) await call("CHECK", list, plugin, attachment, { prevResult });
    },
    gc: async (list, validAttachments) => {
      for (const plugin of list.plugins) await call("GC", list, plugin, undefined, { validAttachments });
    },
    status: async (list) => {
      for (const plugin of list.plugins) await call("STATUS", list, plugin, undefined, {});
    },
  };
}

/** The conflist by which containerd brings up a container's loopback. */
export const LOOPBACK_CONFLIST: Conflist = {
  cniVersion: "0.3.1",
  name: "cni-loopback",
  disableCheck: false,
  plugins: [{ type: "loopback" }],
};

function renderEnvironment(
  command: CniCommand,
  attachment: CniAttachment | undefined,
  pluginDirectories: readonly string[],
): Record<string, string> {
  const path = { CNI_COMMAND: command, CNI_PATH: pluginDirectories.join(":") };
  if (attachment === undefined) return path;
  return {
    ...path,
    CNI_CONTAINERID: attachment.containerId,
    CNI_NETNS: attachment.netns,
    CNI_IFNAME: attachment.ifName,
    CNI_ARGS: (attachment.args ?? []).map(([key, value]) => `${key}=${value}`).join(";"),
  };
}

function findPlugin(type: string, { pluginDirectories, rootDirectory = "" }: CniRuntimeOptions): string {
  for (const directory of pluginDirectories) {
    const file = `${directory}/${type}`;
    try {
      accessSync(`${rootDirectory}${file}`, constants.X_OK);
      return file;
    } catch {
      // Next directory.
    }
  }
  throw new Error(`failed to find plugin "${type}" in path [${pluginDirectories.join(" ")}]`);
}

function parseFailure(exitCode: number, stdout: string, stderr: string): CniFailure {
  try {
    const raw: unknown = JSON.parse(stdout);
    if (isObject(raw) && typeof raw["msg"] === "string") {
      return {
        message: raw["msg"],
        code: typeof raw["code"] === "number" ? raw["code"] : undefined,
        details: typeof raw["details"] === "string" && raw["details"] !== "" ? raw["details"] : undefined,
      };
    }
  } catch {
    // No error object: below.
  }
  return { message: `exit ${exitCode}, no error object: ${stderr.trim() || stdout.trim() || "no message"}` };
}

function parseResult(plugin: string, command: CniCommand, stdout: string): CniResult {
  try {
    const raw: unknown = JSON.parse(stdout);
    if (isObject(raw)) return raw;
  } catch {
    // Reported below.
  }
  throw new CniError(plugin, command, {
    message: `standard output is not a JSON object: ${stdout.slice(0, 200)}`,
  });
}
