// `install-cni` and `install-conf`: put the CNI executable and a CNI configuration where the runtime looks for them.
import path from "node:path";
import { InvalidValueError } from "../net/errors.ts";
import { parseFlags } from "../net/go-flags.ts";
import { commandUsage } from "./help.ts";
import { installFile, InstallError } from "./install-file.ts";
import type { TextSink } from "./text-sink.ts";

/** The type by which configurations name the plugin. */
const PLUGIN_NAME = "flannel";
const EXECUTABLE_MODE = 0o755;
const CONFIGURATION_MODE = 0o644;

export interface InstallModules {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
}

/**
 * `install-cni DIR [--source=FILE]`.
 * @param modules.bundledPlugin the CNI executable that ships with the daemon: `flannel` beside its bundle
 * @returns the exit code: 0 done or nothing to do, 1 failed, 2 wrong usage
 */
export function runInstallCni(
  argv: readonly string[],
  modules: InstallModules & { readonly bundledPlugin: string },
): number {
  let source = modules.bundledPlugin;
  let directory: string | undefined;
  try {
    const { given, positionals } = parseFlags({
      specs: [{ kind: "text", name: "source", group: "", default: "", help: "the CNI executable" }],
      argv,
      env: {},
      envPrefix: "",
      interspersed: true,
    });
    source = (given.get("source") as string | undefined) || source;
    if (positionals.length === 1) [directory] = positionals;
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    modules.stderr.write(`${error.message}\n`);
  }
  if (directory === undefined) {
    modules.stderr.write(commandUsage("install-cni"));
    return 2;
  }
  return install(source, path.join(directory, PLUGIN_NAME), EXECUTABLE_MODE, modules, (problem) =>
    source === modules.bundledPlugin && problem.endsWith("does not exist")
      ? `${problem}; build it with npm run build, or name it with --source=FILE`
      : problem,
  );
}

/** `install-conf FROM TO`, as the program of that name in flannel's image. @returns 0, 1 or 2 as above */
export function runInstallConf(argv: readonly string[], modules: InstallModules): number {
  const [from, to] = argv;
  if (from === undefined || to === undefined || argv.length !== 2 || from.startsWith("-")) {
    modules.stderr.write(commandUsage("install-conf"));
    return 2;
  }
  return install(from, to, CONFIGURATION_MODE, modules);
}

function install(
  from: string,
  to: string,
  mode: number,
  { stdout, stderr }: InstallModules,
  addCure: (problem: string) => string = (problem) => problem,
): number {
  try {
    const outcome = installFile(from, to, mode);
    stdout.write(
      outcome === "installed" ? `installed ${to}\n` : `${to} is up to date; nothing was written\n`,
    );
    return 0;
  } catch (error) {
    if (!(error instanceof InstallError)) throw error;
    stderr.write(`${addCure(error.message)}\n`);
    return 1;
  }
}
