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

/**
 * Reads the template, or gives the default; checked as a runtime would (CNI spec section 1), so that a bad template is an
 * error of the daemon and not of every pod. @throws {InvalidValueError}
 */
export function renderConflist(templatePath: string | undefined): string {
  if (templatePath === undefined) return `${JSON.stringify(DEFAULT_CONFLIST, null, 2)}\n`;
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
