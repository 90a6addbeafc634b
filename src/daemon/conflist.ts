// The CNI configuration list that runtimes read: validated, written only when the network is there (--cni-conf-file).
import { readFileSync } from "node:fs";
import { InvalidValueError } from "../net/errors.ts";
import { writeFileAtomically } from "../host/write-file.ts";

/** Flannel's own list (its manifest): the flannel plugin with a default gateway and hairpin, then portmap. */
export const DEFAULT_CONFLIST = {
  name: "cbr0",
  cniVersion: "0.3.1",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

/** What the flannel plugin has to know of network policy. */
export interface ConflistPolicy {
  /** The daemon's status socket. */
  readonly socket: string;
  readonly waitSeconds: number;
  readonly onFailure: "error" | "proceed";
}

/**
 * Reads the template, or gives the default; checked as a runtime would (CNI spec section 1), so that a bad template is an
 * error of the daemon and not of every pod.
 * @param policy given to each flannel plugin of the list that does not have its own; absent without network policy
 * @throws {InvalidValueError}
 */
export function renderConflist(templatePath: string | undefined, policy?: ConflistPolicy): string {
  const text = templatePath === undefined ? renderList(DEFAULT_CONFLIST) : readTemplate(templatePath);
  if (policy === undefined) return text;
  const list = JSON.parse(text) as { readonly plugins: readonly Readonly<Record<string, unknown>>[] };
  const plugins = list.plugins.map((plugin) =>
    plugin["type"] === "flannel" ? { ...plugin, networkPolicy: plugin["networkPolicy"] ?? policy } : plugin,
  );
  return renderList({ ...list, plugins });
}

function renderList(list: unknown): string {
  return `${JSON.stringify(list, null, 2)}\n`;
}

/** @throws {InvalidValueError} */
function readTemplate(templatePath: string): string {
  const text = readFileSync(templatePath, "utf8");
  const wrong = (what: string) => new InvalidValueError(`--cni-conf-template ${templatePath}: ${what}`);
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (error) {
    throw wrong(`not JSON: ${(error as Error).message}`);
  }
  if (typeof list !== "object" || list === null)
    throw wrong("must be a JSON object with name, cniVersion and plugins");
  const { name, cniVersion, plugins } = list as Record<string, unknown>;
  if (typeof name !== "string" || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw wrong('"name" must be a network name (letters, digits, ".", "_", "-")');
  }
  if (typeof cniVersion !== "string") throw wrong('"cniVersion" must be a version such as "0.3.1"');
  if (!Array.isArray(plugins) || plugins.length === 0)
    throw wrong('"plugins" must be a list of plugin configurations');
  for (const [i, plugin] of plugins.entries()) {
    const type: unknown = (plugin as Record<string, unknown> | null)?.["type"];
    if (typeof type !== "string" || type.includes("/")) throw wrong(`plugins[${i}] has no "type"`);
  }
  return text;
}

/** Puts the list in place atomically; an equal file is left alone, since runtimes reload on every write. */
export function writeConflist(file: string, content: string): "written" | "unchanged" {
  try {
    if (readFileSync(file, "utf8") === content) return "unchanged";
  } catch {
    // Absent or unreadable: written below, which reports what is wrong with it.
  }
  writeFileAtomically(file, content, 0o644);
  return "written";
}
