// CNI network configuration lists and the configuration that each plugin of a list gets. Pure (CNI spec 1.1, section 3).

export interface PluginConfig {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [key: string]: unknown;
}

export interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly disableCheck: boolean;
  readonly plugins: readonly PluginConfig[];
}

export type CniResult = Readonly<Record<string, unknown>>;

/** Parses a .conflist, or a single plugin's .conf as a list of one, as libcni does. @throws {Error} naming `where` */
export function parseConflist(text: string, where: string): Conflist {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw new Error(`${where}: not JSON: ${(error as Error).message}`, { cause: error });
  }
  if (!isObject(raw)) throw new Error(`${where}: not a JSON object`);
  const { name } = raw;
  if (typeof name !== "string" || name === "") throw new Error(`${where}: no "name"`);
  const plugins = raw["plugins"] ?? [raw];
  if (!Array.isArray(plugins) || plugins.length === 0)
    throw new Error(`${where}: "plugins" is not a filled list`);
  for (const [i, plugin] of plugins.entries()) {
    if (!isObject(plugin) || typeof plugin["type"] !== "string") {
      throw new Error(`${where}: plugins[${i}] has no "type"`);
    }
  }
  return {
    // The version of a list without one is 0.1.0 (libcni).
    cniVersion: typeof raw["cniVersion"] === "string" ? raw["cniVersion"] : "0.1.0",
    name,
    // A string in old lists.
    disableCheck: raw["disableCheck"] === true || raw["disableCheck"] === "true",
    plugins: plugins as PluginConfig[],
  };
}

export interface PluginCall {
  readonly prevResult?: CniResult;
  /** By capability, e.g. {portMappings: [...]}; a plugin gets those that it declares. */
  readonly capabilityArgs?: Readonly<Record<string, unknown>>;
  /** GC only: attachments that are still wanted. */
  readonly validAttachments?: readonly { readonly containerID: string; readonly ifname: string }[];
}

/** The JSON for a plugin's standard input: its own part, with name, version, capabilities and result injected. */
export function renderPluginConfig(list: Conflist, plugin: PluginConfig, call: PluginCall): string {
  const runtimeConfig = Object.fromEntries(
    Object.entries(call.capabilityArgs ?? {}).filter(([name]) => plugin.capabilities?.[name] === true),
  );
  return JSON.stringify({
    ...plugin,
    name: list.name,
    cniVersion: list.cniVersion,
    ...(call.prevResult === undefined ? {} : { prevResult: call.prevResult }),
    ...(Object.keys(runtimeConfig).length === 0 ? {} : { runtimeConfig }),
    ...(call.validAttachments === undefined
      ? {}
      : // Both spellings: the one of the spec, and the one that libcni 1.2 sends besides.
        {
          "cni.dev/valid-attachments": call.validAttachments,
          "cni.dev/attachments": call.validAttachments,
        }),
  });
}

/** True if version `a` is at least `b`, e.g. ("0.4.0", "0.3.1"). */
export function isAtLeastVersion(a: string, b: string): boolean {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  for (let i = 0; i < 3; i += 1) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
