// Compiles raw-socket's addon for the Node that runs this, with its own headers and the machine's compiler; no network.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import type { Plugin } from "esbuild";

const PACKAGE = path.resolve(import.meta.dirname, "../node_modules/raw-socket");
const NAN = path.resolve(import.meta.dirname, "../node_modules/nan");
/** Where the package itself looks for it. */
const ADDON = path.join(PACKAGE, "build/Release/raw.node");
/** Of Debian's g++-aarch64-linux-gnu and g++-x86-64-linux-gnu. */
const CROSS_COMPILERS = { amd64: "x86_64-linux-gnu-g++", arm64: "aarch64-linux-gnu-g++" } as const;

/**
 * Builds the addon unless it is there. npm's own way would need Python and node-gyp, and would take the headers of
 * whatever Node the system has.
 * @returns why there is none; the prober then uses the system's ping
 */
export function buildRawSocket(): string | undefined {
  return existsSync(ADDON) ? undefined : compile(process.env["CXX"] ?? "c++", ADDON);
}

/**
 * Puts the addon of another architecture in place of ours into a folder of chunks, or removes it.
 * @returns why there is none
 */
export function replaceRawSocket(
  architecture: keyof typeof CROSS_COMPILERS,
  folder: string,
): string | undefined {
  const present = readdirSync(folder).find((name) => /^raw-.*\.node$/.test(name));
  if (present === undefined) return undefined;
  const addon = path.join(folder, present);
  rmSync(addon);
  return compile(CROSS_COMPILERS[architecture], addon);
}

function compile(compiler: string, output: string): string | undefined {
  const source = path.join(PACKAGE, "src/raw.cc");
  const headers = path.resolve(path.dirname(process.execPath), "../include/node");
  if (!existsSync(source)) return "the npm package raw-socket is not installed";
  if (!existsSync(headers)) return `there are no headers of Node in ${headers}`;
  mkdirSync(path.dirname(output), { recursive: true });
  // Two builds may run at once.
  const unfinished = `${output}.${process.pid}`;
  const settings = ["-shared", "-fPIC", "-O2", "-s", "-w", "-std=c++20"];
  const defines = ["-DNODE_GYP_MODULE_NAME=raw", "-DBUILDING_NODE_EXTENSION"];
  const args = [...settings, ...defines, `-I${headers}`, `-I${NAN}`, source, "-o", unfinished];
  try {
    execFileSync(compiler, args, { stdio: ["ignore", "inherit", "pipe"] });
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: Buffer };
    return code === "ENOENT"
      ? `${compiler} is not installed (Debian: apt-get install ${packageOf(compiler)})`
      : `${compiler} failed: ${stderr?.toString().slice(0, 2000) ?? String(error)}`;
  }
  renameSync(unfinished, output);
  return undefined;
}

/** Debian's cross compilers are named x86_64-linux-gnu-g++, their packages g++-x86-64-linux-gnu. */
function packageOf(compiler: string): string {
  const target = /^(.+)-g\+\+$/.exec(compiler)?.[1];
  return target === undefined ? "g++" : `g++-${target.replace("_", "-")}`;
}

/** Bundles raw-socket with its addon as a file among the chunks; where there is no addon, the import fails when it is tried. */
export function rawSocketPlugin(): Plugin {
  const missing = buildRawSocket();
  if (missing !== undefined) {
    process.stderr.write(`build: without raw ICMP sockets, --probe-interval will use ping: ${missing}\n`);
  }
  return {
    name: "raw-socket",
    setup(build) {
      if (missing !== undefined) build.onResolve({ filter: /^raw-socket$/ }, () => ({ external: true }));
    },
  };
}
