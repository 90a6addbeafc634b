// `mk-docker-opts`: writes Docker's options from subnet.env, as flannel's script of that name.
import { readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { writeFileAtomically } from "../host/write-file.ts";
import type { Exec } from "../kernel/exec.ts";
import { InvalidValueError } from "../net/errors.ts";
import type { Environment } from "../net/go-flags.ts";
import { printable } from "../net/printable.ts";
import {
  dockerSubnet,
  gatewayRoutesTo,
  parseDockerOptionsRequest,
  readShellVariables,
  renderDockerOptions,
} from "./docker-options-codec.ts";
import type { DockerOptionsRequest } from "./docker-options-codec.ts";
import type { TextSink } from "./text-sink.ts";

export interface DockerOptionsModules {
  readonly env: Environment;
  readonly exec: Exec;
  readonly stderr: TextSink;
}

const USAGE = `Usage: mk-docker-opts [-f FLANNEL-ENV-FILE] [-d DOCKER-ENV-FILE] [-i] [-c] [-m] [-k COMBINED-KEY]

Generates options for the Docker daemon from flannel's env file.
  -f FILE  flannel's env file (default /run/flannel/subnet.env)
  -d FILE  Docker's env file to write (default /run/docker_opts.env)
  -i       write each option as a variable of its own, e.g. DOCKER_OPT_MTU
  -c       write all options as one variable (neither -i nor -c: both)
  -k KEY   name of that one variable (default DOCKER_OPTS)
  -m       leave --ip-masq out
`;

/** @returns the exit code: 0, or 1 for everything that is wrong, as the script does */
export async function runMkDockerOpts(
  argv: readonly string[],
  modules: DockerOptionsModules,
): Promise<number> {
  const { stderr } = modules;
  let request: DockerOptionsRequest;
  try {
    request = parseDockerOptionsRequest(argv);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    stderr.write(`${error.message}\n${USAGE}`);
    return 1;
  }
  try {
    const variables = readShellVariables(readSubnetFile(request.subnetFile, stderr), modules.env);
    writeDockerFile(request.dockerFile, renderDockerOptions(request, variables));
    const subnet = dockerSubnet(variables);
    if (subnet === undefined) return 0;
    const { stdout } = await modules.exec("ip", ["route", "show"]);
    const rivals = gatewayRoutesTo(subnet, stdout);
    if (rivals.length === 0) return 0;
    stderr.write(`Your routing table already contains the subnet: ${rivals.join("; ")}\n`);
    stderr.write(`Remove that route, or let this node get another subnet, before Docker starts.\n`);
  } catch (error) {
    stderr.write(`${printable((error as Error).message)}\n`);
  }
  return 1;
}

/** Without a file the script still writes what the environment has; we say so, since Docker then takes its own subnet. */
function readSubnetFile(file: string, stderr: TextSink): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    stderr.write(`Warning: ${file} does not exist, so Docker gets no subnet: is the daemon ready?\n`);
    return "";
  }
}

function writeDockerFile(file: string, content: string): void {
  const stats = statSync(file, { throwIfNoEntry: false });
  // `-d /dev/stdout` and pipes are written to; replacing them would destroy them.
  const isStream = /^\/(dev|proc)\//.test(file) || (stats !== undefined && !stats.isFile());
  if (isStream) writeFileSync(file, content);
  else writeFileAtomically(stats === undefined ? file : realpathSync(file), content, 0o644);
}
